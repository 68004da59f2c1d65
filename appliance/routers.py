"""Hears other routers' advertisements (RFC 4861), beside which ours would be out of place."""

from __future__ import annotations

import asyncio
import socket
import struct
import sys
from collections.abc import Callable
from pathlib import Path

from appliance.network import Network

_SOLICITATION = bytes([133, 0, 0, 0, 0, 0, 0, 0])
_ADVERTISEMENT = 134
_ALL_ROUTERS = "ff02::2"
_ICMP6_FILTER = 1
_UNROUTED = 255  # hop limit
# RFC 4861 section 6.2.1: a router is silent for at most 1800 s; one lost packet is forgiven.
_FORGOTTEN_AFTER = 2 * 1800.0
# Section 6.2.6: a solicitation is answered within MAX_RA_DELAY_TIME, 0.5 s.
_ANSWERED_WITHIN = 1.0


class RouterWatch:
    """Listens on one interface; `changed` is called when another router comes or goes.

    Raises OSError where the interface cannot be used (yet).
    `other_router` is None until routers have had the time to answer, then an address or "".
    """

    def __init__(self, network: Network, changed: Callable[[], None]) -> None:
        self.network = network
        self.other_router: str | None = None
        interface = network.interface
        self._changed = changed
        self._socket = socket.socket(socket.AF_INET6, socket.SOCK_RAW, socket.IPPROTO_ICMPV6)
        self._socket.setblocking(False)
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
        # A set bit blocks a type (RFC 3542 section 3.2): let only advertisements through.
        blocked = [0xFFFFFFFF] * 8
        blocked[_ADVERTISEMENT // 32] &= ~(1 << (_ADVERTISEMENT % 32))
        self._socket.setsockopt(socket.IPPROTO_ICMPV6, _ICMP6_FILTER, struct.pack("8I", *blocked))
        # RFC 4861 section 6.1: neither side takes a packet that a router could have forwarded.
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_MULTICAST_HOPS, _UNROUTED)
        self._socket.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_RECVHOPLIMIT, 1)
        try:
            # Ask routers to show themselves, instead of waiting for half an hour.
            index = socket.if_nametoindex(interface)
            self._socket.sendto(_SOLICITATION, (_ALL_ROUTERS, 0, 0, index))
        except OSError:
            self._socket.close()
            raise
        loop = asyncio.get_running_loop()
        loop.add_reader(self._socket, self._hear)
        self._forget = loop.call_later(_ANSWERED_WITHIN, self._set, "")

    def close(self) -> None:
        """Stop listening."""
        asyncio.get_running_loop().remove_reader(self._socket)
        self._socket.close()
        self._forget.cancel()

    def _hear(self) -> None:
        try:
            _, ancillary, _, sender = self._socket.recvmsg(2048, socket.CMSG_SPACE(4))
        except OSError:
            return  # a wake-up for nothing, or the interface is going
        hop_limits = [
            int.from_bytes(data[:4], sys.byteorder)
            for level, kind, data in ancillary
            if (level, kind) == (socket.IPPROTO_IPV6, socket.IPV6_HOPLIMIT)
        ]
        address = sender[0].partition("%")[0]
        if hop_limits != [_UNROUTED] or address in _own_addresses(self.network.interface):
            return
        self._take(address)

    def _take(self, address: str) -> None:
        """Note who advertises; of several, the first one stands for all until none does."""
        self._forget.cancel()
        loop = asyncio.get_running_loop()
        self._forget = loop.call_later(_FORGOTTEN_AFTER, self._set, "")
        self._set(self.other_router or address)

    def _set(self, address: str) -> None:
        if address != self.other_router:
            self.other_router = address
            self._changed()


def _own_addresses(interface: str) -> frozenset[str]:
    # /proc/net/if_inet6: 32 hex digits, index, prefix, scope, flags, interface
    lines = Path("/proc/net/if_inet6").read_text(encoding="ascii").splitlines()
    return frozenset(
        socket.inet_ntop(socket.AF_INET6, bytes.fromhex(line.split()[0]))
        for line in lines
        if line.split()[5] == interface
    )
