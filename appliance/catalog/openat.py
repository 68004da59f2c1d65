"""Opens what people dropped without being led elsewhere, held up or fooled."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

# Seconds; the kernel's time stamps tick at 100 Hz or faster, and a file can change within one tick.
_CLOCK_TICK = 0.02


class NotReadable(Exception):
    """A file that is not served because of what it is, not of what it holds; one line says why."""


@dataclass(frozen=True)
class Fingerprint:
    """What changes when a file does: sizes in bytes, times in nanoseconds since the epoch."""

    size: int
    mtime_ns: int
    ctime_ns: int
    inode: int

    @classmethod
    def of(cls, status: os.stat_result) -> Fingerprint:
        """Take it from a stat."""
        return cls(status.st_size, status.st_mtime_ns, status.st_ctime_ns, status.st_ino)

    def is_certain(self, now: float) -> bool:
        """Tell whether a later change must show; `now` is in seconds since the epoch."""
        return now - self.ctime_ns / 1e9 > _CLOCK_TICK


def require_regular(mode: int) -> None:
    """Raise NotReadable for what is no regular file (st_mode)."""
    if stat.S_ISREG(mode):
        return
    kinds = (
        (stat.S_ISFIFO, "a fifo"),
        (stat.S_ISSOCK, "a socket"),
        (stat.S_ISBLK, "a block device"),
        (stat.S_ISCHR, "a character device"),
        (stat.S_ISDIR, "a folder"),
    )
    raise NotReadable(
        f"{next((what for fits, what in kinds if fits(mode)), 'no file')}, not a file"
    )


def resolve(folder: Path, path: PurePosixPath) -> Path:
    """Return where a link inside `folder` leads; NotReadable where that is outside or nowhere."""
    try:
        target = Path(os.path.realpath(folder / path, strict=True))
    except OSError as error:
        raise NotReadable(f"a link that leads nowhere: {error.strerror}") from None
    if not target.is_relative_to(os.path.realpath(folder)):
        raise NotReadable("a link out of the drop folder: copy the file instead")
    return target


@contextmanager
def open_inside(folder: Path, path: PurePosixPath) -> Iterator[int]:
    """Open a regular file under `folder` for reading, as a descriptor.

    Links are followed as far as they stay inside. A fifo or a device is refused before it is
    opened, and if it took the file's place meanwhile, opening does not wait for it. Raises
    NotReadable, and FileNotFoundError where the file went away.
    """
    plain = folder / path
    target = resolve(folder, path) if plain.is_symlink() else plain
    require_regular(os.lstat(target).st_mode)
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC
    try:
        fd = os.open(target, flags)
    except PermissionError:
        raise NotReadable("may not be read by the appliance: `chmod a+r` it") from None
    try:
        require_regular(os.fstat(fd).st_mode)
        # A folder on the way may have become a link after the check above.
        if not Path(os.readlink(f"/proc/self/fd/{fd}")).is_relative_to(os.path.realpath(folder)):
            raise NotReadable("a link out of the drop folder: copy the file instead")
        yield fd
    finally:
        os.close(fd)
