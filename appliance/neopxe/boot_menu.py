"""What a PXE boot server answers to a packet (PXE 2.1 sections 2.2 to 2.4): values in, values out.

A machine that got its address asks port 4011 of the boot server. Without an item it gets the menu;
with one (option 43.71) the name of the file for its firmware. It may look for the server of an item
by multicast or, on port 67, by broadcast.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from ipaddress import IPv4Address

from appliance.neopxe import packet as wire
from appliance.neopxe.conf import ARCHITECTURES, IPXE, LOCAL_BOOT, Configuration, Discovery
from appliance.neopxe.packet import MessageType, Op, Option, Packet, PxeOption

VENDOR_CLASS = b"PXEClient"

_ANSWERED = (MessageType.REQUEST, MessageType.INFORM)

DHCP_PORT = 67  # RFC 2131 section 4.1: of servers and relays
_CLIENT_PORT = 68

# PXE 2.1 table 2-1, option 6: no broadcast (1), no multicast (2), only servers of option 8 (4).
# EDK2 tries one method only, so what reaches nobody is forbidden. Without broadcast and multicast
# there is unicast to the servers of option 8, that is, to us.
_DISCOVERY_CONTROL = {
    Discovery.UNICAST: 0b011,
    Discovery.BROADCAST: 0b110,
    Discovery.MULTICAST: 0b101,
}

# Bit 15 of the layer asks for the file's credentials (BIS), which nobody has.
_CREDENTIALS = 0x8000

_BOOT_ITEM = struct.Struct("!HH")  # type, layer

_ARCHITECTURE_NAMES = {
    number: name for name, numbers in ARCHITECTURES.items() for number in numbers
}

# RFC 4578 section 2.3 says 17 bytes, some ROMs send others; it goes back in one option.
_LONGEST_GUID = 255
# Classes D and E (RFC 1112 section 4): multicast, what is reserved, and the limited broadcast.
_FIRST_OF_NO_MACHINE = 224
_LIMITED_BROADCAST = IPv4Address("255.255.255.255")


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
    """Answer a packet that came to port 4011. Never raises for anything that a client can send.

    The same for one that came to port 67, if it `is_discovery`.
    """
    fault = next(_faults(request), None)
    if fault is not None:
        return Dropped(fault)
    try:
        item = wire.pxe_options(request).get(PxeOption.BOOT_ITEM)
    except wire.MalformedPacket as malformed:
        return Dropped(str(malformed))
    if item is not None:
        return _answer_item(configuration, request, item)
    names = _architectures(request)
    menu = _menu(configuration, names)
    if menu is None:
        return Dropped(f"no file for architecture {names[-1]}")
    acknowledgement = _acknowledge(configuration, request, menu, configuration.ip_addr)
    return Reply(acknowledgement, request.architecture)


def is_discovery(request: Packet) -> bool:
    """Tell whether a packet on port 67 looks for the server of a boot item (PXE 2.1 section 2.2.3).

    All else there is DHCP, and not for a boot server: an ACK from us would tell a client that it
    may use an address.
    """
    if not request.is_pxe or request.message_type not in _ANSWERED:
        return False
    try:
        return PxeOption.BOOT_ITEM in wire.pxe_options(request)
    except wire.MalformedPacket:
        return False


def destination(request: Packet, source: tuple[str, int]) -> tuple[str, int]:
    """Return the address and UDP port for the answer to a request that came from `source`.

    To the relay, if it came through one (RFC 2131 section 4.1); else to where it came from, also
    the port: iPXE asks from 68, EDK2 from 4011. A client without an address hears only a broadcast.
    """
    if request.giaddr != wire.UNSPECIFIED:
        return str(request.giaddr), DHCP_PORT
    if source[0] != str(wire.UNSPECIFIED):
        return source
    to = _LIMITED_BROADCAST if request.ciaddr == wire.UNSPECIFIED else request.ciaddr
    return str(to), _CLIENT_PORT


def architecture_name(number: int) -> str:
    """Return neopxe.conf's name of an architecture (RFC 4578 section 2.1), or its number."""
    return _ARCHITECTURE_NAMES.get(number) or str(number)


def _architectures(request: Packet) -> tuple[str, ...]:
    """Return what neopxe.conf calls the machine, the nearest first."""
    machine = architecture_name(request.architecture)
    return (IPXE, machine) if request.is_ipxe else (machine,)


def _faults(request: Packet) -> Iterator[str]:
    """Yield why a packet is none that a boot server answers."""
    if request.op != Op.REQUEST:
        yield "not a request"
    if not request.is_pxe:
        yield "not a PXE client"
    if request.message_type not in _ANSWERED:
        yield f"DHCP message type {request.message_type}, not REQUEST or INFORM"
    if not request.chaddr:
        yield "no hardware address"
    guid = request.options.get(Option.CLIENT_GUID, b"")
    if len(guid) > _LONGEST_GUID:
        yield f"GUID of {len(guid)} bytes, {_LONGEST_GUID} at most"
    if request.giaddr.packed[0] >= _FIRST_OF_NO_MACHINE:
        yield f"relay {request.giaddr}, not the address of one machine"


def _answer_item(configuration: Configuration, request: Packet, item: bytes) -> Reply | Dropped:
    if len(item) != _BOOT_ITEM.size:
        return Dropped(f"boot item of {len(item)} bytes, not {_BOOT_ITEM.size}")
    type_, layer = _BOOT_ITEM.unpack(item)
    if layer & _CREDENTIALS:
        return Dropped(f"item {type_}: credentials asked for, there are none")
    service = configuration.service(type_)
    if service is None:
        return Dropped(f"item {type_}: not in the menu")
    names = _architectures(request)
    file = service.file_for(names, layer)
    if file is None:
        return Dropped(f"item {type_}: no file for architecture {names[-1]}, layer {layer}")
    # 43.71 goes back as it came (PXE 2.1 section 2.4.2).
    vendor = wire.encode([(PxeOption.BOOT_ITEM, item)]) + bytes([PxeOption.END])
    acknowledgement = _acknowledge(configuration, request, vendor, service.server, file)
    return Reply(acknowledgement, request.architecture, type_)


def _acknowledge(
    configuration: Configuration,
    request: Packet,
    vendor: bytes,
    server: IPv4Address,
    file: str = "",
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
        siaddr=server,
        giaddr=request.giaddr,
        file=file.encode("ascii"),
        options=options,
    )


@lru_cache(maxsize=16)
def _menu(configuration: Configuration, architectures: tuple[str, ...]) -> bytes | None:
    """Return option 43 with the whole menu: half a set makes EDK2 give up.

    It has what there is a file for, and the local disk; None where there is no file at all, so that
    the firmware goes on to its next boot device at once.
    """
    files = {service.type: service.file_for(architectures) for service in configuration.services}
    if configuration.services[0].type != LOCAL_BOOT and not any(files.values()):
        return None
    services = [
        service
        for service in configuration.services
        if service.type == LOCAL_BOOT or files[service.type]
    ]
    servers = b"".join(
        struct.pack("!HB", service.type, 1) + service.server.packed for service in services
    )
    items = b"".join(
        struct.pack("!HB", service.type, len(service.name)) + service.name.encode("ascii")
        for service in services
    )
    prompt = bytes([configuration.prompt_timeout]) + configuration.prompt.encode("ascii")
    multicast = configuration.discovery is Discovery.MULTICAST
    return wire.encode(
        [
            (PxeOption.DISCOVERY_CONTROL, bytes([_DISCOVERY_CONTROL[configuration.discovery]])),
            *(
                [(PxeOption.MULTICAST_ADDRESS, configuration.multicast_addr.packed)]
                if multicast
                else []
            ),
            (PxeOption.BOOT_SERVERS, servers),
            (PxeOption.BOOT_MENU, items),
            (PxeOption.MENU_PROMPT, prompt),
        ]
    ) + bytes([PxeOption.END])
