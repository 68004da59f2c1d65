from __future__ import annotations

from dataclasses import replace
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP

from appliance.neopxe import packet
from appliance.neopxe.boot_menu import Dropped, Reply, answer, destination, is_discovery
from appliance.neopxe.packet import Option, Packet, PxeOption
from tests.unit.neopxe.requests import (
    ARTICLE,
    CLIENT,
    GUID,
    MAC,
    SERVER,
    a_configuration,
    a_request,
)

ITEM_1 = bytes.fromhex("00010000")
ITEM_40000 = bytes.fromhex("9c400000")


def replied(request: Packet, *more: str) -> Packet:
    reply = answer(a_configuration(*more), request)
    assert isinstance(reply, Reply), reply
    return reply.packet


def dropped(request: Packet, *more: str) -> str:
    reply = answer(a_configuration(*more), request)
    assert isinstance(reply, Dropped), reply
    return reply.reason


def test_the_menu_is_the_complete_set_of_pxe_options() -> None:
    vendor = replied(a_request(), "service=0,192.168.10.1,,Local disk").options[Option.VENDOR]
    assert vendor == (
        bytes.fromhex("06 01 03")
        + bytes.fromhex("08 0e  0001 01 c0a80a01  0000 01 c0a80a01")
        + bytes.fromhex("09 15  0001 05") + b"Linux" + bytes.fromhex("0000 0a") + b"Local disk"
        + bytes.fromhex("0a 17 0a") + b"Press [F8] for menu..."
        + bytes.fromhex("ff")
    )  # fmt: skip


def test_an_answer_is_byte_for_byte_what_the_standard_asks_for() -> None:
    header = bytes.fromhex(
        "02010600 01020304 00040000"
        "c0a80a0a 00000000 c0a80a01 00000000"
        "525400123456 00000000000000000000"
    )
    options = (
        bytes.fromhex("63825363 350105 3604c0a80a01 3c09")
        + b"PXEClient"
        + bytes.fromhex("6111")
        + GUID
        + bytes.fromhex("2b07 4704 00010000 ff ff")
    )
    whole = header + bytes(64) + b"pxelinux.0".ljust(128, b"\0") + options
    assert packet.build(replied(a_request(item=ITEM_1))) == whole.ljust(300, b"\0")


def test_an_independent_reader_understands_an_answer() -> None:
    read = BOOTP(packet.build(replied(a_request(item=ITEM_1))))
    options = dict(each[:2] for each in read[DHCP].options if isinstance(each, tuple))
    assert (read.op, read.xid, read.chaddr[:6], read.ciaddr, read.siaddr) == (
        2,
        0x01020304,
        MAC,
        str(CLIENT),
        str(SERVER),
    )
    assert read.file.rstrip(b"\0") == b"pxelinux.0"
    assert options["message-type"] == 5
    assert options["server_id"] == str(SERVER)
    assert options["vendor_class_id"] == b"PXEClient"


def test_an_item_of_another_server_leads_there() -> None:
    reply = replied(a_request(item=b"\0\5\0\0"), "service=5,192.168.10.5,a,Other")
    assert reply.siaddr == IPv4Address("192.168.10.5")


@pytest.mark.parametrize(("arch", "file"), [(0, b"pxelinux.0"), (7, b"x64"), (9, b"x64")])
def test_the_file_is_the_one_for_the_firmware(arch: int, file: bytes) -> None:
    assert replied(a_request(item=ITEM_1, arch=arch), "arch_file=1,efi-x64,x64").file == file


@pytest.mark.parametrize(
    ("discovery", "vendor"),
    [
        (("discovery=unicast",), "06 01 03"),
        (("discovery=broadcast", "listen_67=br0"), "06 01 06"),
        (("discovery=multicast",), "06 01 05  07 04 e0000102"),
        (("discovery=multicast", "multicast_addr=239.0.0.1"), "06 01 05  07 04 ef000001"),
    ],
)
def test_the_menu_says_how_to_look_for_servers(discovery: tuple[str, ...], vendor: str) -> None:
    start = bytes.fromhex(vendor) + bytes.fromhex("08 07  0001 01 c0a80a01")
    assert replied(a_request(), *discovery).options[Option.VENDOR].startswith(start)


@pytest.mark.parametrize(
    ("item", "file"), [("0001 0000", b"pxelinux.0"), ("0001 0001", b"pxelinux.1")]
)
def test_a_further_layer_has_its_number_at_the_end_of_the_name(item: str, file: bytes) -> None:
    reply = replied(a_request(item=bytes.fromhex(item)))
    echoed = bytes.fromhex(f"4704 {item} ff")
    assert (reply.file, reply.options[Option.VENDOR]) == (file, echoed)


@pytest.mark.parametrize(
    ("giaddr", "ciaddr", "source", "to"),
    [
        ("0.0.0.0", "10.0.0.9", ("10.0.0.9", 4011), ("10.0.0.9", 4011)),
        ("0.0.0.0", "0.0.0.0", ("10.0.0.9", 68), ("10.0.0.9", 68)),
        ("0.0.0.0", "10.0.0.9", ("0.0.0.0", 68), ("10.0.0.9", 68)),
        ("0.0.0.0", "0.0.0.0", ("0.0.0.0", 68), ("255.255.255.255", 68)),
        ("10.9.0.1", "0.0.0.0", ("10.0.0.1", 67), ("10.9.0.1", 67)),
    ],
)
def test_an_answer_goes_where_the_client_hears_it(
    giaddr: str, ciaddr: str, source: tuple[str, int], to: tuple[str, int]
) -> None:
    request = replace(a_request(), giaddr=IPv4Address(giaddr), ciaddr=IPv4Address(ciaddr))
    assert destination(request, source) == to


@pytest.mark.parametrize(
    ("request_", "expected"),
    [
        (a_request(item=ITEM_1), True),
        (a_request(), False),
        (a_request(item=ITEM_1, without=(Option.VENDOR_CLASS,)), False),
        (a_request(item=ITEM_1, without=(Option.MESSAGE_TYPE,)), False),
        (replace(a_request(), options={**a_request().options, Option.VENDOR: b"\x47"}), False),
    ],
)
def test_only_a_request_with_an_item_is_a_discovery(request_: Packet, expected: bool) -> None:
    assert is_discovery(request_) is expected


def test_a_guid_is_echoed_only_where_one_was_sent() -> None:
    assert Option.CLIENT_GUID not in replied(a_request(without=(Option.CLIENT_GUID,))).options
    assert replied(a_request()).options[Option.CLIENT_GUID] == GUID


def test_a_rom_that_omits_its_architecture_is_a_bios() -> None:
    request = a_request(item=ITEM_1, without=(Option.ARCHITECTURE,))
    assert replied(request, "arch_file=1,efi-x64,x64").file == b"pxelinux.0"


def test_a_menu_shows_what_its_machine_has_a_file_for() -> None:
    more = (
        "arch_file=1,efi-x64,snponly.efi",
        "service=40000,192.168.10.1,entry/a/pxelinux.0,A",
        "arch_file=40000,ipxe,entry/a/autoexec.ipxe",
        "service=0,192.168.10.1,,Local disk",
    )
    assert shown(a_request(), *more) == [1, 40000, 0]
    assert shown(a_request(arch=7), *more) == [1, 0]
    assert shown(from_ipxe(arch=7), *more) == [1, 40000, 0]
    assert replied(from_ipxe(item=ITEM_40000), *more).file == b"entry/a/autoexec.ipxe"
    assert replied(a_request(item=ITEM_40000), *more).file == b"entry/a/pxelinux.0"


def test_a_machine_without_any_file_is_left_to_its_next_boot_device() -> None:
    more = ("arch_file=1,efi-x64,snponly.efi", "service=0,192.168.10.1,,Local disk")
    assert dropped(a_request(arch=11), *more) == "no file for architecture efi-arm64"


def from_ipxe(*, item: bytes | None = None, arch: int = 0) -> Packet:
    request = a_request(item=item, arch=arch)
    return replace(request, options={**request.options, Option.USER_CLASS: b"iPXE"})


def shown(request: Packet, *more: str) -> list[int]:
    """Return the types in a menu, which are the same in its list of servers."""
    options = packet.pxe_options(replied(request, *more))
    menu, servers = options[PxeOption.BOOT_MENU], options[PxeOption.BOOT_SERVERS]
    types = []
    while menu:
        types.append(int.from_bytes(menu[:2], "big"))
        menu = menu[3 + menu[2] :]
    assert [
        int.from_bytes(servers[at : at + 2], "big") for at in range(0, len(servers), 7)
    ] == types
    return types


def test_the_broadcast_flag_and_the_clients_address_are_kept() -> None:
    reply = replied(a_request(flags=0x8000))
    assert (reply.flags, reply.ciaddr, reply.yiaddr) == (0x8000, CLIENT, IPv4Address(0))


@pytest.mark.parametrize(
    ("request_", "reason"),
    [
        (a_request(op=2), "not a request"),
        (a_request(without=(Option.VENDOR_CLASS,)), "not a PXE client"),
        (
            a_request(without=(Option.MESSAGE_TYPE,)),
            "DHCP message type None, not REQUEST or INFORM",
        ),
        (a_request(item=b"\0\1"), "boot item of 2 bytes, not 4"),
        (a_request(item=b"\0\2\0\0"), "item 2: not in the menu"),
        (a_request(item=b"\0\1\x80\0"), "item 1: credentials asked for, there are none"),
        (
            a_request(item=b"\0\1\0\1", arch=7),
            "item 1: no file for architecture efi-x64, layer 1",
        ),
        (
            replace(a_request(), options={**a_request().options, Option.CLIENT_GUID: bytes(256)}),
            "GUID of 256 bytes, 255 at most",
        ),
        (replace(a_request(), chaddr=b""), "no hardware address"),
        (
            replace(a_request(), giaddr=IPv4Address("255.255.255.255")),
            "relay 255.255.255.255, not the address of one machine",
        ),
        (a_request(item=ITEM_1, arch=11), "item 1: no file for architecture efi-arm64, layer 0"),
        (a_request(item=b"\0\0\0\0"), "item 0: no file for architecture bios, layer 0"),
    ],
)
def test_what_cannot_be_answered_is_dropped_with_a_reason(request_: Packet, reason: str) -> None:
    more = ("arch_file=1,efi-x64,x64", "service=0,192.168.10.1,,Local disk")
    assert dropped(request_, *more) == reason


def test_the_log_line_holds_nothing_that_a_machine_wrote() -> None:
    reply = answer(a_configuration(), a_request(item=ITEM_1))
    assert isinstance(reply, Reply)
    assert reply.summary == (
        "answer client=52:54:00:12:34:56 address=192.168.10.10 arch=bios item=1 file=pxelinux.0"
    )


VALID = packet.build(a_request(item=ITEM_1))


@given(
    st.lists(st.tuples(st.integers(0, len(VALID) - 1), st.integers(0, 255)), max_size=20),
    st.integers(0, len(VALID)),
)
def test_no_mutation_of_a_request_makes_the_server_fail(
    changes: list[tuple[int, int]], length: int
) -> None:
    data = bytearray(VALID)
    for position, value in changes:
        data[position] = value
    try:
        request = packet.parse(bytes(data[:length]))
    except packet.MalformedPacket:
        return
    reply = answer(a_configuration(), request)
    if isinstance(reply, Reply):
        assert packet.parse(packet.build(reply.packet)) == reply.packet


def test_the_article_is_the_configuration_of_these_tests() -> None:
    assert "service=1,192.168.10.1,pxelinux.0,Linux" in ARTICLE
