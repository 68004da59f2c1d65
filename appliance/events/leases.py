"""What dhcpd's lines say of machines' addresses."""

from __future__ import annotations

import re
from ipaddress import IPv4Address

from appliance.events.hub import Event

_GIVEN = re.compile(r"(?:DHCPACK|BOOTREPLY) on (?P<address>\d{1,3}(?:\.\d{1,3}){3}) to ")


def given_address(event: Event) -> IPv4Address | None:
    """Return the address that dhcpd gave the event's client just now; None for other events."""
    match = _GIVEN.match(event.text) if event.kind == "dhcp" else None
    return IPv4Address(match["address"]) if match else None
