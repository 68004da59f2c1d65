"""What a person reads: text from the status and the events of the running appliance."""

from __future__ import annotations

import sys
import time
from typing import Any

# Lines of a list of files in the status, which is for a glance; `bootdrop kernels` lists all.
_GLANCE = 20


def status(status: dict[str, Any]) -> str:
    """Return the state, each daemon on a line, and what boots."""
    lines = [f"{status['state']}" + (f", serving on {status['address']}" * bool(status["address"]))]
    lines += [f"  ! {reason}" for reason in status["reasons"]]
    lines += [
        f"  {daemon['name']:8} {daemon['phase']}{': ' * bool(daemon['reason'])}{daemon['reason']}"
        for daemon in status["daemons"]
    ]
    lines.append(f"default: {status['default'] or 'none yet: drop a kernel into boot/kernels/'}")
    return "\n".join([*lines, kernels(status, most=_GLANCE)])


def kernels(status: dict[str, Any], most: int = sys.maxsize) -> str:
    """Return the kernels in the menu, newest first, and what is not served with its reason.

    Of each list `most` lines, and how many there are more.
    """
    lines = [f"{len(status['kernels'])} kernels in the menu"]
    lines += _first(
        most,
        [
            f"  {kernel['name']}  {kernel['version']}  {kernel['arch']}  {kernel['id']}"
            for kernel in status["kernels"]
        ],
    )
    lines += _first(most, [f"  note: {notice}" for notice in status["notices"]])
    if status["pending"]:
        lines.append(f"{len(status['pending'])} still being written or copied")
        lines += _first(most, [f"  {path}" for path in status["pending"]])
    if status["refused"]:
        lines.append(f"{len(status['refused'])} not served")
        lines += _first(most, [f"  {each['path']}: {each['reason']}" for each in status["refused"]])
    return "\n".join(lines)


def _first(most: int, lines: list[str]) -> list[str]:
    more = len(lines) - most
    return [*lines[:most], f"  and {more} more: `bootdrop kernels`"] if more > 0 else lines


def event(line: dict[str, Any]) -> str:
    """Return one line: time of day, who, what."""
    clock = time.strftime("%H:%M:%S", time.localtime(line["time"]))
    if line["kind"] == "status":
        reasons = "; ".join(line["reasons"])
        return f"{clock} bootdrop: {line['state']}{': ' * bool(reasons)}{reasons}"
    return f"{clock} {line['daemon']}: {line['text']}"
