"""Waits until something changes in some folders, by Linux's inotify(7)."""

from __future__ import annotations

import ctypes
import os
import selectors
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType
from typing import Self

# linux/inotify.h
_ATTRIB, _CLOSE_WRITE, _MOVED_FROM, _MOVED_TO, _DELETE = 0x4, 0x8, 0x40, 0x80, 0x200
_CHANGES = _ATTRIB | _CLOSE_WRITE | _MOVED_FROM | _MOVED_TO | _DELETE

_LIBC = ctypes.CDLL(None, use_errno=True)


class Watcher:
    """Watches folders (not what is below them); a context manager. Raises OSError."""

    def __init__(self, folders: Iterable[Path]) -> None:
        self._fd = _checked(_LIBC.inotify_init1(os.O_CLOEXEC | os.O_NONBLOCK))
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._selector = selectors.DefaultSelector()
        for fd in (self._fd, self._wake_read):
            self._selector.register(fd, selectors.EVENT_READ)
        for folder in folders:
            _checked(_LIBC.inotify_add_watch(self._fd, os.fsencode(folder), _CHANGES))

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._selector.close()
        for fd in (self._fd, self._wake_read, self._wake_write):
            os.close(fd)

    def wait(self, seconds: float) -> None:
        """Return at the next change, at wake(), or after `seconds`: a remote change is not told."""
        for key, _ in self._selector.select(seconds):
            while True:
                try:
                    os.read(key.fd, 65536)
                except BlockingIOError:
                    break

    def wake(self) -> None:
        """Make wait() return, from another thread."""
        os.write(self._wake_write, b"!")


def _checked(result: int) -> int:
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return result
