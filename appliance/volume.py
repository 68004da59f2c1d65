"""What the volume refuses, in words for whoever looks at it from the host."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from appliance.copies import BLOCKED, REFUSALS
from appliance.paths import Paths

# Seconds until a volume that could not be read or written is tried again.
VOLUME_LOOK = 5.0


def refusal(paths: Paths, error: OSError) -> str:
    """Say which file of the volume could not be written, and what to do."""
    if error.errno in BLOCKED:  # whichever file was the first
        return blocked(paths, REFUSALS[error.errno])
    why = f"{error.strerror}: it has to be writable, with room for a copy of each kernel"
    # What fails while an open file is read, a disk's fault, has no name.
    return f"{_on_host(paths, error.filename2 or error.filename or paths.published)}: {why}"


def blocked(paths: Paths, why: str) -> str:
    """Say why published/ takes nothing."""
    return f"{_on_host(paths, paths.published)}: {why}"


def read_only(paths: Paths) -> str | None:
    """Return why published/ takes nothing on a read-only file system; None on others."""
    # access(2) refuses root nothing else.
    return None if os.access(paths.published, os.W_OK) else REFUSALS[errno.EROFS]


def _on_host(paths: Paths, path: Path | str) -> str:
    """Name a file as the container and as its user know it."""
    inside = Path(path)
    if not inside.is_relative_to(paths.boot):
        return str(inside)
    return f"{inside} (boot/{inside.relative_to(paths.boot)} on the host)"
