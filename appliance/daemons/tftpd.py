"""tftp-hpa's in.tftpd: the small files that firmware can only load by TFTP."""

from __future__ import annotations

import asyncio
import io
import logging
import re
import socket
from ipaddress import IPv4Address

import tftpy

from appliance.daemons.base import Daemon, NotServing, Program
from appliance.events.hub import Event, printable
from appliance.ports import Port
from appliance.situation import Situation

# What it says of lost packets is in the reason, when it gives up.
logging.getLogger("tftpy").setLevel(logging.CRITICAL)

PORT = 69
# Where transfers come from: one process and one port each, so this is how many there can be at a
# time. Above the kernel's own range (net.ipv4.ip_local_port_range).
_TRANSFER_PORTS = "61000:62023"
_REMAP = "etc/tftpd/remap"
_PROBED_FILE = "help.txt"
# Seconds. in.tftpd loses the first request after its start, so tftpy asks twice then.
_PATIENCE = 1

_REQUEST = re.compile(
    r"RRQ from (?P<client>[\d.]+) filename |sending NAK .* to (?P<refused>[\d.]+)$"
)


class Tftpd(Daemon):
    """Serves published/ and nothing else."""

    name = "tftpd"
    syslog_tag = "in.tftpd"
    templates = (_REMAP,)

    def program(self, situation: Situation) -> Program:
        """Stay in the foreground (-L); each transfer is chrooted (-s), as the user tftp.

        The process that waits for requests stays root, as chroot is for each transfer anew.
        """
        assert situation.network is not None
        settings, published = situation.settings, situation.paths.published
        remap = situation.paths.run / _REMAP
        refuse = ("-r", "blksize") if settings.tftp_refuse_blksize else ()
        return Program(
            (
                *("in.tftpd", "-L", "-v", "-v", "-u", "tftp"),
                *("--address", f"{situation.network.server}:{PORT}", "-R", _TRANSFER_PORTS),
                *("-B", str(settings.tftp_block_size), *refuse),
                *("-m", str(remap), "-s", str(published)),
            ),
            capabilities=("net_bind_service", "setgid", "setuid", "sys_chroot"),
            reads=(published, remap.parent),
        )

    def listens(self, situation: Situation) -> tuple[Port, ...]:
        """Return TFTP's port on the boot network."""
        assert situation.network is not None
        return (Port("udp", situation.network.server, PORT),)

    async def probe(self, situation: Situation) -> None:
        """Load a small file."""
        assert situation.network is not None
        try:
            await asyncio.to_thread(_load, situation.network.server)
        except (OSError, tftpy.TftpException) as error:
            raise NotServing(f"no file by TFTP from port {PORT}: {error}") from None

    def event(self, line: str) -> Event:
        """Find the machine in `RRQ from ADDRESS filename NAME` and `sending NAK (…) to ADDRESS`."""
        match = _REQUEST.match(line)
        if match is None:
            return super().event(line)
        return Event(self.name, printable(line), "tftp", match["client"] or match["refused"])


def _load(server: IPv4Address) -> None:
    # A request that may be lost, so that the one that counts need not be repeated.
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as throw_away:
        throw_away.sendto(b"\0\1.\0octet\0", (str(server), PORT))
    client = tftpy.TftpClient(str(server), PORT)
    client.download(_PROBED_FILE, io.BytesIO(), timeout=_PATIENCE)
