from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from appliance.dhcp_servers import other_server
from appliance.neopxe.packet import UNSPECIFIED, MessageType, Op, Option, Packet

OURS = 0x1234
MACHINE = bytes.fromhex("525400123456")
RIVAL, SENDER, LEASED = map(IPv4Address, ("192.168.10.254", "192.168.10.253", "192.168.10.77"))


def a_packet(  # noqa: PLR0913
    op: Op,
    kind: MessageType | None,
    *,
    xid: int = 1,
    names: IPv4Address | None = RIVAL,
    pxe: bool = False,
    yiaddr: IPv4Address = UNSPECIFIED,
) -> Packet:
    options = {} if kind is None else {Option.MESSAGE_TYPE: bytes([kind])}
    if names is not None:
        options[Option.SERVER_IDENTIFIER] = names.packed
    if pxe:
        options[Option.VENDOR_CLASS] = b"PXEClient"
    return Packet(op=op, xid=xid, chaddr=MACHINE, yiaddr=yiaddr, options=options)


def heard(packet: Packet) -> IPv4Address | None:
    return other_server(packet, SENDER, asked=OURS)


@pytest.mark.parametrize("kind", [MessageType.OFFER, MessageType.ACK])
def test_who_gives_an_address_is_a_server(kind: MessageType) -> None:
    assert heard(a_packet(Op.REPLY, kind, yiaddr=LEASED)) == RIVAL


def test_who_refuses_an_address_is_a_server() -> None:
    assert heard(a_packet(Op.REPLY, MessageType.NAK)) == RIVAL


def test_who_answers_bootp_is_known_by_its_own_address() -> None:
    assert heard(a_packet(Op.REPLY, None, names=None, yiaddr=LEASED)) == SENDER


def test_who_answers_our_question_is_a_server_though_it_gives_no_address() -> None:
    assert heard(a_packet(Op.REPLY, MessageType.ACK, xid=OURS)) == RIVAL


@pytest.mark.parametrize("kind", [MessageType.OFFER, MessageType.ACK])
def test_who_only_tells_where_to_boot_from_is_none(kind: MessageType) -> None:
    assert heard(a_packet(Op.REPLY, kind, xid=OURS, pxe=True)) is None


def test_a_machine_that_takes_an_offer_tells_of_its_server() -> None:
    assert heard(a_packet(Op.REQUEST, MessageType.REQUEST)) == RIVAL


@pytest.mark.parametrize("kind", [MessageType.DISCOVER, MessageType.INFORM, None])
def test_what_else_machines_ask_tells_of_none(kind: MessageType | None) -> None:
    assert heard(a_packet(Op.REQUEST, kind)) is None


def test_a_server_identifier_of_a_wrong_length_names_nobody() -> None:
    packet = Packet(
        op=Op.REQUEST,
        xid=1,
        chaddr=MACHINE,
        options={
            Option.MESSAGE_TYPE: bytes([MessageType.REQUEST]),
            Option.SERVER_IDENTIFIER: b"\1\2\3",
        },
    )
    assert heard(packet) is None
