from __future__ import annotations

import pytest

from appliance.menu.nic_drivers import card_of, drivers_of, is_card


@pytest.mark.parametrize(
    ("card", "options"),
    [
        ("8086:100e", [("E1000",)]),
        ("8086:10d3", [("E1000E",)]),
        ("8086:1521", [("IGB",)]),
        ("8086:15f3", [("IGC",)]),
        ("8086:10fb", [("IXGBE",)]),
        ("8086:1572", [("I40E",)]),
        ("8086:1593", [("ICE",)]),
        ("8086:1229", [("E100",)]),
        ("10ec:8168", [("R8169",)]),
        ("10ec:8125", [("R8169",)]),
        ("10ec:8139", [("8139CP",), ("8139TOO",)]),
        ("14e4:165f", [("TIGON3",)]),
        ("14e4:1639", [("BNX2",)]),
        ("14e4:168e", [("BNX2X",)]),
        ("14e4:16d7", [("BNXT",)]),
        ("15b3:1003", [("MLX4_CORE", "MLX4_EN")]),
        ("15b3:1017", [("MLX5_CORE", "MLX5_CORE_EN")]),
        ("15ad:07b0", [("VMXNET3",)]),
        ("1d0f:ec20", [("ENA_ETHERNET",)]),
        ("1022:2000", [("PCNET32",)]),
        ("1969:1063", [("ATL1C",)]),
        ("1969:e0a1", [("ALX",)]),
        ("10de:0057", [("FORCEDETH",)]),
        ("11ab:4362", [("SKY2",)]),
        ("1af4:1000", [("VIRTIO_PCI", "VIRTIO_NET")]),
        ("1af4:1041", [("VIRTIO_PCI", "VIRTIO_NET")]),
        ("ffff:ffff", []),
    ],
)
def test_a_card_has_its_driver(card: str, options: list[tuple[str, ...]]) -> None:
    assert [driver.options for driver in drivers_of(card)] == options


@pytest.mark.parametrize(
    ("bus_id", "card"),
    [
        ("1:1a:f4:10:0", "1af4:1000"),
        ("1:80:86:15:f3", "8086:15f3"),
        ("1:0:1:0:2", "0001:0002"),
        ("2:80:86:15:f3", None),  # ISA Plug and Play
        ("0:0:0:0:0", None),
        ("1:80:86", None),
    ],
)
def test_the_bus_id_of_a_card_is_read_as_dhcpd_writes_it(bus_id: str, card: str | None) -> None:
    assert card_of(bus_id) == card


def test_only_a_cards_number_is_one() -> None:
    assert is_card("8086:15f3")
    assert not any(map(is_card, ["8086:15F3", "8086:15f", "8086:15f3\n", ""]))
