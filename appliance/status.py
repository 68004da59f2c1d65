"""The appliance's state as one value: what `bootdrop status` shows."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

# failed: no machine can boot, as something that every boot needs was given up; it is tried again.
State = Literal["starting", "ready", "degraded", "failed"]
# failing: it does not serve; failed: nor does it stay up, so it is started with growing pauses.
Phase = Literal["idle", "starting", "serving", "failing", "failed"]


@dataclass(frozen=True)
class DaemonStatus:
    """One daemon, seen from outside."""

    name: str
    phase: Phase
    reason: str = ""  # why it is idle, failing or failed
    vital: bool = True  # without it no machine boots


@dataclass(frozen=True)
class RefusedFile:
    """A file in the drop folder that is not served."""

    path: str
    reason: str


@dataclass(frozen=True)
class KernelStatus:
    """A kernel in the menu."""

    name: str
    version: str
    arch: str
    id: str


@dataclass(frozen=True)
class RootStatus:
    """A root in the menu, or one that is being built or could not be."""

    name: str
    id: str = ""  # of the version in the menu; "" while there is none
    title: str = ""
    arch: str = ""
    formats: tuple[str, ...] = ()
    size: int = 0  # bytes
    # Of the last build: queued, building, done or failed.
    state: str = ""
    step: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""  # of done and total: packages, bytes or ""
    message: str = ""
    error: str = ""
    log: str = ""  # relative to roots/NAME
    started: float = 0.0  # seconds since the epoch
    updated: float = 0.0
    request: float = 0.0  # the time in the request that was answered last


@dataclass(frozen=True)
class Status:
    """Everything at one moment."""

    state: State = "starting"
    reasons: tuple[str, ...] = ()  # why degraded
    daemons: tuple[DaemonStatus, ...] = ()
    address: str = ""  # server's IPv4 address, "" without a network
    kernels: tuple[KernelStatus, ...] = ()  # newest first
    roots: tuple[RootStatus, ...] = ()  # sorted by name
    default: str = ""  # title of the entry that boots when nobody chooses
    notices: tuple[str, ...] = ()
    refused: tuple[RefusedFile, ...] = ()
    pending: tuple[str, ...] = ()  # still being written

    def as_json(self) -> dict[str, Any]:
        """Return what the control socket sends."""
        return asdict(self)


def summary(
    daemons: tuple[DaemonStatus, ...], faults: tuple[str, ...]
) -> tuple[State, tuple[str, ...]]:
    """Return the state and its reasons: faults and failing daemons degrade, all else must serve."""
    reasons = faults + tuple(
        f"{each.name}: {each.reason}" for each in daemons if each.phase in ("failing", "failed")
    )
    if any(each.vital and each.phase == "failed" for each in daemons):
        return "failed", reasons
    if reasons:
        return "degraded", reasons
    if not daemons or any(each.phase == "starting" for each in daemons):
        return "starting", ()
    return "ready", ()
