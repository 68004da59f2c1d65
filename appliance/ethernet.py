"""Frames of UDP over IPv4 over Ethernet, for packets that no ordinary socket can send or hear."""

from __future__ import annotations

import ctypes
import socket
import struct
from dataclasses import dataclass
from ipaddress import IPv4Address

BROADCAST_MAC = b"\xff" * 6
BROADCAST = IPv4Address("255.255.255.255")

_ETHERNET = struct.Struct("!6s6sH")
_IPV4 = struct.Struct("!BBHHHBBH4s4s")  # RFC 791 section 3.1, without options
_UDP = struct.Struct("!HHHH")  # RFC 768
_ETHERTYPE_IPV4 = 0x0800
_TIME_TO_LIVE = 64

_SO_ATTACH_FILTER = 26  # <asm-generic/socket.h>
_PACKET_OUTGOING = 4  # <linux/if_packet.h>
_LONGEST_FRAME = 65535


class MalformedFrame(Exception):
    """The bytes are no whole UDP datagram over IPv4; the message says why."""


@dataclass(frozen=True)
class Datagram:
    """A UDP datagram with the addresses that it goes by."""

    source: IPv4Address
    source_port: int
    destination: IPv4Address
    destination_port: int
    payload: bytes


def frame(datagram: Datagram, source_mac: bytes, destination_mac: bytes) -> bytes:
    """Write an Ethernet frame. Its UDP checksum is zero, which IPv4 allows (RFC 768)."""
    udp = _UDP.pack(
        datagram.source_port, datagram.destination_port, _UDP.size + len(datagram.payload), 0
    )

    def header(checksum: int) -> bytes:
        return _IPV4.pack(
            *(0x45, 0, _IPV4.size + len(udp) + len(datagram.payload), 0, 0),
            *(_TIME_TO_LIVE, socket.IPPROTO_UDP, checksum),
            *(datagram.source.packed, datagram.destination.packed),
        )

    ethernet = _ETHERNET.pack(destination_mac, source_mac, _ETHERTYPE_IPV4)
    return ethernet + header(_checksum(header(0))) + udp + datagram.payload


def parse(data: bytes) -> Datagram:
    """Read an Ethernet frame. Raises MalformedFrame."""
    if len(data) < _ETHERNET.size + _IPV4.size:
        raise MalformedFrame(f"{len(data)} bytes")
    if _ETHERNET.unpack_from(data)[2] != _ETHERTYPE_IPV4:
        raise MalformedFrame("not IPv4")
    packet = data[_ETHERNET.size :]
    words, _, length, _, fragment, _, protocol, _, source, destination = _IPV4.unpack_from(packet)
    start = 4 * (words & 0xF)
    if words >> 4 != 4 or start < _IPV4.size or protocol != socket.IPPROTO_UDP or fragment & 0x3FFF:
        raise MalformedFrame("not a whole UDP datagram")
    udp = packet[start:length]  # what lies behind is the frame's padding
    if len(udp) < _UDP.size:
        raise MalformedFrame("no UDP header")
    source_port, destination_port, udp_length, _ = _UDP.unpack_from(udp)
    if not _UDP.size <= udp_length <= len(udp):
        raise MalformedFrame("cut short")
    return Datagram(
        IPv4Address(source),
        source_port,
        IPv4Address(destination),
        destination_port,
        udp[_UDP.size : udp_length],
    )


class UdpTap:
    """Sends whole frames on one interface, and hears what others send to a UDP port there.

    Raises OSError where the interface is not there. Needs CAP_NET_RAW.
    """

    def __init__(self, interface: str, port: int | None = None) -> None:
        """Hear datagrams from and to `port`; None: only send."""
        # Of no protocol until it is bound, so that no frame comes past the filter.
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, 0)
        try:
            self.socket.setblocking(False)
            if port is not None:
                _filter(self.socket, port)
            self.socket.bind((interface, 0 if port is None else _ETHERTYPE_IPV4))
        except OSError:
            self.socket.close()
            raise
        self.mac: bytes = self.socket.getsockname()[4]

    def send(self, datagram: Datagram, destination_mac: bytes) -> None:
        """Send a datagram from this interface's hardware address. Raises OSError."""
        self.socket.send(frame(datagram, self.mac, destination_mac))

    def receive(self) -> Datagram | None:
        """Return the next datagram of another host; None for what is ours or no datagram.

        Raises BlockingIOError when nothing is there, OSError when the interface is gone.
        """
        data, (_, _, kind, *_) = self.socket.recvfrom(_LONGEST_FRAME)
        if kind == _PACKET_OUTGOING:
            return None
        try:
            return parse(data)
        except MalformedFrame:
            return None

    def close(self) -> None:
        """Stop listening."""
        self.socket.close()


def _checksum(header: bytes) -> int:
    """RFC 1071: the complement of the sum of all 16-bit words."""
    total: int = sum(struct.unpack(f"!{len(header) // 2}H", header))
    while total >> 16:
        total = (total & 0xFFFF) + (total >> 16)
    return ~total & 0xFFFF


def _filter(packets: socket.socket, port: int) -> None:
    """Let the kernel pass nothing but unfragmented UDP over IPv4 from or to `port`."""
    load_half, load_byte, load_header_length = 0x28, 0x30, 0xB1
    load_half_after_header, equal, any_bit, give = 0x48, 0x15, 0x45, 0x06
    program = [
        (load_half, 0, 0, 12),
        (equal, 0, 10, _ETHERTYPE_IPV4),
        (load_byte, 0, 0, 23),
        (equal, 0, 8, socket.IPPROTO_UDP),
        (load_half, 0, 0, 20),
        (any_bit, 6, 0, 0x3FFF),
        (load_header_length, 0, 0, 14),
        (load_half_after_header, 0, 0, 14),  # source port
        (equal, 2, 0, port),
        (load_half_after_header, 0, 0, 16),  # destination port
        (equal, 0, 1, port),
        (give, 0, 0, _LONGEST_FRAME),
        (give, 0, 0, 0),
    ]
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in program)
    buffer = ctypes.create_string_buffer(code)
    # struct sock_fprog: the number of instructions and where they lie; the kernel copies them.
    packets.setsockopt(
        socket.SOL_SOCKET,
        _SO_ATTACH_FILTER,
        struct.pack("HP", len(program), ctypes.addressof(buffer)),
    )
