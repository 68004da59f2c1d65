"""Which driver a network card on PCI wants, by the number that it has on the bus."""

from __future__ import annotations

import re
from collections import defaultdict
from dataclasses import dataclass
from functools import cache
from importlib.resources import files

# Made by tools/nic_drivers.py; its first lines say from what.
_TABLE = "nic_drivers.txt"
_CARD = re.compile(r"[0-9a-f]{4}:[0-9a-f]{4}")
_PCI = 1  # iPXE's include/ipxe/dhcp.h, DHCP_EB_BUS_ID: the first byte is the type of the bus


@dataclass(frozen=True)
class Driver:
    """A driver, by the options of a kernel's configuration; without CONFIG_."""

    module: str
    options: tuple[str, ...]  # all of them are needed
    depends_on: tuple[str, ...]  # menus that they stand in, and what else Kconfig wants
    no_modules: tuple[str, ...]  # options that must not be modules, where the driver is built in


def drivers_of(card: str) -> tuple[Driver, ...]:
    """Return the drivers of a card such as "8086:15f3", any of which may do; () if not known."""
    return _drivers().get(card, ())


def is_card(text: str) -> bool:
    """Tell whether a text is a card's number: vendor and device, four hexadecimal digits each."""
    return _CARD.fullmatch(text) is not None


def card_of(bus_id: str) -> str | None:
    """Read the bus ID that iPXE sends, as dhcpd writes it: "1:80:86:15:f3" is 8086:15f3.

    Returns None for what is on no PCI bus: boards with a device tree tell nothing of use.
    """
    octets = [int(octet, 16) for octet in bus_id.split(":") if octet]
    if len(octets) != 5 or octets[0] != _PCI:
        return None
    return "{:02x}{:02x}:{:02x}{:02x}".format(*octets[1:])


@cache
def _drivers() -> dict[str, tuple[Driver, ...]]:
    found: defaultdict[str, tuple[Driver, ...]] = defaultdict(tuple)
    for line in files("appliance.menu").joinpath(_TABLE).read_text("ascii").splitlines():
        if line.startswith("#"):
            continue
        module, options, depends_on, *cards = line.split()
        wanted = [each for each in depends_on.split(",") if each != "-"]
        driver = Driver(
            module,
            tuple(options.split(",")),
            ("PCI", *(each for each in wanted if not each.endswith("?"))),
            tuple(each.rstrip("?") for each in wanted if each.endswith("?")),
        )
        for group in cards:
            vendor, _, devices = group.partition(":")
            for device in devices.split(","):
                found[f"{vendor}:{device}"] += (driver,)
    return dict(found)
