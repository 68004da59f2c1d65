"""Where the time of one boot went, as a small table."""

from __future__ import annotations

import re
from collections.abc import Sequence

from tests.lab.feed import Event
from tests.lab.machine import Machine

# As dhcpd logs it: the events of later steps know their machine by its address alone.
_LEASE = re.compile(r"DHCPACK on (?P<address>\S+) to ")

# Steps that the appliance sees, with the kinds of its events; steps that the console shows.
_HEARD = (
    ("DHCP", {"dhcp"}),
    ("boot server", {"pxe"}),
    ("first file", {"tftp", "http"}),
)
_SHOWN = (("kernel", r"Linux version"), ("init", r"BOOTDROP: init"))


def steps(machine: Machine, events: Sequence[Event]) -> list[tuple[str, float | None]]:
    """Return each step with the seconds from power-on; None for a step that did not happen."""
    mac = machine.hardware.mac
    leases = (_LEASE.search(event.text) for event in events if event.client == mac)
    clients = {mac} | {lease["address"] for lease in leases if lease}
    own = [e for e in events if e.client in clients and e.time >= machine.powered_on]
    seconds: list[tuple[str, float | None]] = [("power-on", 0.0)]
    for step, kinds in _HEARD:
        times = [event.time for event in own if event.kind in kinds]
        seconds.append((step, min(times) - machine.powered_on if times else None))
    for step, pattern in _SHOWN:
        seen = machine.first(pattern)
        seconds.append((step, seen.seconds if seen else None))
    return seconds


def table(machine: Machine, events: Sequence[Event]) -> str:
    """Return the steps as lines: seconds since power-on and the step."""
    taken = steps(machine, events)
    last = max(place for place, (_, seconds) in enumerate(taken) if seconds is not None)
    lines = []
    for place, (step, seconds) in enumerate(taken):
        if seconds is not None:
            lines.append(f"{seconds:7.1f} s  {step}")
        else:
            why = "not on this machine's path" if place < last else "not reached"
            lines.append(f"        -  {step}: {why}")
    return "\n".join(lines)
