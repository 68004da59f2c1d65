"""Follows the drop folder: publishes what users drop, and keeps what is known of it."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Callable

from appliance.catalog.model import Catalog, Scan
from appliance.catalog.scan import Seen, scan
from appliance.events.drops import differences
from appliance.menu.entries import RescueRoot
from appliance.paths import Paths
from appliance.provisions import publish_loaders, publish_rescue_roots
from appliance.store import Store
from appliance.volume import VOLUME_LOOK, blocked, read_only, refusal
from appliance.watch import WatchedFolder

# Seconds that new kernels are copied for before those that are ready get into the menu.
_BATCH = 0.25
# Seconds until a kernel that changed while it was copied is looked at again.
_CHANGING_LOOK = 0.3


class Kernels:
    """What machines can boot, as it is dropped.

    After each look `looked` is told whether the catalog changed; `say` gets a line for each kernel
    that came or went, and each file that is refused; `fault` what the volume refuses, None when it
    refuses nothing; `replaced` is called when published/ itself is another folder than before.
    """

    catalog: Catalog | None = None  # None until the first scan is done
    rescue: tuple[RescueRoot, ...] | None = None  # None until the volume could be opened

    def __init__(  # noqa: PLR0913
        self,
        paths: Paths,
        *,
        keep: int,
        looked: Callable[[bool], None],
        say: Callable[[str], None],
        fault: Callable[[str | None], None],
        replaced: Callable[[], None],
    ) -> None:
        self._paths = paths
        self._looked, self._say, self._fault, self._replaced = looked, say, fault, replaced
        self._seen = Seen()
        self._store = Store(paths.published, paths.kernels, keep=keep)
        self._folder = WatchedFolder(
            paths.kernels, ours=(paths.published, paths.published / "kernels")
        )
        self._root: int | None = None  # published/ as it was at the last look

    async def follow(self) -> None:
        """Publish what is dropped, for ever."""
        async with asyncio.TaskGroup() as tasks:
            unread: asyncio.Event = asyncio.Event()
            tasks.create_task(self._read_configurations(unread))
            async for _ in self._folder.changes():
                try:
                    scanned, catalog = await asyncio.to_thread(self._scan_and_publish)
                    self._follow_root()
                except OSError as error:
                    self._fault(refusal(self._paths, error))
                    self._folder.rescan_in(VOLUME_LOOK)
                    continue
                before, self.catalog = self.catalog, catalog
                for line in differences(before or Catalog(), catalog):
                    self._say(line)
                self._looked(catalog != before)
                if scanned.look_in is not None:
                    self._folder.rescan_in(scanned.look_in)
                if len(catalog.pending) > len(scanned.pending):
                    # The next batch, unless nothing of this one could be taken.
                    self._folder.rescan_in(_CHANGING_LOOK if catalog == before else 0)
                unread.set()
                self._tell_volume(await self._retire())

    def _scan_and_publish(self) -> tuple[Scan, Catalog]:
        if self.rescue is None:
            self._store.open()
        # Each time, as somebody may have emptied published/.
        publish_loaders(self._paths)
        self.rescue = publish_rescue_roots(self._paths)
        scanned = scan(self._paths.kernels, seen=self._seen)
        return scanned, self._store.publish(scanned, _BATCH)

    async def _retire(self) -> str | None:
        """Delete old versions; return why one cannot be, which keeps no new one from the menu."""
        if read_only(self._paths) is None:
            try:
                await asyncio.to_thread(self._store.retire, time.time())
            except OSError as error:
                return refusal(self._paths, error)
        return None

    def _tell_volume(self, unretired: str | None) -> None:
        """Say what the volume does not take, and try again, as nothing tells when it does."""
        why = read_only(self._paths) or self._store.blocked
        self._fault(blocked(self._paths, why) if why else unretired)
        if why:
            self._folder.rescan_in(VOLUME_LOOK)

    def _follow_root(self) -> None:
        # Held open: of a folder that is gone, the next one may get the same number.
        held, self._root = self._root, os.open(self._paths.published, os.O_PATH | os.O_DIRECTORY)
        if held is None:
            return
        replaced = not os.path.samestat(os.fstat(held), os.fstat(self._root))
        os.close(held)
        if replaced:
            self._replaced()

    async def _read_configurations(self, unread: asyncio.Event) -> None:
        """Unpack kernels for their configuration, which takes long, after they can be booted."""
        while True:
            await unread.wait()
            unread.clear()
            if await asyncio.to_thread(self._store.read_configs):
                self._folder.rescan_in(0)
