"""What real firmware sent and took (captures/README.md), and what is answered today."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.packet import Packet as Frame
from scapy.utils import rdpcap

from appliance.neopxe import conf, packet
from appliance.neopxe.boot_menu import Reply, answer, destination, is_discovery
from appliance.neopxe.packet import Option, PxeOption
from tests.unit.neopxe.decoded import decoded

CAPTURES = Path(__file__).parent / "captures"
SERVER = "192.168.10.1"
# What the appliance wrote for BOOTDROP_BIOS_LOADER=pxelinux.
CONFIGURATION = """\
ip_addr=192.168.10.1
prompt=Press [F8] for menu...
service=1,192.168.10.1,pxelinux.0,Bootdrop
arch_file=1,efi-x64,snponly.efi
service=0,192.168.10.1,,Boot from local disk
"""
DISCOVERY = {
    "unicast": "prompt_timeout=0\n",
    "broadcast": "prompt_timeout=5\ndiscovery=broadcast\nlisten_67=br0\n",
    "multicast": "prompt_timeout=0\ndiscovery=multicast\n",
}
# Where the item's request goes.
WHERE = {
    "unicast": (SERVER, 4011),
    "broadcast": ("255.255.255.255", 67),
    "multicast": ("224.0.1.2", 4011),
}
FILES = {"bios": b"pxelinux.0", "uefi": b"snponly.efi"}
EVERY = [(firmware, discovery) for firmware in FILES for discovery in DISCOVERY]


def capture(firmware: str, discovery: str) -> list[Frame]:
    return list(rdpcap(str(CAPTURES / f"{firmware}-{discovery}.pcap")))


def payload(frame: Frame) -> bytes:
    return bytes(frame[UDP].payload)


def asked(frames: list[Frame]) -> list[Frame]:
    """What is for a boot server: all to 4011, and discovery to 67."""
    return [
        frame
        for frame in frames
        if frame[IP].src != SERVER
        and (frame[UDP].dport == 4011 or is_discovery(packet.parse(payload(frame))))
    ]


def given(frames: list[Frame]) -> list[Frame]:
    """What the boot server said: dhcpd, which answers on the same address, sends no option 43."""
    return [
        frame
        for frame in frames
        if frame[IP].src == SERVER and Option.VENDOR in packet.parse(payload(frame)).options
    ]


def answers(firmware: str, discovery: str) -> list[tuple[str, int, bytes]]:
    configuration = conf.parse(CONFIGURATION + DISCOVERY[discovery])
    said = []
    for frame in asked(capture(firmware, discovery)):
        request = packet.parse(payload(frame))
        reply = answer(configuration, request)
        assert isinstance(reply, Reply), reply
        to = destination(request, (frame[IP].src, frame[UDP].sport))
        said.append((*to, packet.build(reply.packet)))
    return said


@pytest.mark.parametrize(("firmware", "discovery"), EVERY)
def test_every_answer_is_the_one_that_real_firmware_took(firmware: str, discovery: str) -> None:
    golden = [
        (frame[IP].dst, frame[UDP].dport, payload(frame))
        for frame in given(capture(firmware, discovery))
    ]
    assert len(golden) == 2
    assert answers(firmware, discovery) == golden


@pytest.mark.parametrize(("firmware", "discovery"), EVERY)
def test_the_second_answer_names_the_file_to_an_independent_reader(
    firmware: str, discovery: str
) -> None:
    request = BOOTP(payload(asked(capture(firmware, discovery))[1]))
    read = BOOTP(answers(firmware, discovery)[1][2])
    options = {each[0]: each[1] for each in read[DHCP].options if isinstance(each, tuple)}
    assert (read.op, read.xid, read.chaddr, read.ciaddr, read.siaddr) == (
        2,
        request.xid,
        request.chaddr,
        request.ciaddr,
        SERVER,
    )
    assert read.file.rstrip(b"\0") == FILES[firmware]
    assert options["message-type"] == 5
    assert options["server_id"] == SERVER
    assert options["vendor_class_id"] == b"PXEClient"


@pytest.mark.parametrize(("firmware", "discovery"), EVERY)
def test_firmware_looks_for_the_server_where_the_menu_says(firmware: str, discovery: str) -> None:
    menu, item = asked(capture(firmware, discovery))
    assert (menu[IP].dst, menu[UDP].dport) == (SERVER, 4011)
    assert (item[IP].dst, item[UDP].dport) == WHERE[discovery]
    assert packet.pxe_options(packet.parse(payload(item)))[PxeOption.BOOT_ITEM] == b"\0\1\0\0"


def test_the_documentation_shows_one_of_these_boots_in_full() -> None:
    booting = Path(__file__).parents[3] / "docs" / "booting.md"
    assert f"```\n{decoded(capture('uefi', 'unicast'))}\n```" in booting.read_text()


@pytest.mark.parametrize(("firmware", "discovery"), EVERY)
def test_what_is_for_the_dhcp_server_alone_is_no_discovery(firmware: str, discovery: str) -> None:
    for frame in capture(firmware, discovery)[:4]:
        if frame[UDP].dport == 67:
            request = packet.parse(payload(frame))
            assert (request.is_pxe, request.ciaddr) == (True, IPv4Address(0))
            assert not is_discovery(request)
