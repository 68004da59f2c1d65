"""ISC dhcpd: addresses, and for iPXE the URL of its script."""

from __future__ import annotations

import re
from pathlib import Path

from appliance.daemons.base import Daemon, NotServing, Program, let_checker_read
from appliance.events.hub import Event, printable
from appliance.situation import Situation

_CONFIGURATION = "etc/dhcp/dhcpd.conf"
_SERVER_PORT = 67

# Its banner comes with every check.
_BANNER = r"^(Internet Systems|Copyright|All rights|For info|Config file:|Database file:|PID file:)"

_MESSAGE = re.compile(
    r"(?P<type>DHCP[A-Z]+|BOOTREQUEST|BOOTREPLY)\b.*?\b(?P<mac>[0-9a-f]{2}(:[0-9a-f]{2}){5})\b"
)


class Dhcpd(Daemon):
    """Runs on the one interface that was named."""

    name = "dhcpd"
    templates = (_CONFIGURATION,)

    def program(self, situation: Situation) -> Program:
        """Stay in the foreground (-f) and log to stderr (-d).

        --no-pid: dhcpd does not start when its pid file names any live process.
        """
        assert situation.network is not None
        return Program(
            f"dhcpd -4 -f -d --no-pid -cf {situation.paths.run / _CONFIGURATION}"
            f" -lf {situation.paths.leases} {situation.network.interface}"
        )

    def prepare(self, situation: Situation) -> None:
        """Make the lease file, without which dhcpd does not start."""
        situation.paths.leases.parent.mkdir(parents=True, exist_ok=True)
        situation.paths.leases.touch()

    async def check(self, configuration: Path, situation: Situation) -> None:
        """Run `dhcpd -t` (with -q it would fail without a word)."""
        await let_checker_read(
            ["dhcpd", "-4", "-t", "-cf", str(configuration / _CONFIGURATION)], _BANNER
        )

    async def probe(self, situation: Situation) -> None:
        """See that port 67 is bound: dhcpd opens it after it has read its leases."""
        # /proc/net/udp: `sl local_address …`, the address as HEX:PORT.
        bound = Path("/proc/net/udp").read_text(encoding="ascii").splitlines()[1:]
        if not any(line.split()[1].endswith(f":{_SERVER_PORT:04X}") for line in bound):
            raise NotServing(f"nobody listens on UDP port {_SERVER_PORT}")

    def event(self, line: str) -> Event:
        """Find the machine in lines such as `DHCPACK on ADDRESS to MAC via INTERFACE`."""
        match = _MESSAGE.match(line)
        if match is None:
            return super().event(line)
        return Event(self.name, printable(line), "dhcp", match["mac"])
