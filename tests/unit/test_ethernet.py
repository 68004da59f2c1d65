from __future__ import annotations

import contextlib
from ipaddress import IPv4Address

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether

from appliance import ethernet
from appliance.ethernet import Datagram, MalformedFrame

SOURCE, DESTINATION = bytes.fromhex("525400000001"), bytes.fromhex("525400000002")


def a_datagram(payload: bytes = b"hello") -> Datagram:
    return Datagram(IPv4Address("192.168.10.1"), 68, IPv4Address("255.255.255.255"), 67, payload)


def test_another_reader_finds_what_was_put_into_a_frame() -> None:
    frame = Ether(ethernet.frame(a_datagram(), SOURCE, DESTINATION))
    assert (frame.src, frame.dst) == ("52:54:00:00:00:01", "52:54:00:00:00:02")
    assert (frame[IP].src, frame[IP].dst) == ("192.168.10.1", "255.255.255.255")
    assert (frame[UDP].sport, frame[UDP].dport, bytes(frame[UDP].payload)) == (68, 67, b"hello")
    told = frame[IP].chksum
    del frame[IP].chksum
    assert Ether(bytes(frame))[IP].chksum == told


def test_a_frame_that_another_writer_made_is_read_without_its_padding() -> None:
    written = Ether() / IP(src="192.168.10.1", dst="255.255.255.255") / UDP(sport=68, dport=67)
    frame = bytes(written / b"hello") + bytes(30)
    assert ethernet.parse(frame) == a_datagram()


@pytest.mark.parametrize(
    "frame",
    [
        b"",
        bytes(Ether(type=0x86DD) / bytes(60)),
        bytes(Ether() / IP(proto=6) / bytes(60)),
        bytes(Ether() / IP(flags="MF") / UDP() / bytes(60)),
        bytes(Ether() / IP() / UDP(len=4) / bytes(60)),
        bytes(Ether() / IP(len=24) / UDP() / bytes(60)),
    ],
    ids=["nothing", "IPv6", "TCP", "fragment", "length under its header's", "cut short"],
)
def test_what_is_no_whole_udp_datagram_is_malformed(frame: bytes) -> None:
    with pytest.raises(MalformedFrame):
        ethernet.parse(frame)


@given(st.binary(max_size=120))
def test_any_bytes_are_a_datagram_or_malformed(data: bytes) -> None:
    head = ethernet.frame(a_datagram(), SOURCE, DESTINATION)
    for frame in (data, head[: len(data)] + data, head[:14] + data):
        with contextlib.suppress(MalformedFrame):
            ethernet.parse(frame)
