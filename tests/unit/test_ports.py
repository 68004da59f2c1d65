"""Lines are as `ss -Hlnpe` of iproute2 6.15 prints them."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import IPv4Address

import pytest

from appliance.ports import Port, holder, taken

TFTP = Port("udp", IPv4Address("192.168.10.1"), 69)
DHCP = Port("udp", IPv4Address("192.168.10.1"), 67, device="eth1")
HOSTS = "UNCONN 0      0      {}       0.0.0.0:*    uid:107 ino:64886 sk:1 cgroup:/ <->"


@pytest.mark.parametrize("address", ["0.0.0.0:69", "192.168.10.1:69", "*:69"])
def test_a_port_that_a_process_of_the_host_holds_is_told_with_its_user(address: str) -> None:
    said = holder(TFTP, HOSTS.format(address))
    assert said is not None
    assert said.startswith("UDP port 69 is taken by a process of user 107 outside")
    assert "`ss -lnpu sport = :69`" in said


def test_a_process_that_can_be_seen_is_named() -> None:
    line = 'UNCONN 0 0 0.0.0.0:69 0.0.0.0:* users:(("in.tftpd",pid=19,fd=4)) ino:65863 sk:3 <->'
    assert "in.tftpd (process 19 of this container)" in str(holder(TFTP, line))


def test_another_address_of_the_host_is_not_in_the_way() -> None:
    assert holder(TFTP, HOSTS.format("10.0.0.7:69")) is None


def test_dhcp_servers_of_other_interfaces_are_not_in_dhcpds_way() -> None:
    # libvirt's dnsmasq, as on many a workstation
    assert holder(DHCP, HOSTS.format("0.0.0.0%virbr0:67")) is None
    assert holder(DHCP, HOSTS.format("0.0.0.0%eth1:67")) is not None
    assert holder(DHCP, HOSTS.format("0.0.0.0:67")) is not None


def test_a_port_is_free_until_somebody_listens() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = Port("tcp", IPv4Address("127.0.0.1"), server.getsockname()[1])
        assert "is taken by" in str(asyncio.run(taken(port)))
    assert asyncio.run(taken(port)) is None


@pytest.mark.parametrize("ipv6_alone", [False, True])
def test_a_port_for_ipv6_alone_is_free_for_us(ipv6_alone: bool) -> None:
    with socket.create_server(
        ("::", 0), family=socket.AF_INET6, dualstack_ipv6=not ipv6_alone
    ) as server:
        port = Port("tcp", IPv4Address("127.0.0.1"), server.getsockname()[1])
        assert (asyncio.run(taken(port)) is None) is ipv6_alone
