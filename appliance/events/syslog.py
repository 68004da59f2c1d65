"""/dev/log, for daemons that log there: in.tftpd can do nothing else, and does so chrooted."""

from __future__ import annotations

import asyncio
import os
import re
import socket
from collections.abc import Callable
from pathlib import Path

DEVICE = Path("/dev/log")

# RFC 3164 as glibc writes it: <priority>Mmm dd hh:mm:ss tag[pid]: text
_LINE = re.compile(r"<\d+>.{15} (?P<tag>[^\s:\[]+)(\[\d+\])?: (?P<text>.*)", re.DOTALL)


class SyslogSocket(asyncio.DatagramProtocol):
    """Hands each line that came on the socket to `hear(tag, text)`."""

    def __init__(self, hear: Callable[[str, str], None]) -> None:
        self._hear = hear

    def datagram_received(self, data: bytes, addr: object) -> None:
        """Take one line; what is not a syslog line is nobody's."""
        match = _LINE.fullmatch(data.rstrip(b"\0\n").decode("utf-8", "replace"))
        if match:
            self._hear(match["tag"], match["text"])


async def open_socket(
    hear: Callable[[str, str], None], path: Path = DEVICE
) -> asyncio.DatagramTransport:
    """Bind the socket; it must be there before in.tftpd starts."""
    path.unlink(missing_ok=True)
    unix = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC)
    unix.bind(os.fspath(path))
    path.chmod(0o666)
    unix.setblocking(False)
    loop = asyncio.get_running_loop()
    transport, _ = await loop.create_datagram_endpoint(lambda: SyslogSocket(hear), sock=unix)
    return transport
