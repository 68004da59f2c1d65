"""BOOTP and DHCP packets (RFC 951, 2131, 2132) with PXE's options (RFC 4578, PXE 2.1) as values."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from enum import IntEnum
from functools import lru_cache
from ipaddress import IPv4Address

MAGIC_COOKIE = b"\x63\x82\x53\x63"  # RFC 2132 section 2
UNSPECIFIED = IPv4Address(0)

# op, htype, hlen, hops, xid, secs, flags, ciaddr, yiaddr, siaddr, giaddr, chaddr, sname, file
_HEADER = struct.Struct("!BBBBIHH4s4s4s4s16s64s128s")
_SHORTEST = _HEADER.size + len(MAGIC_COOKIE)
# RFC 951: some clients take nothing shorter than a BOOTP packet with its 64 bytes of vendor area.
_PADDED_TO = 300
_LONGEST_OPTION = 255
_FILE_SIZE = 128

# Most addresses in packets are those of before, or 0.0.0.0.
_address = lru_cache(maxsize=1024)(IPv4Address)


class MalformedPacket(Exception):
    """The bytes are no DHCP packet; the message says why."""


class Op(IntEnum):
    """RFC 951 section 3."""

    REQUEST = 1
    REPLY = 2


class Option(IntEnum):
    """DHCP options (RFC 2132 and, from 93 on, RFC 4578)."""

    PAD = 0
    VENDOR = 43
    OVERLOAD = 52
    MESSAGE_TYPE = 53
    SERVER_IDENTIFIER = 54
    VENDOR_CLASS = 60
    USER_CLASS = 77
    ARCHITECTURE = 93
    CLIENT_GUID = 97
    END = 255


class MessageType(IntEnum):
    """Values of option 53 (RFC 2132 section 9.6)."""

    DISCOVER = 1
    OFFER = 2
    REQUEST = 3
    ACK = 5
    NAK = 6
    INFORM = 8


class PxeOption(IntEnum):
    """What option 43 holds (PXE 2.1 table 2-1)."""

    PAD = 0
    DISCOVERY_CONTROL = 6
    MULTICAST_ADDRESS = 7
    BOOT_SERVERS = 8
    BOOT_MENU = 9
    MENU_PROMPT = 10
    BOOT_ITEM = 71
    END = 255


@dataclass(frozen=True)
class Packet:
    """One packet. Options that came in pieces are whole (RFC 3396); the order is kept."""

    op: int
    xid: int
    chaddr: bytes  # `hlen` bytes
    htype: int = 1  # 1: Ethernet
    secs: int = 0
    flags: int = 0  # 0x8000: answer by broadcast
    ciaddr: IPv4Address = UNSPECIFIED
    yiaddr: IPv4Address = UNSPECIFIED
    siaddr: IPv4Address = UNSPECIFIED
    giaddr: IPv4Address = UNSPECIFIED
    file: bytes = b""  # without the NUL at its end
    options: Mapping[int, bytes] = field(default_factory=dict)

    @property
    def mac(self) -> str:
        """The hardware address as 52:54:00:12:34:56."""
        return self.chaddr.hex(":")

    @property
    def message_type(self) -> int | None:
        """Option 53; None where it is missing or of a wrong length."""
        value = self.options.get(Option.MESSAGE_TYPE, b"")
        return value[0] if len(value) == 1 else None

    @property
    def architecture(self) -> int:
        """Option 93's first type (RFC 4578 section 2.1); 0, BIOS, where a ROM omits it."""
        value = self.options.get(Option.ARCHITECTURE, b"")
        return int.from_bytes(value[:2], "big") if len(value) >= 2 else 0

    @property
    def is_ipxe(self) -> bool:
        """Whether option 77 is iPXE's, which has no length bytes in it, unlike RFC 3004's."""
        return self.options.get(Option.USER_CLASS) == b"iPXE"

    @property
    def is_pxe(self) -> bool:
        """Whether option 60 begins with PXEClient (RFC 4578 section 2.4)."""
        return self.options.get(Option.VENDOR_CLASS, b"").startswith(b"PXEClient")


def parse(data: bytes) -> Packet:
    """Read a packet. Raises MalformedPacket; options after a broken one are an error too."""
    if len(data) < _SHORTEST:
        raise MalformedPacket(f"{len(data)} bytes, a DHCP packet has at least {_SHORTEST}")
    op, htype, hlen, _, xid, secs, flags, ci, yi, si, gi, chaddr, sname, file = _HEADER.unpack_from(
        data
    )
    if data[_HEADER.size : _SHORTEST] != MAGIC_COOKIE:
        raise MalformedPacket("no DHCP magic cookie after the header")
    if hlen > len(chaddr):
        raise MalformedPacket(f"hardware address of {hlen} bytes, 16 at most")
    options = _gather(_pairs(data[_SHORTEST:], "options"))
    # Option 52 says that `file` (1) and `sname` (2) hold options too, in this order.
    overload = options.get(Option.OVERLOAD, b"\0")[:1]
    if overload in (b"\1", b"\3"):
        options = _gather([*options.items(), *_pairs(file, "file field")])
        file = b""
    if overload in (b"\2", b"\3"):
        options = _gather([*options.items(), *_pairs(sname, "sname field")])
    return Packet(
        op=op,
        xid=xid,
        chaddr=chaddr[:hlen],
        htype=htype,
        secs=secs,
        flags=flags,
        ciaddr=_address(ci),
        yiaddr=_address(yi),
        siaddr=_address(si),
        giaddr=_address(gi),
        file=file.partition(b"\0")[0],
        options=options,
    )


def build(packet: Packet) -> bytes:
    """Write a packet: options in their order, 255 at their end, padded to 300 bytes.

    `file` always ends with a NUL, as some ROMs read on until they find one. Raises ValueError for
    a value that has no room.
    """
    if len(packet.file) >= _FILE_SIZE:
        raise ValueError(f"file name of {len(packet.file)} bytes, 127 at most")
    header = _HEADER.pack(
        packet.op,
        packet.htype,
        len(packet.chaddr),
        0,
        packet.xid,
        packet.secs,
        packet.flags,
        packet.ciaddr.packed,
        packet.yiaddr.packed,
        packet.siaddr.packed,
        packet.giaddr.packed,
        packet.chaddr,
        b"",
        packet.file,
    )
    body = header + MAGIC_COOKIE + encode(packet.options.items()) + bytes([Option.END])
    return body.ljust(_PADDED_TO, b"\0")


def encode(options: Iterable[tuple[int, bytes]]) -> bytes:
    """Write code, length, value for each, without an end. Raises ValueError over 255 bytes."""
    for code, value in options:
        if len(value) > _LONGEST_OPTION:
            raise ValueError(f"option {code} of {len(value)} bytes, 255 at most")
    return b"".join(bytes([code, len(value)]) + value for code, value in options)


def pxe_options(packet: Packet) -> dict[int, bytes]:
    """Return what option 43 holds. Raises MalformedPacket."""
    return _gather(_pairs(packet.options.get(Option.VENDOR, b""), "option 43"))


def _pairs(data: bytes, where: str) -> Iterator[tuple[int, bytes]]:
    """Yield code and value up to the end option, or to the end of the data."""
    position = 0
    while position < len(data) and data[position] != Option.END:
        code = data[position]
        position += 1
        if code == Option.PAD:
            continue
        if position >= len(data):
            raise MalformedPacket(f"{where}: option {code} has no length")
        length = data[position]
        value = data[position + 1 : position + 1 + length]
        if len(value) < length:
            raise MalformedPacket(f"{where}: option {code} has {len(value)} of {length} bytes")
        yield code, value
        position += 1 + length


def _gather(pairs: Iterable[tuple[int, bytes]]) -> dict[int, bytes]:
    """Put pieces of the same option together (RFC 3396)."""
    options: dict[int, bytes] = {}
    for code, value in pairs:
        options[code] = options.get(code, b"") + value
    return options
