"""What a person reads: text from the status and the events of the running appliance."""

from __future__ import annotations

import time
from typing import Any


def status(status: dict[str, Any]) -> str:
    """Return the state, each daemon on a line, and what boots."""
    lines = [f"{status['state']}" + (f", serving on {status['address']}" * bool(status["address"]))]
    lines += [f"  ! {reason}" for reason in status["reasons"]]
    lines += [
        f"  {daemon['name']:8} {daemon['phase']}{': ' * bool(daemon['reason'])}{daemon['reason']}"
        for daemon in status["daemons"]
    ]
    lines.append(f"default: {status['default'] or 'none yet: drop a kernel into boot/kernels/'}")
    return "\n".join([*lines, kernels(status)])


def kernels(status: dict[str, Any]) -> str:
    """Return the kernels in the menu, newest first, and what is not served with its reason."""
    lines = [f"{len(status['kernels'])} kernels in the menu"]
    lines += [
        f"  {kernel['name']}  {kernel['version']}  {kernel['arch']}  {kernel['id']}"
        for kernel in status["kernels"]
    ]
    lines += [f"  note: {notice}" for notice in status["notices"]]
    if status["pending"]:
        lines.append(f"still being written: {', '.join(status['pending'])}")
    if status["refused"]:
        lines.append("not served")
        lines += [f"  {each['path']}: {each['reason']}" for each in status["refused"]]
    return "\n".join(lines)


def event(line: dict[str, Any]) -> str:
    """Return one line: time of day, who, what."""
    clock = time.strftime("%H:%M:%S", time.localtime(line["time"]))
    if line["kind"] == "status":
        reasons = "; ".join(line["reasons"])
        return f"{clock} bootdrop: {line['state']}{': ' * bool(reasons)}{reasons}"
    return f"{clock} {line['daemon']}: {line['text']}"
