"""What a person reads of NFS: who uses it, and which layers there are."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any

from appliance.cli.report import megabytes, table

# The headings of both tables.
_CLIENTS = (
    *("MACHINE", "ADDRESS", "ROOT", "VERSION", "SHARE", "VERS", "SINCE", "READ", "WRITTEN"),
    "IDLE",
)
_MACHINES = ("MACHINE", "ROOT", "VERSION", "SIZE", "FILES", "MADE", "LAST-SEEN", "STATE")


def clients(clients: list[dict[str, Any]], why_none: str = "") -> str:
    """Return a table of the machines that have something mounted, or had within a day.

    `why_none` is why no roots are served.
    """
    if not clients:
        return none_served(why_none) or "no machine has a root mounted over NFS"
    rows = [_CLIENTS] + [
        (
            client["mac"] or "-",
            client["address"],
            (client["root"] or "-") + ("" if client["certain"] else "?"),
            client["version"] or "-",
            client["share"] or "-",
            client["nfs"] or "-",
            moment(client["since"]),
            megabytes(client["read"]),
            megabytes(client["written"]),
            "gone" if client["state"] == "gone" else duration(client["idle"]),
        )
        for client in clients
    ]
    return "\n".join([*table(rows), *_doubts(clients)])


def _doubts(clients: list[dict[str, Any]]) -> Iterator[str]:
    """Say of each machine with a `?` what it may have mounted."""
    for client in clients:
        who, paths = client["mac"] or client["address"], client["paths"]
        if client["certain"]:
            continue
        if len(paths) > 1:
            yield f"{who}: has one of these mounted, or several: {', '.join(paths)}"
        elif paths:
            yield f"{who}: has probably mounted {paths[0]}, which somebody uses"
        elif client["state"] != "gone":
            yield f"{who}: is connected; nothing shows what it has mounted"


def none_served(why: str) -> str:
    """Say that no root is served, where there is a reason why; else ""."""
    return f"no root is served over NFS: {why}" if why else ""


def machines(machines: list[dict[str, Any]], why_none: str = "") -> str:
    """Return a table of all layers; `why_none` is why no roots are served."""
    if not machines:
        return none_served(why_none) or (
            "no layers yet: a machine gets its own when it gets an address and there is a root; "
            "`bootdrop roots` lists those"
        )
    rows = [_MACHINES] + [
        (
            layer["holder"],
            layer["root"],
            layer["version"],
            "-" if layer["size"] is None else megabytes(layer["size"]),
            "-" if layer["files"] is None else str(layer["files"]),
            moment(layer["made"]),
            moment(layer["seen"]),
            ", ".join(_states(layer)),
        )
        for layer in machines
    ]
    return "\n".join(table(rows))


def _states(layer: dict[str, Any]) -> Iterator[str]:
    yield "current" if layer["is_current"] else "old version"
    if layer["is_kept"]:
        yield "kept"
    if layer["is_over"]:
        yield "over its size"
    if not layer["is_writable"]:
        yield "read-only"
    if layer["is_busy"]:
        yield "mounted"


def moment(seconds: float) -> str:
    """Write a time (seconds since the epoch) of the container's zone; `-` for 0."""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(seconds)) if seconds else "-"


def duration(seconds: float) -> str:
    """Write a time span, in the largest unit of which it has two, at most hours."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    if seconds < 7200:
        return f"{seconds // 60:.0f} min"
    return f"{seconds // 3600:.0f} h"
