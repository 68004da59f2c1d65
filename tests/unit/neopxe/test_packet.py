from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.neopxe import packet
from appliance.neopxe.packet import MalformedPacket, Option, Packet
from tests.unit.neopxe.requests import a_request

OPTIONS_AT = 240


def with_options(options: bytes, *, sname: bytes = b"", file: bytes = b"") -> bytes:
    plain = packet.build(Packet(op=1, xid=1, chaddr=b"\1" * 6))
    return plain[:44] + sname.ljust(64, b"\0") + file.ljust(128, b"\0") + plain[236:240] + options


def test_a_packet_is_read_as_it_was_built() -> None:
    request = a_request(item=b"\0\1\0\0", arch=7)
    assert packet.parse(packet.build(request)) == request


def test_pieces_of_an_option_are_put_together() -> None:
    data = with_options(bytes.fromhex("3c02 4142 3c01 43 ff"))
    assert packet.parse(data).options == {Option.VENDOR_CLASS: b"ABC"}


def test_options_may_lie_in_the_file_and_sname_fields() -> None:
    data = with_options(b"\x34\x01\x03\xff", file=b"\x35\x01\x03\xff", sname=b"\x3c\x01A\xff")
    read = packet.parse(data)
    assert (read.message_type, read.options[Option.VENDOR_CLASS], read.file) == (3, b"A", b"")


def test_a_packet_without_end_option_is_read() -> None:
    assert packet.parse(with_options(b"\x35\x01\x03")).message_type == 3


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "0 bytes, a DHCP packet has at least 240"),
        (bytes(240), "no DHCP magic cookie after the header"),
        (with_options(b"\x3c"), "options: option 60 has no length"),
        (with_options(b"\x3c\x05AB"), "options: option 60 has 2 of 5 bytes"),
    ],
)
def test_a_malformed_packet_is_refused_with_the_reason(data: bytes, reason: str) -> None:
    with pytest.raises(MalformedPacket, match=reason):
        packet.parse(data)


def test_a_hardware_address_longer_than_its_field_is_refused() -> None:
    data = bytearray(with_options(b"\xff"))
    data[2] = 17
    with pytest.raises(MalformedPacket, match="hardware address of 17 bytes"):
        packet.parse(bytes(data))


def test_a_file_name_always_ends_with_a_nul() -> None:
    longest = Packet(op=2, xid=1, chaddr=b"", file=b"x" * 127)
    assert packet.build(longest)[108:236] == b"x" * 127 + b"\0"
    with pytest.raises(ValueError, match="127 at most"):
        packet.build(Packet(op=2, xid=1, chaddr=b"", file=b"x" * 128))


@given(st.binary(max_size=600))
def test_no_bytes_make_the_reader_fail(data: bytes) -> None:
    for candidate in (data, with_options(data)):
        try:
            packet.pxe_options(packet.parse(candidate))
        except MalformedPacket as malformed:
            assert str(malformed)
