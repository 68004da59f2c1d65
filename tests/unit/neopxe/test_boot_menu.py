from __future__ import annotations

from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.dhcp import BOOTP, DHCP

from appliance.neopxe import packet
from appliance.neopxe.boot_menu import Dropped, Reply, answer
from appliance.neopxe.packet import Option, Packet
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


def test_a_guid_is_echoed_only_where_one_was_sent() -> None:
    assert Option.CLIENT_GUID not in replied(a_request(without=(Option.CLIENT_GUID,))).options
    assert replied(a_request()).options[Option.CLIENT_GUID] == GUID


def test_a_rom_that_omits_its_architecture_is_a_bios() -> None:
    request = a_request(item=ITEM_1, without=(Option.ARCHITECTURE,))
    assert replied(request, "arch_file=1,efi-x64,x64").file == b"pxelinux.0"


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
        (a_request(item=b"\0\1\0\1"), "item 1: layer 1 asked for, there is only the first"),
        (a_request(item=ITEM_1, arch=11), "item 1: no file for architecture efi-arm64"),
        (a_request(item=b"\0\0\0\0"), "item 0: no file for architecture bios"),
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
