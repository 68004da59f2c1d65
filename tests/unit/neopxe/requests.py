"""Requests as firmware sends them."""

from __future__ import annotations

from ipaddress import IPv4Address

from appliance.neopxe import conf, packet
from appliance.neopxe.conf import Configuration
from appliance.neopxe.packet import MessageType, Op, Option, Packet, PxeOption

MAC = bytes.fromhex("525400123456")
GUID = b"\0" + bytes(range(16))
CLIENT = IPv4Address("192.168.10.10")
SERVER = IPv4Address("192.168.10.1")

ARTICLE = """\
ip_addr=192.168.10.1
prompt=Press [F8] for menu...
prompt_timeout=10
service=1,192.168.10.1,pxelinux.0,Linux
"""


def a_configuration(*more: str) -> Configuration:
    return conf.parse(ARTICLE + "".join(f"{line}\n" for line in more))


def a_request(
    *, item: bytes | None = None, arch: int = 0, without: tuple[Option, ...] = (), **header: int
) -> Packet:
    options: dict[int, bytes] = {
        Option.MESSAGE_TYPE: bytes([MessageType.REQUEST]),
        Option.VENDOR_CLASS: f"PXEClient:Arch:{arch:05}:UNDI:002001".encode(),
        Option.ARCHITECTURE: arch.to_bytes(2, "big"),
        Option.CLIENT_GUID: GUID,
    }
    if item is not None:
        options[Option.VENDOR] = packet.encode([(PxeOption.BOOT_ITEM, item)]) + b"\xff"
    kept = {code: value for code, value in options.items() if code not in without}
    return Packet(
        op=header.get("op", Op.REQUEST),
        xid=0x01020304,
        chaddr=MAC,
        secs=4,
        flags=header.get("flags", 0),
        ciaddr=CLIENT,
        options=kept,
    )
