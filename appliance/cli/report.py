"""What a person reads: text from the status and the events of the running appliance."""

from __future__ import annotations

import sys
import time
from collections.abc import Sequence
from typing import Any

# Lines of a list of files in the status, which is for a glance; `bootdrop kernels` lists all.
_GLANCE = 20
_BAR = 20  # columns
_COLUMNS = 79


def status(status: dict[str, Any]) -> str:
    """Return the state, each daemon on a line, and what boots."""
    lines = [f"{status['state']}" + (f", serving on {status['address']}" * bool(status["address"]))]
    lines += [f"  ! {reason}" for reason in status["reasons"]]
    lines += [
        f"  {daemon['name']:8} {daemon['phase']}{': ' * bool(daemon['reason'])}{daemon['reason']}"
        for daemon in status["daemons"]
    ]
    lines += [
        f"  root {root['name']}: {_doing(root)}"
        for root in status["roots"]
        if root["state"] in ("queued", "building")
    ]
    lines += nfs(status)
    lines.append(f"default: {status['default'] or 'none yet: drop a kernel into boot/kernels/'}")
    return "\n".join([*lines, kernels(status, most=_GLANCE)])


def all_kernels(status: dict[str, Any]) -> str:
    """Return all that is known of what was dropped; of each kernel also what NFS wants of it."""
    lines = [line for kernel in status["kernels"] for line in _nfs(kernel)]
    return "\n".join([kernels(status), *(["roots over NFS", *lines] if lines else [])])


def _nfs(kernel: dict[str, Any]) -> list[str]:
    """Return whether a kernel can mount its root over NFS, and what to do about it."""
    nfs, name = kernel["nfs"], kernel["name"]
    if nfs["works"] is None:
        return [f"  {name}: not known: drop its config beside it, as {name}.config"]
    if nfs["works"]:
        lines = [f"  {name}: yes"]
    else:
        lacks = [*nfs["initrd"], " ".join(nfs["lacking"])]
        lines = [f"  {name}: no, it lacks {', '.join(filter(None, lacks))}"]
    lines += [f"    works better with {option}" for option in nfs["advised"]]
    lines += [f"    {sentence}" for sentence in nfs["cards"]]
    return lines + [f"    {nfs['command']}"] * bool(nfs["command"])


def nfs(status: dict[str, Any]) -> list[str]:
    """Return what serves roots over NFS in one line, or why nothing does; none before it is known.

    `status` is that of the appliance.
    """
    said = status["nfs"]
    if said["server"] is None:
        return [f"nfs: none: {said['reason']}"] if said["reason"] else []
    mounted = sum(client["state"] != "gone" for client in status["clients"])
    parts = [
        "the kernel's server" if said["server"] == "kernel" else said["server"],
        *([f"layers by {said['way']}"] if said["way"] else []),
        f"{said['exports']} export{'s' * (said['exports'] != 1)}",
        "1 machine has one mounted" if mounted == 1 else f"{mounted} machines have one mounted",
    ]
    return [f"nfs: {', '.join(parts)}" + (f"; {said['reason']}" if said["reason"] else "")]


def kernels(status: dict[str, Any], most: int = sys.maxsize) -> str:
    """Return the kernels in the menu, newest first, and what is not served with its reason.

    Of each list `most` lines, and how many there are more.
    """
    count = len(status["kernels"])
    lines = [f"{count} kernel{'s' * (count != 1)} in the menu"]
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


def roots(roots: list[dict[str, Any]]) -> str:
    """Return a table of all roots, and below it what each failed one says."""
    if not roots:
        return "no roots yet: `bootdrop recipe new NAME --from RECIPE` begins one"
    rows = [("NAME", "ID", "FORMATS", "SIZE", "STATE")]
    rows += [
        (
            root["name"],
            root["id"] or "-",
            ",".join(root["formats"]) or "-",
            megabytes(root["size"]) if root["id"] else "-",
            _doing(root),
        )
        for root in roots
    ]
    return "\n".join(
        table(rows) + [f"{root['name']}: {root['error']}" for root in roots if root["error"]]
    )


def table(rows: Sequence[Sequence[str]]) -> list[str]:
    """Return rows as lines with their cells below each other; the first row is the heading."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(f"{cell:{width}}" for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]


def progress(root: dict[str, Any], bar: bool) -> str:
    """Return the step of a build in one line; with a bar, or with tenths for a log."""
    name = root["name"]
    if root["state"] == "failed":
        log = f"; see boot/roots/{name}/{root['log']}" if root["log"] else ""
        return f"{name}: failed: {root['error']}{log}"
    if root["state"] == "done":
        return f"{name}: done: {root['id']}"
    if not root["total"]:
        return f"{name}: {_doing(root)}"
    part = min(1.0, root["done"] / root["total"])
    if not bar:
        return f"{name}: {root['step'] or root['state']}: {int(part * 10) * 10} %"
    filled = int(part * _BAR)
    drawn = f"[{'#' * filled}{'.' * (_BAR - filled)}] {_amount(root)}"
    # What would be wrapped could not be drawn over.
    return f"{name}: {root['step'] or root['state']} {drawn} {root['message']}"[:_COLUMNS].rstrip()


def _doing(root: dict[str, Any]) -> str:
    if root["state"] != "building":
        return str(root["state"])
    amount = f" {_amount(root)}" if root["total"] else ""
    return f"building: {root['step']}{amount}" if root["step"] else f"building{amount}"


def _amount(root: dict[str, Any]) -> str:
    if root["unit"] == "bytes":
        return f"{megabytes(root['done'])}/{megabytes(root['total'])}"
    return f"{root['done']}/{root['total']} {root['unit']}".rstrip()


def megabytes(size: int) -> str:
    """Write a number of bytes as people read it."""
    return f"{size / 1e6:.1f} MB"


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
