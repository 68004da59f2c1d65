"""Machines that know nothing of DHCP: BOOTP (RFC 951) and RARP (RFC 903), by frame and by kernel.

The article's kernels have both (IP_PNP_BOOTP, IP_PNP_RARP).
"""

from __future__ import annotations

from pathlib import Path

import pytest
from scapy.layers.dhcp import BOOTP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import ARP, Ether
from scapy.packet import Packet, Raw

from tests.lab.lab import Lab
from tests.lab.machine import Hardware

pytestmark = pytest.mark.lab

NAMED, ADDRESS = "52:54:00:00:0a:01", "192.168.10.77"
UNKNOWN = "52:54:00:00:0a:02"
SETTINGS = {"BOOTDROP_RARP_HOSTS": f"{NAMED}={ADDRESS}"}
BOOT = 90  # seconds
REPLY = 4  # ARP operation: RARP reply (RFC 903)
RARP = 0x8035

# On the far end of the bridge's cable: sends a frame, prints the first one back to its sender.
_EXCHANGE = """
import socket, sys
frame = bytes.fromhex(sys.argv[1])
cable = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
cable.bind(("cable0", int.from_bytes(frame[12:14])))
cable.settimeout(float(sys.argv[2]))
cable.send(frame)
try:
    while (answer := cable.recv(2048))[:6] != frame[6:12]:
        pass
    print(answer.hex())
except TimeoutError:
    pass
"""


def exchange(lab: Lab, request: Packet, seconds: float = 5) -> Packet | None:
    """Send a frame as a machine of the lab; return the answer to it, None without one in time."""
    said = lab.docker.containers.run(
        lab.project.image("appliance"),
        ["python3", "-c", _EXCHANGE, bytes(request).hex(), str(seconds)],
        network_mode=f"container:{lab.container('lab').id}",
        cap_drop=["ALL"],
        cap_add=["NET_RAW"],
        remove=True,
    )
    return Ether(bytes.fromhex(said.decode())) if said.strip() else None


def bootp_request(mac: str) -> Packet:
    sent = Ether(src=mac, dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255")
    chaddr = bytes.fromhex(mac.replace(":", "")) + bytes(10)
    # Without options it is not DHCP; RFC 951 has 64 bytes for the vendor there.
    return sent / UDP(sport=68, dport=67) / BOOTP(xid=7, chaddr=chaddr) / Raw(bytes(64))


def rarp_request(mac: str) -> Packet:
    asked = ARP(op=3, hwsrc=mac, psrc="0.0.0.0", hwdst=mac, pdst="0.0.0.0")
    return Ether(src=mac, dst="ff:ff:ff:ff:ff:ff", type=RARP) / asked


def test_a_bootp_client_gets_an_address_of_the_range_and_the_servers(shared_lab: Lab) -> None:
    shared_lab.wait_ready()
    answer = exchange(shared_lab, bootp_request(UNKNOWN))
    assert answer is not None
    bootp = answer[BOOTP]
    assert (bootp.op, bootp.xid, bootp.siaddr) == (2, 7, "192.168.10.1")
    assert bootp.yiaddr.startswith("192.168.10.") and bootp.yiaddr != ADDRESS
    shared_lab.feed.wait_event(
        lambda event: event.text.startswith(f"BOOTREPLY on {bootp.yiaddr} to {UNKNOWN}"), 5
    )
    # The article's `ip=bootp` asks on each boot: the same machine, the same address.
    again = exchange(shared_lab, bootp_request(UNKNOWN))
    assert again is not None and again[BOOTP].yiaddr == bootp.yiaddr


def test_bootp_is_not_answered_where_no_lease_time_is_given(lab: Lab) -> None:
    lab.up({"BOOTDROP_BOOTP_LEASE_TIME": "0"})
    lab.wait_ready()
    assert exchange(lab, bootp_request(UNKNOWN), 2) is None
    lab.feed.wait_event(lambda event: "BOOTREQUEST from" in event.text, 5)


def test_rarp_tells_a_named_machine_its_address_and_no_other(shared_lab: Lab) -> None:
    shared_lab.wait_ready()
    answer = exchange(shared_lab, rarp_request(NAMED))
    assert answer is not None and answer.type == RARP
    arp = ARP(bytes(answer.payload))
    assert (arp.op, arp.hwdst, arp.pdst, arp.psrc) == (REPLY, NAMED, ADDRESS, "192.168.10.1")
    assert exchange(shared_lab, rarp_request(UNKNOWN), 2) is None
    shared_lab.feed.wait_event(lambda event: event.text == "not found in /etc/ethers", 5)


@pytest.mark.parametrize("protocol", ["bootp", "rarp"])
def test_a_kernel_is_told_its_address_by_the_articles_protocol(
    shared_lab: Lab, test_kernel: Path, protocol: str
) -> None:
    shared_lab.restart(SETTINGS | {"BOOTDROP_CMDLINE": f"ip={protocol}"})
    shared_lab.drop(test_kernel, "bzImage")
    shared_lab.wait_status(lambda status: status.kernels == ("bzImage",), 30)
    shared_lab.wait_ready(30)
    with shared_lab.machine(Hardware("bios", mac=NAMED)) as machine:
        machine.expect(rf"IP-Config: Got {protocol.upper()} answer from 192\.168\.10\.1", BOOT)
        # What it has by DHCP too, from firmware and iPXE.
        machine.expect(rf"(my address is|address: *) ?{ADDRESS.replace('.', '[.]')}", BOOT)
        machine.expect(r"BOOTDROP: rescue shell", BOOT)
