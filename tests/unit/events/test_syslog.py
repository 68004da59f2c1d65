from __future__ import annotations

import asyncio
import socket
from pathlib import Path

from appliance.events.syslog import open_socket


def heard(path: Path, *datagrams: bytes) -> list[tuple[str, str]]:
    async def listen() -> list[tuple[str, str]]:
        lines: asyncio.Queue[tuple[str, str]] = asyncio.Queue()
        transport = await open_socket(lambda tag, text: lines.put_nowait((tag, text)), path)
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as client:
            client.connect(str(path))
            for datagram in (*datagrams, b"<1>Nov 24 04:00:00 end: \0"):
                client.send(datagram)
        found = []
        async with asyncio.timeout(10):
            while (line := await lines.get())[0] != "end":
                found.append(line)
        transport.close()
        return found

    return asyncio.run(listen())


def test_a_line_of_tftpd_is_heard_by_its_tag(tmp_path: Path) -> None:
    line = b"<29>Nov 24 04:00:00 in.tftpd[12]: RRQ from 192.168.10.10 filename pxelinux.0\0"
    assert heard(tmp_path / "log", line) == [
        ("in.tftpd", "RRQ from 192.168.10.10 filename pxelinux.0")
    ]


def test_what_is_no_syslog_line_is_passed_over(tmp_path: Path) -> None:
    assert heard(tmp_path / "log", b"", b"\xff\xfe", b"<29>short", b"no priority") == []


def test_a_socket_that_an_earlier_life_left_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "log").touch()
    assert heard(tmp_path / "log") == []
