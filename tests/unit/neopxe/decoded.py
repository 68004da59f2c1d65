"""Captured packets as text, for docs/booting.md: `python -m tests.unit.neopxe.decoded FILE`."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from ipaddress import IPv4Address

from scapy.layers.inet import IP, UDP
from scapy.packet import Packet as Frame
from scapy.utils import rdpcap

from appliance.neopxe import packet
from appliance.neopxe.packet import MessageType, Option, Packet, PxeOption

# RFC 2132, 3004, 4578; for the list in option 55 the numbers are enough.
NAMES = {
    1: "subnet mask",
    6: "DNS servers",
    28: "broadcast address",
    43: "vendor options",
    50: "requested address",
    51: "lease time, s",
    53: "message type",
    54: "server identifier",
    55: "parameter list",
    57: "largest message",
    60: "vendor class",
    61: "client identifier",
    77: "user class",
    93: "architecture",
    94: "UNDI version",
    97: "machine's GUID",
    175: "iPXE's own",
}
ADDRESSES = {1, 28, 50, 54}
NUMBERS = {51, 57, 93}
PXE_NAMES = {
    PxeOption.DISCOVERY_CONTROL: "discovery control",
    PxeOption.MULTICAST_ADDRESS: "multicast address",
    PxeOption.BOOT_SERVERS: "boot servers",
    PxeOption.BOOT_MENU: "boot menu",
    PxeOption.MENU_PROMPT: "menu prompt",
    PxeOption.BOOT_ITEM: "boot item",
}
ITEM_SIZE = 7  # of the list of servers, with one address each


def decoded(frames: Iterable[Frame]) -> str:
    """Return every field of every packet."""
    return "\n".join("\n".join(_packet(frame)) for frame in frames)


def _packet(frame: Frame) -> list[str]:
    data = bytes(frame[UDP].payload)
    read = packet.parse(data)
    to = f"{frame[IP].src}:{frame[UDP].sport} > {frame[IP].dst}:{frame[UDP].dport}"
    file = f", file {read.file.decode()}" if read.file else ""
    lines = [
        f"{to}  {len(data)} bytes",
        f"    op {read.op}, htype {read.htype}, hlen {len(read.chaddr)}, xid {read.xid:08x},"
        f" secs {read.secs}, flags {read.flags:04x}, chaddr {read.mac}",
        f"    ciaddr {read.ciaddr}, yiaddr {read.yiaddr}, siaddr {read.siaddr},"
        f" giaddr {read.giaddr}{file}",
    ]
    for code, value in read.options.items():
        shown = "" if code == Option.VENDOR else _value(code, value)
        lines.append(f"    {code:<3} {NAMES[code]:<18} {shown}".rstrip())
        if code == Option.VENDOR:
            lines += _vendor(read)
    return lines


def _value(code: int, value: bytes) -> str:
    if code == Option.MESSAGE_TYPE:
        return f"{value[0]} {MessageType(value[0]).name}"
    if code in ADDRESSES:
        return str(IPv4Address(value))
    if code in NUMBERS:
        return str(int.from_bytes(value, "big"))
    if code == 55:
        return " ".join(map(str, value))
    return value.decode() if value.isascii() and value.decode().isprintable() else value.hex(" ")


def _vendor(read: Packet) -> list[str]:
    lines = []
    for code, value in packet.pxe_options(read).items():
        shown = {
            PxeOption.BOOT_SERVERS: _servers,
            PxeOption.BOOT_MENU: _menu,
            PxeOption.MENU_PROMPT: lambda value: f"{value[0]} s, {value[1:].decode()}",
            PxeOption.MULTICAST_ADDRESS: lambda value: str(IPv4Address(value)),
            PxeOption.BOOT_ITEM: lambda value: (
                f"type {int.from_bytes(value[:2], 'big')}, layer {int.from_bytes(value[2:], 'big')}"
            ),
        }.get(PxeOption(code), lambda value: value.hex(" "))(value)
        lines.append(f"        {code:<3} {PXE_NAMES[PxeOption(code)]:<18} {shown}")
    return lines


def _servers(value: bytes) -> str:
    items = [value[at : at + ITEM_SIZE] for at in range(0, len(value), ITEM_SIZE)]
    return "; ".join(
        f"type {int.from_bytes(each[:2], 'big')} at {IPv4Address(each[3:])}" for each in items
    )


def _menu(value: bytes) -> str:
    items = []
    while value:
        end = 3 + value[2]
        items.append(f"type {int.from_bytes(value[:2], 'big')} {value[3:end].decode()}")
        value = value[end:]
    return "; ".join(items)


if __name__ == "__main__":
    print(decoded(rdpcap(sys.argv[1])))
