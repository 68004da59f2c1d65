"""The loop: receives on UDP, answers to where it came from, counts, and logs a line for each."""

from __future__ import annotations

import selectors
import socket
import struct
import sys
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from ipaddress import IPv4Address

from appliance.neopxe import boot_menu, packet
from appliance.neopxe.conf import Configuration, Discovery

PORT = 4011  # PXE 2.1 section 2.2.4

_LARGEST_PACKET = 4096  # bytes: more than any frame on a network that machines boot from
_RECEIVE_BUFFER = 1 << 20  # bytes: a room full of machines that are switched on at once
_BURST = 64  # requests answered in a row before the log is written and other sockets have a turn

# Lines for answers in a second: more than the machines of a room need, less than a flood.
_ANSWERS_TOLD = 500

_DROPS_TOLD_EVERY = 10.0  # seconds, so that a flood does not fill the log
_REASONS_TOLD = 5
# Reasons have numbers out of packets, so that there is no end of them.
_REASONS_KEPT = 50
_OTHER_REASONS = "other reasons"

# linux/in.h; Python has no names for them.
_IP_PKTINFO = 8
_IP_MULTICAST_ALL = 49
_PKTINFO = struct.Struct("=I4s4s")  # struct in_pktinfo (ip(7)): interface, own address, ignored


class CannotBind(Exception):
    """The address, port or interface cannot be had; the message says which and why."""


@dataclass
class Drops:
    """Counts what was not answered, to tell it now and then; its size has a limit."""

    counts: Counter[str] = field(default_factory=Counter)
    told: float | None = None  # time of the last line; None: there was none yet

    def add(self, reason: str) -> None:
        """Count one."""
        if reason not in self.counts and len(self.counts) >= _REASONS_KEPT:
            reason = _OTHER_REASONS
        self.counts[reason] += 1

    def due_in(self, now: float) -> float | None:
        """Return the seconds until a line is to be written; None when there is nothing to tell."""
        if not self.counts:
            return None
        return 0.0 if self.told is None else max(0.0, self.told + _DROPS_TOLD_EVERY - now)

    def tell(self, now: float) -> str:
        """Return the line for the log, and count from zero again."""
        most = self.counts.most_common(_REASONS_TOLD)
        left = self.counts.total() - sum(count for _, count in most)
        parts = [f"{count} x {why}" for why, count in most]
        parts += [f"{left} x further reasons"] if left else []
        self.counts.clear()
        self.told = now
        return f"dropped {'; '.join(parts)}"


@dataclass
class Answers:
    """Decides which answers have a line of their own, so that no client can fill the log."""

    since: float = 0.0  # when the second began
    told: int = 0  # lines in this second
    untold: int = 0

    def tell(self, reply: boot_menu.Reply, now: float) -> list[str]:
        """Return the lines to write for an answer."""
        before: list[str] = []
        if now - self.since >= 1:
            before = self.rest()
            self.since, self.told = now, 0
        if self.told < _ANSWERS_TOLD:
            self.told += 1
            return [*before, reply.summary]
        self.untold += 1
        return before

    def rest(self) -> list[str]:
        """Return the line for those without one, if there are any."""
        untold, self.untold = self.untold, 0
        return [f"answered {untold} more"] if untold else []


@dataclass(frozen=True)
class _Listener:
    """Where requests come in, and by which socket their answers go out."""

    asked: socket.socket
    answers: socket.socket
    discovery_only: bool = False  # port 67, where others do DHCP


class Server:
    """A PXE boot server on one address. Raises CannotBind.

    `port` and `dhcp_port` are other ones than the standard's for tests; 0 is any free one.
    """

    def __init__(
        self, configuration: Configuration, port: int = PORT, dhcp_port: int = boot_menu.DHCP_PORT
    ) -> None:
        self._configuration = configuration
        self._port, self._dhcp_port = port, dhcp_port
        self._drops = Drops()
        self._answers = Answers()
        self._lines: list[str] = []
        self._ended, self._end = socket.socketpair()
        self._open()

    @property
    def port(self) -> int:
        """The UDP port that is bound for unicast."""
        return self._port

    def serve(self) -> None:
        """Answer until `end`. What a client sends can end neither this nor the log's lines."""
        self._log(f"ready {self._configuration.ip_addr}:{self._port}")
        self._flush()
        while self._answer_all():
            if self._drops.due_in(now := time.monotonic()) == 0:
                self._log(self._drops.tell(now))
            self._flush()
        self._log(*self._answers.rest())
        if self._drops.counts:
            self._log(self._drops.tell(time.monotonic()))
        self._flush()

    def end(self) -> None:
        """Let `serve` return when it has answered what it reads; safe in a signal's handler."""
        self._end.send(b"!")

    def configure(self, configuration: Configuration) -> None:
        """Take another configuration for the next `serve`; no request is lost. Raises CannotBind.

        Sockets are opened anew only where their addresses are others.
        """
        before, self._configuration = self._configuration, configuration
        if _addresses(configuration) != _addresses(before):
            self.close()
            self._open()

    def close(self) -> None:
        """Give the ports back."""
        self._opened.close()

    def _open(self) -> None:
        configuration = self._configuration
        self._own_address = _own_address(configuration.ip_addr)
        with ExitStack() as opened:
            self._selector = opened.enter_context(selectors.DefaultSelector())
            self._selector.register(self._ended, selectors.EVENT_READ)
            unicast = opened.enter_context(_unicast(configuration.ip_addr, self._port))
            self._port = int(unicast.getsockname()[1])
            self._listen(_Listener(unicast, unicast))
            if configuration.discovery is Discovery.MULTICAST:
                group = opened.enter_context(_multicast(configuration, self._port))
                self._listen(_Listener(group, unicast))
            if configuration.listen_67:
                broadcast = opened.enter_context(
                    _broadcast(configuration.listen_67, self._dhcp_port)
                )
                self._listen(_Listener(broadcast, broadcast, discovery_only=True))
            self._opened = opened.pop_all()

    def _listen(self, listener: _Listener) -> None:
        listener.asked.setblocking(False)
        self._selector.register(listener.asked, selectors.EVENT_READ, listener)

    def _answer_all(self) -> bool:
        """Wait, answer what came, and tell whether to go on."""
        go_on = True
        for key, _ in self._selector.select(self._drops.due_in(time.monotonic())):
            if key.fileobj is self._ended:
                self._ended.recv(_BURST)
                go_on = False
            else:
                self._answer_burst(key.data)
        return go_on

    def _answer_burst(self, listener: _Listener) -> None:
        for _ in range(_BURST):
            try:
                data, source = listener.asked.recvfrom(_LARGEST_PACKET)
            except BlockingIOError:
                return
            except OSError as error:  # ENETDOWN: the interface may come back, the socket stays
                self._drops.add(f"receiving: {error.strerror}")
                return
            self._answer(listener, data, source)

    def _answer(self, listener: _Listener, data: bytes, source: tuple[str, int]) -> None:
        try:
            request = packet.parse(data)
        except packet.MalformedPacket as malformed:
            self._drops.add(str(malformed))
            return
        if listener.discovery_only and not boot_menu.is_discovery(request):
            return
        reply = boot_menu.answer(self._configuration, request)
        if isinstance(reply, boot_menu.Dropped):
            self._drops.add(reply.reason)
            return
        to = boot_menu.destination(request, source)
        try:
            listener.answers.sendmsg([packet.build(reply.packet)], self._own_address, 0, to)
        except OSError as error:  # port 0, no route, our address is gone: the next may do better
            self._drops.add(f"answer cannot be sent: {error.strerror}")
            return
        self._log(*self._answers.tell(reply, time.monotonic()))

    def _log(self, *lines: str) -> None:
        self._lines += (line + "\n" for line in lines)

    def _flush(self) -> None:
        # One write for a burst: a write for each answer takes longer than the answer.
        if self._lines:
            sys.stderr.write("".join(self._lines))
            sys.stderr.flush()
            self._lines.clear()


def _addresses(configuration: Configuration) -> tuple[object, ...]:
    """Return all that sockets are opened for."""
    return (
        configuration.ip_addr,
        configuration.discovery is Discovery.MULTICAST and configuration.multicast_addr,
        configuration.listen_67,
    )


def _unicast(address: IPv4Address, port: int) -> socket.socket:
    opened = _udp(address, port)
    opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
    return opened


def _multicast(configuration: Configuration, port: int) -> socket.socket:
    """Join the group on the interface that has the server's address."""
    opened = _udp(configuration.multicast_addr, port)
    membership = configuration.multicast_addr.packed + configuration.ip_addr.packed
    try:
        # Else it hears what any program joined on any interface.
        opened.setsockopt(socket.IPPROTO_IP, _IP_MULTICAST_ALL, 0)
        opened.setsockopt(socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP, membership)
    except OSError as error:
        opened.close()
        where = f"{configuration.multicast_addr} on the interface of {configuration.ip_addr}"
        raise CannotBind(f"{where}: cannot join the group: {error.strerror}") from None
    return opened


def _broadcast(interface: str, port: int) -> socket.socket:
    """Listen beside a DHCP server that has the port: each of them gets every broadcast."""
    return _udp(packet.UNSPECIFIED, port, interface)


def _udp(address: IPv4Address, port: int, interface: str = "") -> socket.socket:
    opened = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    try:
        opened.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, _RECEIVE_BUFFER)
        if interface:
            # Bound to its interface it neither hears nor disturbs other networks.
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BINDTODEVICE, interface.encode())
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_BROADCAST, 1)
        opened.bind((str(address), port))
    except OSError as error:
        opened.close()
        where = f"{address}:{port}" + (f" on {interface}" if interface else "")
        raise CannotBind(f"{where}: cannot listen on UDP: {error.strerror}") from None
    return opened


def _own_address(address: IPv4Address) -> list[tuple[int, int, bytes]]:
    """Return what makes an answer leave with this source address (IP_PKTINFO, ip(7))."""
    information = _PKTINFO.pack(0, address.packed, bytes(4))
    return [(socket.IPPROTO_IP, _IP_PKTINFO, information)]
