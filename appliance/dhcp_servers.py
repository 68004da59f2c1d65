"""Hears other DHCP servers on the boot network (RFC 2131), beside which ours would do harm.

It asks, as some answer nobody else in our hearing: answers to other machines are seldom broadcast.
It listens, as some answer late (they look first whether an address is free, or their switch still
learns), or know only machines of their own. A machine that takes an offer names the server by
broadcast, so those are heard too.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from ipaddress import IPv4Address
from secrets import randbits

from appliance.daemons.base import ASKING_MAC
from appliance.ethernet import BROADCAST, BROADCAST_MAC, Datagram, UdpTap
from appliance.neopxe import packet
from appliance.neopxe.packet import MalformedPacket, MessageType, Op, Option, Packet
from appliance.network import Network

_SERVER_PORT, _CLIENT_PORT = 67, 68

_ASKS_FOR_BROADCAST = 0x8000  # RFC 2131 figure 2
# Seconds. ISC dhcpd offers a new machine an address after a second of waiting for an echo.
_FIRST_ANSWER = 2.0
_ASK_ALONE, _ASK_BESIDE = 30.0, 10.0
# A server that answered us and then is silent this often is gone.
_FORGIVEN_SILENCES = 3
# Seconds after which one that only others' packets told of is forgotten.
_FORGOTTEN_AFTER = 600.0
_MOST_SERVERS = 8  # anybody can make addresses up
_BURST = 64  # packets, before others in this process have their turn


class DhcpServerWatch:
    """Asks and listens on one network; `changed` is called when another server comes or goes.

    Raises OSError where the interface cannot be used (yet).
    `others` is None until servers have had the time to answer, then their addresses.
    """

    def __init__(self, network: Network, changed: Callable[[], None]) -> None:
        self.network = network
        self.others: tuple[IPv4Address, ...] | None = None
        self._changed = changed
        self._tap = UdpTap(network.interface, _SERVER_PORT)
        self._xid = randbits(32)
        self._forgotten: dict[IPv4Address, float] = {}  # when each server will be, by loop time
        self._answering: set[IPv4Address] = set()  # those of them that answer our questions
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._tap.socket, self._hear)
        self._ask(self._discover(), self._inform())
        self._timer = self._loop.call_later(_FIRST_ANSWER, self._turn)

    def close(self) -> None:
        """Stop asking and listening."""
        self._loop.remove_reader(self._tap.socket)
        self._tap.close()
        self._timer.cancel()

    def _turn(self) -> None:
        """Forget who is gone, and ask again."""
        now = self._loop.time()
        self._forgotten = {server: end for server, end in self._forgotten.items() if end > now}
        self._answering &= self._forgotten.keys()
        self._tell()
        self._ask(self._discover())
        self._timer = self._loop.call_later(self._pause, self._turn)

    @property
    def _pause(self) -> float:
        return _ASK_BESIDE if self._forgotten else _ASK_ALONE

    def _discover(self) -> Packet:
        """Ask for an address."""
        return Packet(
            op=Op.REQUEST,
            xid=self._xid,
            chaddr=bytes.fromhex(ASKING_MAC.replace(":", "")),
            flags=_ASKS_FOR_BROADCAST,
            options={Option.MESSAGE_TYPE: bytes([MessageType.DISCOVER])},
        )

    def _inform(self) -> Packet:
        """Ask what a machine that has an address asks: nobody has to look for a free one first.

        Only before our own dhcpd runs, which would complain that it has no authority to answer.
        """
        return Packet(
            op=Op.REQUEST,
            xid=self._xid,
            chaddr=self._tap.mac,
            ciaddr=self.network.server,
            options={Option.MESSAGE_TYPE: bytes([MessageType.INFORM])},
        )

    def _ask(self, *questions: Packet) -> None:
        for asked in questions:
            datagram = Datagram(
                asked.ciaddr, _CLIENT_PORT, BROADCAST, _SERVER_PORT, packet.build(asked)
            )
            try:
                self._tap.send(datagram, BROADCAST_MAC)
            except OSError:
                return  # the interface is down or gone, which is told elsewhere

    def _hear(self) -> None:
        for _ in range(_BURST):
            try:
                datagram = self._tap.receive()
            except OSError:
                return  # nothing more for now, or the interface is going
            if datagram is None:
                continue
            try:
                heard = packet.parse(datagram.payload)
            except MalformedPacket:
                continue
            self._take(heard, datagram.source)

    def _take(self, heard: Packet, source: IPv4Address) -> None:
        server = other_server(heard, source, asked=self._xid)
        if server is None or server == self.network.server:
            return
        if server not in self._forgotten and len(self._forgotten) == _MOST_SERVERS:
            return
        if heard.op == Op.REPLY and heard.xid == self._xid:
            self._answering.add(server)
        answers = server in self._answering
        stays = _FORGIVEN_SILENCES * _ASK_BESIDE if answers else _FORGOTTEN_AFTER
        new = server not in self._forgotten
        self._forgotten[server] = self._loop.time() + stays
        if new:
            self._tell()
            # From now on it is asked more often.
            self._timer.cancel()
            self._timer = self._loop.call_later(_ASK_BESIDE, self._turn)

    def _tell(self) -> None:
        others = tuple(sorted(self._forgotten))
        if others != self.others:
            self.others = others
            self._changed()


def other_server(heard: Packet, source: IPv4Address, asked: int) -> IPv4Address | None:
    """Return the address of the DHCP or BOOTP server that a packet tells of, if it does.

    `source` is the packet's sender, `asked` the transaction in which we asked. What only tells
    machines where to boot from (PXE 2.1 proxyDHCP: an offer of no address) is no such server.
    """
    identifier = heard.options.get(Option.SERVER_IDENTIFIER, b"")
    named = IPv4Address(identifier) if len(identifier) == 4 else None
    if heard.op == Op.REQUEST:
        # RFC 2131 section 4.3.2: only a machine that takes an offer names a server.
        return named if heard.message_type == MessageType.REQUEST else None
    gives = heard.yiaddr != packet.UNSPECIFIED or heard.message_type == MessageType.NAK
    informs = heard.message_type == MessageType.ACK and heard.xid == asked and not heard.is_pxe
    return (named or source) if gives or informs else None
