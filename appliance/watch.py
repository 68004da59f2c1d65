"""Tells when a folder has to be looked at: inotify, with a clock for what it misses."""

from __future__ import annotations

import asyncio
import logging
import os
from collections.abc import AsyncGenerator, Callable
from pathlib import Path

from asyncinotify import Event, Inotify, Mask, Watch

from appliance.alarm import Alarm
from appliance.catalog.scan import DEEPEST, is_ignored

_LOG = logging.getLogger(__name__)

_EVERY = 60.0  # seconds; inotify does not see what an NFS client or another host writes

_BLIND_LOOK = 5.0  # seconds; where nothing tells of changes at all

# Not MODIFY: one copy of a kernel would tell thousands of times what CLOSE_WRITE tells once.
_CHANGES = (
    Mask.CLOSE_WRITE
    | Mask.MOVED_FROM
    | Mask.MOVED_TO
    | Mask.CREATE
    | Mask.DELETE
    | Mask.ATTRIB
    | Mask.DELETE_SELF
    | Mask.MOVE_SELF
    | Mask.ONLYDIR
    | Mask.DONT_FOLLOW
)
# Around the folder itself, which may come later or come back.
_AROUND = Mask.CREATE | Mask.MOVED_TO | Mask.MOVED_FROM | Mask.DELETE | Mask.ONLYDIR
# Seconds after a loss: who deletes a folder is not done with its first file.
_LOSS_LOOK = 0.5
# In folders that are ours: what somebody took away has to be made again.
_LOSSES = Mask.DELETE | Mask.MOVED_FROM | Mask.ONLYDIR


class WatchedFolder:
    """A folder that is watched with the folders in it, whether it is there yet or not.

    Of `ours`, folders with the same parent or below, only is told that something was taken away.
    Folders more than `deepest` deep are not looked into; what `is_ignored` by its name is nothing.
    """

    def __init__(
        self,
        folder: Path,
        every: float = _EVERY,
        ours: tuple[Path, ...] = (),
        deepest: int = DEEPEST,
        is_ignored: Callable[[str], bool] = is_ignored,
    ) -> None:
        self._folder = folder
        self._every = every
        self._ours = ours
        self._deepest = deepest
        self._is_ignored = is_ignored
        self._said = False  # that some folder cannot be watched
        self._due = asyncio.Event()
        self._alarm = Alarm(self._due.set)
        self._around: Watch | None = None
        self._losses: list[Watch] = []  # the watches of `ours`

    def rescan_in(self, seconds: float) -> None:
        """Have changes() yield after `seconds` at the latest; to be called in its event loop."""
        self._alarm.within(seconds)

    async def changes(self) -> AsyncGenerator[None, None]:
        """Yield when the folder has to be scanned: at first, on a change, and every minute.

        Changes while the caller is busy are one. One iteration at a time; to end it, close it
        (contextlib.aclosing). Where the kernel has no inotify instance left, every few seconds.
        """
        try:
            opened = Inotify()
        except OSError as error:  # fs.inotify.max_user_instances: the whole host's root shares it
            blind = min(self._every, _BLIND_LOOK)
            _LOG.warning(
                "no inotify (%s), so %s is looked at every %g s; raise "
                "fs.inotify.max_user_instances on the host",
                *(error.strerror, self._folder, blind),
            )
            while True:
                self._due.clear()
                self.rescan_in(blind)
                yield
                await self._due.wait()
        with opened as inotify:
            reader = asyncio.create_task(self._read(inotify))
            reader.add_done_callback(lambda _: self._due.set())
            try:
                while not reader.done():
                    self._due.clear()
                    self._watch_all(inotify)  # before the scan: new folders are seen by one of both
                    self.rescan_in(self._every)
                    yield
                    await self._due.wait()
                reader.result()
            finally:
                reader.cancel()
                self._alarm.cancel()

    async def _read(self, inotify: Inotify) -> None:
        async for event in inotify:
            if event.watch in self._losses and not event.mask & Mask.IGNORED:
                if event.name is not None and not is_ignored(event.name.name):
                    self.rescan_in(_LOSS_LOOK)
            elif self._concerns_us(event):
                self._due.set()

    def _concerns_us(self, event: Event) -> bool:
        if event.mask & Mask.Q_OVERFLOW:
            return True
        name = None if event.name is None else event.name.name
        if self._around is not None and event.watch is self._around:
            return name in {self._folder.name, *(folder.name for folder in self._ours)}
        # What appears or goes under such a name changes nothing: a browser's, rsync's, our own.
        return not event.mask & Mask.IGNORED and not (name and self._is_ignored(name))

    def _watch_all(self, inotify: Inotify) -> None:
        """Watch the folder and all in it; a folder that is watched already stays so.

        Each is watched before it is listed: what is made in between is seen one way or the other.
        """
        self._around = self._watch(inotify, self._folder.parent, _AROUND)
        watches = (self._watch(inotify, folder, _LOSSES) for folder in self._ours)
        self._losses = [watch for watch in watches if watch is not None]
        todo = [(self._folder, 0)]
        while todo:
            folder, depth = todo.pop()
            if self._watch(inotify, folder, _CHANGES) is not None and depth < self._deepest:
                todo += [(inner, depth + 1) for inner in self._folders_in(folder)]

    def _watch(self, inotify: Inotify, folder: Path, mask: Mask) -> Watch | None:
        try:
            return inotify.add_watch(folder, mask)
        except (FileNotFoundError, NotADirectoryError):
            return None  # gone again, or not there yet
        except OSError as error:  # no watches left (fs.inotify.max_user_watches), or not ours
            if not self._said:  # once: of a tree of thousands each could be said
                self._said = True
                _LOG.warning("%s is looked at every %g s only: %s", folder, _EVERY, error.strerror)
            return None

    def _folders_in(self, folder: Path) -> list[Path]:
        try:
            with os.scandir(folder) as entries:
                return [
                    Path(entry)
                    for entry in entries
                    if entry.is_dir(follow_symlinks=False) and not self._is_ignored(entry.name)
                ]
        except OSError:
            return []  # gone or unreadable: the scan tells which
