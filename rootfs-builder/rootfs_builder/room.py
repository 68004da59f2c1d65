"""Looks after a build while its commands run: space on the volume, and signs of life."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from rootfs_builder.errors import BuildFailed

RESERVE = 128 * 1024 * 1024  # bytes that a build leaves to all others on the volume


def require_room(folder: Path, reserve: int = RESERVE) -> None:
    """Raise BuildFailed where a volume has less than `reserve` bytes left."""
    volume = os.statvfs(folder)
    free = volume.f_bavail * volume.f_frsize
    if free < reserve:
        raise BuildFailed(
            f"the volume has {free >> 20} MiB left, less than the {reserve >> 20} MiB that a build"
            " leaves; free some: old versions below roots/, kernels, or set `keep: 0`"
        )
    if volume.f_files and not volume.f_favail:
        raise BuildFailed("the volume has no inodes left; delete files, or make it anew with more")


class Stall:
    """Notices that a download stands still: no output and no byte in `folder` for `seconds`."""

    def __init__(
        self, folder: Path, seconds: float, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self._folder = folder
        self._seconds = seconds
        self._clock = clock
        self._size = -1
        self._alive = clock()

    def line(self, _: str) -> None:
        """Output is a sign of life."""
        self._alive = self._clock()

    def tick(self) -> None:
        """Raise BuildFailed when there was none for too long."""
        size = size_of(self._folder)
        if size != self._size:
            self._size, self._alive = size, self._clock()
        if self._clock() - self._alive > self._seconds:
            raise BuildFailed(
                f"download: a repository stands still: no byte came for {self._seconds:g} s;"
                " check its server and the way to it, then `bootdrop build` again"
            )


def size_of(folder: Path) -> int:
    """Return the bytes that a folder's files take on the disk."""
    total = 0
    for place, _, names in os.walk(folder):
        for name in names:
            try:
                total += os.lstat(os.path.join(place, name)).st_blocks * 512
            except FileNotFoundError:  # a temporary file of who downloads
                continue
    return total
