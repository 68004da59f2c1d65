from __future__ import annotations

from ipaddress import IPv4Address

import pytest

from appliance.hosts import Host
from appliance.network import NoNetwork, resolve
from appliance.settings import Settings
from tests.unit.builders import an_interface

HOST = (Host("52:54:00:12:34:56", IPv4Address("192.168.10.20")),)
LAB = an_interface("eth1", "192.168.10.1/24")
OFFICE = an_interface("eth0", "10.0.0.7/8")


def ranges(subnet_of: str, **settings: str) -> list[str]:
    network = resolve(Settings(interface="eth1", **settings), [an_interface("eth1", subnet_of)])
    return [str(each) for each in network.ranges]


def test_everything_is_derived_from_the_interface() -> None:
    network = resolve(Settings(interface="eth1"), [OFFICE, LAB])
    assert (network.interface, str(network.server), str(network.subnet), network.gateway) == (
        "eth1",
        "192.168.10.1",
        "192.168.10.0/24",
        None,
    )


def test_without_an_interface_the_line_for_env_and_the_interfaces_are_told() -> None:
    with pytest.raises(NoNetwork) as raised:
        resolve(Settings(), [OFFICE, LAB])
    message = str(raised.value)
    assert "BOOTDROP_INTERFACE=NAME into .env" in message
    assert "eth0 (10.0.0.7/8), eth1 (192.168.10.1/24)" in message


def test_a_misspelt_interface_is_told_with_the_right_ones() -> None:
    with pytest.raises(NoNetwork, match=r"BOOTDROP_INTERFACE=eht1: there is no such.*eth1"):
        resolve(Settings(interface="eht1"), [LAB])


def test_an_interface_without_address_is_waited_for() -> None:
    with pytest.raises(NoNetwork, match="eth1 has no IPv4 address"):
        resolve(Settings(interface="eth1"), [an_interface("eth1")])


def test_a_server_address_chooses_among_the_interfaces_addresses() -> None:
    interface = an_interface("eth1", "10.1.0.1/16", "192.168.10.1/24")
    network = resolve(Settings(interface="eth1", server_address="192.168.10.1"), [interface])
    assert str(network.subnet) == "192.168.10.0/24"


def test_a_server_address_that_the_interface_lacks_is_told() -> None:
    with pytest.raises(NoNetwork, match=r"BOOTDROP_SERVER_ADDRESS=192.168.11.1: eth1 does not"):
        resolve(Settings(interface="eth1", server_address="192.168.11.1"), [LAB])


def test_leases_start_at_the_tenth_address() -> None:
    assert ranges("192.168.10.1/24") == ["192.168.10.10-192.168.10.254"]


def test_the_servers_and_the_gateways_addresses_are_never_leased() -> None:
    assert ranges("192.168.10.100/24", gateway="192.168.10.254") == [
        "192.168.10.10-192.168.10.99",
        "192.168.10.101-192.168.10.253",
    ]


def test_a_small_subnet_leases_all_that_it_has() -> None:
    assert ranges("192.168.10.1/29") == ["192.168.10.2-192.168.10.6"]


def test_a_subnet_without_room_is_told() -> None:
    with pytest.raises(NoNetwork, match="wider"):
        ranges("192.168.10.1/32")


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        ("192.168.11.10-192.168.11.20", "outside of the subnet"),
        ("192.168.10.10-192.168.11.20", "outside of the subnet"),
        ("192.168.10.1-192.168.10.20", "the server's own address 192.168.10.1"),
        ("192.168.10.10-192.168.10.255", "broadcast"),
    ],
)
def test_a_range_that_would_do_harm_is_refused(wanted: str, why: str) -> None:
    with pytest.raises(NoNetwork, match=f"BOOTDROP_DHCP_RANGE={wanted}: .*{why}"):
        ranges("192.168.10.1/24", dhcp_range=wanted)


def test_a_gateway_outside_of_the_subnet_is_refused() -> None:
    with pytest.raises(NoNetwork, match=r"BOOTDROP_GATEWAY=10\.0\.0\.1"):
        ranges("192.168.10.1/24", gateway="10.0.0.1")


def test_an_address_that_is_told_by_rarp_is_leased_to_nobody_else() -> None:
    network = resolve(Settings(interface="eth1", rarp_hosts=HOST), [LAB])
    assert list(map(str, network.ranges)) == [
        "192.168.10.10-192.168.10.19",
        "192.168.10.21-192.168.10.254",
    ]


@pytest.mark.parametrize(
    ("settings", "fault"),
    [
        ({"dhcp_range": "192.168.10.20-192.168.10.30"}, "within BOOTDROP_DHCP_RANGE=192.168.10.20"),
        ({"gateway": "192.168.10.20"}, "the gateway; allowed"),
        ({"subnet": "192.168.10.0/28"}, "outside of the subnet 192.168.10.0/28"),
    ],
)
def test_an_address_that_its_machine_cannot_have_alone_is_told(
    settings: dict[str, str], fault: str
) -> None:
    with pytest.raises(NoNetwork, match=r"BOOTDROP_RARP_HOSTS: 52:54:00:12:34:56=") as raised:
        resolve(Settings(interface="eth1", rarp_hosts=HOST, **settings), [LAB])
    assert fault in str(raised.value)
