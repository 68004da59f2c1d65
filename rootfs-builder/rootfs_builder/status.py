"""roots/NAME/status.json: what the builder is at, for whoever looks."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Literal

FILE = "status.json"
_PAUSE = 0.25  # seconds between two writes of mere progress

State = Literal["queued", "building", "done", "failed"]


@dataclass(frozen=True)
class Status:
    """The file's contents; times are seconds since the epoch.

    recipe    SHA-256 of the recipe that was tried last, so that it is tried once.
    request   the time in the request that was answered last.
    """

    state: State = "queued"
    step: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""
    message: str = ""
    error: str = ""
    log: str = ""
    started: float = 0.0
    updated: float = 0.0
    id: str = ""
    recipe: str = ""
    request: float = 0.0


def read(root: Path) -> Status:
    """Return what a root's file says; a new Status where there is none that can be read."""
    try:
        written = json.loads((root / FILE).read_bytes())
        return Status(**{key: written[key] for key in asdict(Status()) if key in written})
    except (OSError, ValueError, TypeError):
        return Status()


def write(root: Path, status: Status, clock: Callable[[], float] = time.time) -> None:
    """Replace a root's file by rename. Raises OSError."""
    root.mkdir(parents=True, exist_ok=True)
    aside = root / f".{FILE}.new"
    aside.write_text(json.dumps(asdict(replace(status, updated=round(clock(), 3))), indent=1))
    os.replace(aside, root / FILE)


class Teller:
    """Tells how far one build is, often enough to watch and not more often."""

    def __init__(
        self, root: Path, status: Status, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._root = root
        self._clock = clock
        self._next = 0.0
        self.status = status
        self.seconds: dict[str, float] = {}
        self._since = clock()

    def step(self, name: str, message: str = "") -> None:
        """Begin a step; the one before it took until now."""
        self._close()
        self.status = replace(
            self.status, state="building", step=name, done=0, total=0, unit="", message=message
        )
        write(self._root, self.status)

    def progress(self, done: int, total: int, unit: str) -> None:
        """Say how far the step is."""
        self.status = replace(self.status, done=done, total=total, unit=unit)
        if self._clock() >= self._next:
            self._next = self._clock() + _PAUSE
            write(self._root, self.status)

    def end(self, status: Status) -> None:
        """Say how the build ended."""
        self._close()
        self.status = status
        write(self._root, status)

    def _close(self) -> None:
        now = self._clock()
        if self.status.step:
            took = self.seconds.get(self.status.step, 0.0) + now - self._since
            self.seconds[self.status.step] = round(took, 3)
        self._since = now
