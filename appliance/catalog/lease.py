"""Who writes to a file: read leases (fcntl F_SETLEASE, fs/locks.c)."""

from __future__ import annotations

import errno
import fcntl
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from enum import Enum, auto

_F_SETSIG = 10  # include/uapi/asm-generic/fcntl.h; Python has no name for it


class Writers(Enum):
    """Whether somebody has a file open for writing."""

    NONE = auto()
    SOME = auto()
    UNKNOWN = auto()  # the file system has no leases (NFS, FUSE), or we may not take one


@contextmanager
def read_lease(fd: int) -> Iterator[Writers]:
    """Tell who writes to an open file, and keep it so inside the `with`.

    While the answer NONE holds, whoever opens the file for writing waits in open() until the lease
    is given back (45 s at most, /proc/sys/fs/lease-break-time). `fd` is open for reading only.
    Needs the file's owner or CAP_LEASE; without, the answer is UNKNOWN and nothing is kept.
    """
    # Of a writer the kernel tells by SIGIO, which ends a process; SIGURG is ignored by default.
    fcntl.fcntl(fd, _F_SETSIG, signal.SIGURG)
    try:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_RDLCK)
    except OSError as error:
        yield Writers.SOME if error.errno == errno.EAGAIN else Writers.UNKNOWN
        return
    try:
        yield Writers.NONE
    finally:
        fcntl.fcntl(fd, fcntl.F_SETLEASE, fcntl.F_UNLCK)


def writers_of(fd: int) -> Writers:
    """Tell whether anybody has the file open for writing at this moment."""
    with read_lease(fd) as writers:
        return writers
