"""Who holds a port, by `ss`: the process where it can be seen, else its user."""

from __future__ import annotations

import re
from ipaddress import IPv4Address
from typing import Literal, NamedTuple

from appliance.run import run

_ANY = ("0.0.0.0", "*")  # `*` is IPv6 with IPv4; `[::]` is IPv6 alone, beside which ours is free
# `ss -Hlnpe`: state, two queues, the local address, the remote one, what -p and -e add.
_SOCKET = re.compile(
    r"\S+\s+\d+\s+\d+\s+(?P<address>\S+?)(%(?P<device>[^\s:]+))?:\d+\s(?P<more>.*)"
)
_PROCESS = re.compile(r'users:\(\("(?P<name>[^"]*)",pid=(?P<number>\d+)')
_USER = re.compile(r"\buid:(?P<user>\d+)")  # not printed for root


class Port(NamedTuple):
    """A port that a daemon listens on.

    Beside a socket that is bound to another device it can be used where `device` is given.
    """

    protocol: Literal["tcp", "udp"]
    address: IPv4Address
    number: int
    device: str | None = None
    otherwise: str = ""  # what else can be done than to end who has it

    def __str__(self) -> str:
        return f"{self.protocol.upper()} port {self.number}"


async def taken(port: Port) -> str | None:
    """Return who keeps a port from being bound, and what to do, in one line; None when it is free.

    A process of the host or of another container is not seen from ours, but its user is.
    Raises CommandFailed.
    """
    options = f"-Hlnpe{port.protocol[0]}"
    return holder(port, await run(["ss", options, f"sport = :{port.number}"]))


def holder(port: Port, sockets: str) -> str | None:
    """Find who holds a port in the lines that `ss` printed for its number."""
    for line in sockets.splitlines():
        socket = _SOCKET.match(line)
        if socket is None or not _in_the_way(port, socket["address"], socket["device"]):
            continue
        if process := _PROCESS.search(socket["more"]):
            who = f"{process['name']} (process {process['number']} of this container)"
        else:
            user = _USER.search(socket["more"])
            who = (
                f"a process of user {user['user'] if user else 0} outside of this container; on "
                f"the host, `ss -lnp{port.protocol[0]} sport = :{port.number}` names it"
            )
        return f"{port} is taken by {who}; end it{port.otherwise}"
    return None


def _in_the_way(port: Port, address: str, device: str | None) -> bool:
    if device is not None and port.device is not None and device != port.device:
        return False
    return address in (*_ANY, str(port.address)) or str(port.address) in _ANY
