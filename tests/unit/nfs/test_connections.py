"""Output is as `ss -Htnie` of iproute2 6.15 prints it."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address

import pytest

from appliance.nfs import connections
from appliance.nfs.connections import Connection, ipv4, read

MACHINE = IPv4Address("192.168.10.5")
GANESHA = """\
0      0      [::ffff:192.168.10.1]:2049 [::ffff:192.168.10.5]:598 timer:(keepalive,119min,0) \
ino:88386 sk:1004 cgroup:unreachable:7d1 <->
\t ts sack bbr wscale:10,10 rto:208 rtt:5.263/10.508 ato:40 mss:65483 cwnd:12 \
bytes_sent:1049548 bytes_acked:1049540 bytes_received:1188 segs_out:39 lastsnd:1104 lastrcv:1104
"""
KERNEL = """\
0      0      192.168.10.1:2049 192.168.10.6:1021 ino:0 sk:2f cgroup:/ <->
\t cubic wscale:7,7 rto:204 cwnd:10 segs_in:2 lastsnd:20 lastrcv:20 lastack:20
"""


def test_connections_of_both_servers_are_read_with_their_bytes() -> None:
    assert list(read(GANESHA + KERNEL)) == [
        Connection(MACHINE, 598, "1004", 1188, 1049540),
        Connection(IPv4Address("192.168.10.6"), 1021, "2f", 0, 0),
    ]


def test_what_ss_complains_of_is_no_connection() -> None:
    assert list(read("Failed to find cgroup2 mount\n" + KERNEL)) == list(read(KERNEL))


def test_connections_by_ipv6_are_nobodys() -> None:
    line = "0 0 [fe80::1]:2049 [fe80::2%br0]:598 ino:1 sk:3 <->\n\t cubic bytes_acked:1\n"
    assert list(read(line + KERNEL)) == list(read(KERNEL))


@pytest.mark.parametrize("text", ["", "x", "999.1.1.1", "::1", "[::ffff]"])
def test_what_is_no_ipv4_address_is_none(text: str) -> None:
    assert ipv4(text) is None


def test_a_real_connection_is_seen_with_its_bytes(monkeypatch: pytest.MonkeyPatch) -> None:
    async def seen() -> list[Connection]:
        return [each for each in await connections.established() if each.port == machine_port]

    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        monkeypatch.setattr(
            connections,
            "_COMMAND",
            tuple(word.replace("2049", str(port)) for word in connections._COMMAND),
        )
        with (
            socket.create_connection(("127.0.0.1", port)) as machine,
            server.accept()[0] as accepted,
        ):
            machine_port = machine.getsockname()[1]
            machine.sendall(b"w" * 3000)
            assert len(accepted.recv(3000, socket.MSG_WAITALL)) == 3000
            accepted.sendall(b"r" * 70_000)
            assert len(machine.recv(70_000, socket.MSG_WAITALL)) == 70_000
            (found,) = asyncio.run(seen())
            assert (found.address, found.received, found.sent) == (
                IPv4Address("127.0.0.1"),
                3000,
                70_000,
            )
        assert asyncio.run(seen()) == []
