"""ISC dhcpd: addresses, and for iPXE the URL of its script."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import shutil
import socket
import time
from pathlib import Path
from secrets import randbits

from appliance.daemons.base import PROBE_MAC, Daemon, NotServing, Program, let_checker_read
from appliance.ethernet import Datagram, UdpTap
from appliance.events.hub import Event, printable
from appliance.menu.nic_drivers import card_of
from appliance.neopxe import packet
from appliance.neopxe.packet import MessageType, Op, Option, Packet
from appliance.network import Network
from appliance.ports import Port
from appliance.situation import Situation

_CONFIGURATION = "etc/dhcp/dhcpd.conf"
_PORT = 67
_USER = "dhcpd"
_PATIENCE = 1.0  # seconds

# Its banner comes with every check.
_BANNER = r"^(Internet Systems|Copyright|All rights|For info|Config file:|Database file:|PID file:)"

_MESSAGE = re.compile(
    r"(DHCP[A-Z]+|BOOTREQUEST|BOOTREPLY)\b.*?\b(?P<client>[0-9a-f]{2}(:[0-9a-f]{2}){5})\b"
)
_ANSWER_TO_INFORM = re.compile(r"(DHCPINFORM from|DHCPACK to) (?P<client>[\d.]+)\b")
# What dhcpd.conf.j2 lets it log; zeros that lead in a byte are missing.
_STAGE = re.compile(
    r"stage=(?P<stage>firmware|loader|ipxe) mac=(?P<mac>[0-9a-f]{1,2}(:[0-9a-f]{1,2}){5})"
    r" bus-id=(?:none|(?P<bus_id>[0-9a-f]{1,2}(:[0-9a-f]{1,2}){0,4})?)"
)


class Dhcpd(Daemon):
    """Runs on the one interface that was named."""

    name = "dhcpd"
    templates = (_CONFIGURATION,)

    def idle(self, situation: Situation) -> str | None:
        """Give no addresses by setting, and beside another DHCP server."""
        if situation.network is None:
            return super().idle(situation)
        wanted, others = situation.settings.dhcp, situation.other_dhcp_servers
        if wanted == "off":
            return "BOOTDROP_DHCP=off"
        if wanted == "force":
            return None
        return f"{', '.join(map(str, others))} gives addresses here" if others else None

    def waits(self, situation: Situation) -> str | None:
        """Wait until other DHCP servers have had the time to answer."""
        unknown = situation.other_dhcp_servers is None and situation.settings.dhcp == "auto"
        return "listening for other DHCP servers first" if unknown else None

    def program(self, situation: Situation) -> Program:
        """Stay in the foreground (-f) and log to stderr (-d).

        --no-pid: dhcpd does not start when its pid file names any live process.
        """
        assert situation.network is not None
        paths = situation.paths
        return Program(
            (
                *("dhcpd", "-4", "-f", "-d", "--no-pid", "-cf", str(paths.run / _CONFIGURATION)),
                *("-lf", str(paths.leases), situation.network.interface),
            ),
            user=_USER,
            # Port 67, and frames to machines that have no address yet.
            capabilities=("net_bind_service", "net_raw"),
            reads=(paths.run / "etc/dhcp", Path("/proc")),
            writes=(paths.leases.parent,),
        )

    def prepare(self, situation: Situation) -> None:
        """Make the lease file, without which dhcpd does not start."""
        leases = situation.paths.leases
        leases.parent.mkdir(parents=True, exist_ok=True)
        shutil.chown(leases.parent, _USER, _USER)
        # The folder is dhcpd's: a link that it left there must not give it another's file.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        with open(os.open(leases, flags, 0o644), "wb") as file:
            shutil.chown(file.fileno(), _USER, _USER)

    def listens(self, situation: Situation) -> tuple[Port, ...]:
        """Return DHCP's port: beside another's socket dhcpd would start, and share its clients."""
        assert situation.network is not None
        if situation.settings.dhcp == "force":
            return ()
        otherwise = ", or set BOOTDROP_DHCP=force where it serves another interface"
        network = situation.network
        return (Port("udp", network.server, _PORT, network.interface, otherwise),)

    async def check(self, configuration: Path, situation: Situation) -> None:
        """Run `dhcpd -t` (with -q it would fail without a word)."""
        await let_checker_read(
            ["dhcpd", "-4", "-t", "-cf", str(configuration / _CONFIGURATION)], _BANNER
        )

    async def probe(self, situation: Situation) -> None:
        """Ask for an address, as a machine behind a relay does."""
        assert situation.network is not None
        try:
            await asyncio.to_thread(_discover, situation.network)
        except OSError as error:
            raise NotServing(f"no offer from UDP port {_PORT}: {error}") from None

    def event(self, line: str) -> Event:
        """Find the machine in lines such as `DHCPACK on ADDRESS to MAC via INTERFACE`."""
        if stage := _STAGE.fullmatch(line):
            mac = ":".join(byte.zfill(2) for byte in stage["mac"].split(":"))
            card = card_of(stage["bus_id"] or "") or ""
            text = f"stage={stage['stage']} mac={mac}" + f" card={card}" * bool(card)
            return Event(self.name, text, "dhcp", mac, card)
        match = _ANSWER_TO_INFORM.match(line) or _MESSAGE.match(line)
        if match is None:
            return super().event(line)
        return Event(self.name, printable(line), "dhcp", match["client"])


def _discover(network: Network) -> None:
    """Send a DHCPDISCOVER and wait for its offer. Raises OSError.

    dhcpd hears frames on its interface, not datagrams that stay in the host. So the request leaves
    as a frame to the interface's own hardware address, which no other host takes. It names us as
    its relay (RFC 2131 section 4.1), so that the answer is a datagram to our own port 67.
    """
    request = Packet(
        op=Op.REQUEST,
        xid=randbits(32),
        chaddr=bytes.fromhex(PROBE_MAC.replace(":", "")),
        giaddr=network.server,
        options={Option.MESSAGE_TYPE: bytes([MessageType.DISCOVER])},
    )
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay,
        contextlib.closing(UdpTap(network.interface)) as tap,
    ):
        relay.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # beside dhcpd's
        relay.bind((str(network.server), _PORT))
        own = Datagram(network.server, _PORT, network.server, _PORT, packet.build(request))
        tap.send(own, tap.mac)
        hear_answer(relay, request.xid)


def hear_answer(relay: socket.socket, xid: int, patience: float = _PATIENCE) -> None:
    """Wait at most `patience` seconds for an answer to the transaction `xid`. Raises OSError.

    Anybody can send to the port: machines that renew a lease, and worse. None of that is an answer,
    nor does it tell anything of dhcpd.
    """
    end = time.monotonic() + patience
    while (left := end - time.monotonic()) > 0:
        relay.settimeout(left)
        with contextlib.suppress(packet.MalformedPacket):
            if packet.parse(relay.recv(65535)).xid == xid:
                return
    raise TimeoutError("timed out")
