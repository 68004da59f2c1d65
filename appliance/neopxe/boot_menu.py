"""What a PXE boot server answers to a packet (PXE 2.1 sections 2.2 to 2.4): values in, values out.

A machine that got its address asks port 4011 of the boot server. Without an item it gets the menu;
with one (option 43.71) the name of the file for its firmware.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

from appliance.neopxe import packet as wire
from appliance.neopxe.conf import ARCHITECTURES, Configuration, Service
from appliance.neopxe.packet import MessageType, Op, Option, Packet, PxeOption

VENDOR_CLASS = b"PXEClient"

# PXE 2.1 table 2-1, option 6: no broadcast (1), no multicast (2). What is left is unicast to the
# server that answered, which is us; EDK2 would use one method only, and the others reach nobody.
_UNICAST_ONLY = bytes([0b011])

# Bit 15 of the layer asks for the file's credentials (BIS), which nobody has.
_CREDENTIALS = 0x8000

_BOOT_ITEM = struct.Struct("!HH")  # type, layer


@dataclass(frozen=True)
class Reply:
    """An answer, and what it was about."""

    packet: Packet
    architecture: int  # the client's, as in its option 93
    item: int | None = None  # type of the boot item; None: the menu was sent

    @property
    def summary(self) -> str:
        """The line for the log, without anything that a machine could have written."""
        who = f"client={self.packet.mac} address={self.packet.ciaddr}"
        arch = f"arch={architecture_name(self.architecture)}"
        if self.item is None:
            return f"menu {who} {arch}"
        return f"answer {who} {arch} item={self.item} file={self.packet.file.decode()}"


@dataclass(frozen=True)
class Dropped:
    """No answer, and why."""

    reason: str


def answer(configuration: Configuration, request: Packet) -> Reply | Dropped:
    """Answer a packet that came to port 4011. Never raises for anything that a client can send."""
    if request.op != Op.REQUEST:
        return Dropped("not a request")
    if not request.is_pxe:
        return Dropped("not a PXE client")
    if request.message_type not in (MessageType.REQUEST, MessageType.INFORM):
        return Dropped(f"DHCP message type {request.message_type}, not REQUEST or INFORM")
    try:
        item = wire.pxe_options(request).get(PxeOption.BOOT_ITEM)
    except wire.MalformedPacket as malformed:
        return Dropped(str(malformed))
    if item is None:
        acknowledgement = _acknowledge(configuration, request, _menu(configuration))
        return Reply(acknowledgement, request.architecture)
    return _answer_item(configuration, request, item)


def architecture_name(number: int) -> str:
    """Return neopxe.conf's name of an architecture (RFC 4578 section 2.1), or its number."""
    return next((name for name, numbers in ARCHITECTURES.items() if number in numbers), str(number))


def _answer_item(configuration: Configuration, request: Packet, item: bytes) -> Reply | Dropped:
    if len(item) != _BOOT_ITEM.size:
        return Dropped(f"boot item of {len(item)} bytes, not {_BOOT_ITEM.size}")
    type_, layer = _BOOT_ITEM.unpack(item)
    if layer & _CREDENTIALS:
        return Dropped(f"item {type_}: credentials asked for, there are none")
    service = configuration.service(type_)
    if service is None:
        return Dropped(f"item {type_}: not in the menu")
    if layer:
        return Dropped(f"item {type_}: layer {layer} asked for, there is only the first")
    if service.file_for(request.architecture) is None:
        arch = architecture_name(request.architecture)
        return Dropped(f"item {type_}: no file for architecture {arch}")
    # 43.71 goes back as it came (PXE 2.1 section 2.4.2).
    vendor = wire.encode([(PxeOption.BOOT_ITEM, item)]) + bytes([PxeOption.END])
    acknowledgement = _acknowledge(configuration, request, vendor, service)
    return Reply(acknowledgement, request.architecture, type_)


def _acknowledge(
    configuration: Configuration, request: Packet, vendor: bytes, service: Service | None = None
) -> Packet:
    """Return a DHCPACK to a request. RFC 2131 table 3, PXE 2.1 table 2-4."""
    guid = request.options.get(Option.CLIENT_GUID)
    options: dict[int, bytes] = {
        Option.MESSAGE_TYPE: bytes([MessageType.ACK]),
        Option.SERVER_IDENTIFIER: configuration.ip_addr.packed,
        Option.VENDOR_CLASS: VENDOR_CLASS,
        # Echoed where it was sent; some ROMs have none.
        **({Option.CLIENT_GUID: guid} if guid is not None else {}),
        Option.VENDOR: vendor,
    }
    file = (service.file_for(request.architecture) or "") if service else ""
    return Packet(
        op=Op.REPLY,
        xid=request.xid,
        chaddr=request.chaddr,
        htype=request.htype,
        secs=request.secs,
        flags=request.flags,
        ciaddr=request.ciaddr,
        # A client that asks has an address and keeps it; yiaddr would give another.
        yiaddr=wire.UNSPECIFIED,
        siaddr=service.server if service else configuration.ip_addr,
        giaddr=request.giaddr,
        file=file.encode("ascii"),
        options=options,
    )


def _menu(configuration: Configuration) -> bytes:
    """Return option 43 with the whole menu: half a set makes EDK2 give up."""
    servers = b"".join(
        struct.pack("!HB", service.type, 1) + service.server.packed
        for service in configuration.services
    )
    items = b"".join(
        struct.pack("!HB", service.type, len(service.name)) + service.name.encode("ascii")
        for service in configuration.services
    )
    prompt = bytes([configuration.prompt_timeout]) + configuration.prompt.encode("ascii")
    return wire.encode(
        [
            (PxeOption.DISCOVERY_CONTROL, _UNICAST_ONLY),
            (PxeOption.BOOT_SERVERS, servers),
            (PxeOption.BOOT_MENU, items),
            (PxeOption.MENU_PROMPT, prompt),
        ]
    ) + bytes([PxeOption.END])
