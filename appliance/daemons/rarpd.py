"""rarpd: addresses for kernels with `ip=rarp` (RFC 903), which can ask for nothing else."""

from __future__ import annotations

import re
from pathlib import Path

from appliance.daemons.base import Daemon, NotServing, Program
from appliance.events.hub import Event, printable
from appliance.network import Network
from appliance.situation import Situation

_ETHERTYPE = "8035"  # ETH_P_RARP of <linux/if_ether.h>

# Its lines begin with its name and process: `rarpd[17]: RARP request from MAC on INTERFACE`.
_LINE = re.compile(r"rarpd\[\d+\]: (?P<text>.*)")
_MESSAGE = re.compile(r"RARP (request|response)\b.*?\b(?P<mac>[0-9a-f]{2}(:[0-9a-f]{2}){5})\b")


class Rarpd(Daemon):
    """Answers the machines of BOOTDROP_RARP_HOSTS, which the image's /etc/ethers leads to."""

    name = "rarpd"
    templates = ("etc/ethers",)
    vital = False

    def idle(self, situation: Situation) -> str | None:
        """Run only where machines were named."""
        if situation.network is None:
            return super().idle(situation)
        return None if situation.settings.rarp_hosts else "BOOTDROP_RARP_HOSTS is not set"

    def program(self, situation: Situation) -> Program:
        """Stay in the foreground and log to stderr (-d), without a look for Sun's images (-e)."""
        assert situation.network is not None
        return Program(
            ("rarpd", "-d", "-e", situation.network.interface),
            user="rarpd",
            capabilities=("net_raw",),
            reads=(situation.paths.run / "etc",),
        )

    async def probe(self, situation: Situation) -> None:
        """See that its socket is open.

        It cannot be asked from here: what an interface sends, its own RARP sockets do not get.
        """
        assert situation.network is not None
        if not listens(Path("/proc/net/packet").read_text(encoding="ascii"), situation.network):
            raise NotServing(f"nobody listens for RARP on {situation.network.interface}")

    def event(self, line: str) -> Event:
        """Find the machine in `RARP request from MAC …` and `RARP response to MAC …`."""
        match = _LINE.fullmatch(line)
        text = match["text"] if match else line
        message = _MESSAGE.match(text)
        if message is None:
            return super().event(text)
        return Event(self.name, printable(text), "dhcp", message["mac"])


def listens(sockets: str, network: Network) -> bool:
    """Tell from /proc/net/packet whether somebody hears RARP on an interface.

    A socket whose interface was removed stays, with -1 for its index.
    """
    # `sk RefCnt Type Proto Iface …`, the protocol in hexadecimal.
    wanted = [_ETHERTYPE, str(network.index)]
    return any(line.split()[3:5] == wanted for line in sockets.splitlines()[1:])
