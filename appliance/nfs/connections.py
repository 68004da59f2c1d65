"""Who is connected to the NFS server, and how much went over each connection, by `ss`."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address

from appliance.run import run

PORT = 2049
# -i prints the kernel's struct tcp_info, -e a number that no other socket ever gets (`sk:`). By
# the bytes that TCP counts both servers look the same, and neither has to be asked.
_COMMAND = ("ss", "-Htnie", "state", "established", f"( sport = :{PORT} )")

# `ss -Htn state established`: two queues, the local address, the remote one, what -e adds.
_SOCKET = re.compile(r"\d+\s+\d+\s+\S+:\d+\s+(?P<address>\S+):(?P<port>\d+)\s(?P<more>.*)")
_COOKIE = re.compile(r"\bsk:(?P<cookie>[0-9a-f]+)\b")


@dataclass(frozen=True)
class Connection:
    """One TCP connection of a machine to port 2049, with what TCP counted since it was made."""

    address: IPv4Address
    port: int  # of the machine
    cookie: str  # the kernel's number for the socket, used once
    received: int  # bytes that came from the machine
    sent: int  # bytes that the machine acknowledged


async def established() -> tuple[Connection, ...]:
    """Return every connection there is now. Raises CommandFailed."""
    return tuple(read(await run(_COMMAND)))


def read(output: str) -> Iterator[Connection]:
    """Read what `ss` printed: a line for each socket, with its counters on the next."""
    lines = iter(output.splitlines())
    for line in lines:
        socket = _SOCKET.match(line)
        cookie = socket and _COOKIE.search(socket["more"])
        if not socket or not cookie:
            continue  # what ss complains of, in a container without cgroup2
        counters = next(lines, "")
        if address := ipv4(socket["address"]):
            yield Connection(
                address,
                int(socket["port"]),
                cookie["cookie"],
                _counter(counters, "bytes_received"),
                _counter(counters, "bytes_acked"),
            )


def ipv4(text: str) -> IPv4Address | None:
    """Read an address, also as a socket for both families has it: [::ffff:192.168.10.5]."""
    try:
        if text.startswith(("[", ":")):
            return IPv6Address(text.strip("[]")).ipv4_mapped
        return IPv4Address(text.partition("%")[0])
    except ValueError:
        return None


def _counter(counters: str, name: str) -> int:
    """Return a counter; ss leaves out those that are 0."""
    found = re.search(rf"\b{name}:(\d+)", counters)
    return int(found[1]) if found else 0
