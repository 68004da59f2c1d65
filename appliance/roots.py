"""Follows the root builder: publishes what it built, and keeps what it says of its work."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import PurePosixPath

from appliance.catalog.model import PublishedRoot, RootCatalog
from appliance.catalog.root import BrokenBuild, Build
from appliance.catalog.roots import SeenRoots, is_watched, scan_roots
from appliance.files import read_file, replace_file
from appliance.paths import Paths
from appliance.root_store import RootStore
from appliance.status import RootStatus
from appliance.volume import VOLUME_LOOK
from appliance.watch import WatchedFolder

# A build's folders lie in roots/NAME/ID; the trees in them are none of ours.
_DEPTH = 2
_IN_USE = PurePosixPath("requests", "in-use.json")


class Roots:
    """What machines can boot with, as the builder makes it.

    `also_in_use` tells the versions that layers of machines are over, by their root's name.
    `changed` is called when the menu may have to change, `progressed` when a build went on; `say`
    gets a line for each root that came or went; `fault` gets what the volume refuses, None when it
    refuses nothing.
    """

    def __init__(  # noqa: PLR0913
        self,
        paths: Paths,
        *,
        also_in_use: Callable[[], Mapping[str, tuple[str, ...]]],
        changed: Callable[[], None],
        progressed: Callable[[], None],
        say: Callable[[str], None],
        fault: Callable[[OSError | None], None],
    ) -> None:
        self._paths = paths
        self._also_in_use = also_in_use
        self._changed, self._progressed = changed, progressed
        self._say, self._fault = say, fault
        self._seen = SeenRoots()
        self._store = RootStore(paths.published, paths.roots)
        self._folder = WatchedFolder(
            paths.roots,
            ours=(paths.published / "roots", paths.published / "modules"),
            deepest=_DEPTH,
            is_ignored=lambda name: not is_watched(name),
        )
        self._opened = False
        self._blocked: OSError | None = None  # what the volume refused at the last look
        self._builds: tuple[Build, ...] = ()
        self._broken: tuple[BrokenBuild, ...] = ()
        # What is published already, so that a new start offers at once what it did before.
        self.catalog = self._store.published()

    async def follow(self) -> None:
        """Publish what is built, for ever."""
        async for _ in self._folder.changes():
            try:
                catalog, builds, broken = await asyncio.to_thread(self._scan_and_publish)
            except OSError as error:
                self._fault(error)
                self._folder.rescan_in(VOLUME_LOOK)
                continue
            self._fault(self._blocked)
            if self._blocked is not None:
                self._folder.rescan_in(VOLUME_LOOK)
            self._tell(catalog, builds, broken)
            if catalog != self.catalog:
                self.catalog = catalog
                self._changed()
            if (builds, broken) != (self._builds, self._broken):
                self._builds, self._broken = builds, broken
                self._progressed()

    def _scan_and_publish(
        self,
    ) -> tuple[RootCatalog, tuple[Build, ...], tuple[BrokenBuild, ...]]:
        if not self._opened:
            self._store.open()
            self._opened = True
        scan = scan_roots(self._paths.roots, self._seen)
        catalog, broken = self._store.publish(scan)
        self._blocked = self._store.blocked
        try:
            self._store.retire(time.time())
            self._write_in_use()
        except OSError as error:  # what is published can be offered all the same
            self._blocked = error
        return catalog, scan.builds, broken

    def note_in_use(self) -> None:
        """Have the builder told soon that other versions are in use."""
        self._folder.rescan_in(0)

    def _write_in_use(self) -> None:
        """Tell the builder which versions it has to keep."""
        ids = {name: set(known) for name, known in self._store.in_use().items()}
        for name, versions in self._also_in_use().items():
            ids.setdefault(name, set()).update(versions)
        in_use = {name: sorted(ids[name]) for name in sorted(ids)}
        text = json.dumps({"roots": in_use}, indent=1).encode() + b"\n"
        if read_file(self._paths.boot, _IN_USE) != text:
            replace_file(self._paths.boot, _IN_USE, text)

    def _tell(
        self, catalog: RootCatalog, builds: tuple[Build, ...], broken: tuple[BrokenBuild, ...]
    ) -> None:
        known = {(root.name, root.id) for root in self.catalog.roots}
        for root in catalog.roots:
            if (root.name, root.id) not in known:
                self._say(f"root {root.name}: published as {root.id}")
        names = {root.name for root in catalog.roots}
        for gone in self.catalog.roots:
            if gone.name not in names:
                self._say(f"root {gone.name}: removed from the menu")
        for notice in self._notices(builds, broken):
            if notice not in self.notices:
                self._say(notice)

    # What is told of it

    @property
    def notices(self) -> tuple[str, ...]:
        """Return what failed, a line each."""
        return self._notices(self._builds, self._broken)

    @staticmethod
    def _notices(builds: tuple[Build, ...], broken: tuple[BrokenBuild, ...]) -> tuple[str, ...]:
        failed = tuple(
            f"root {build.name}: not built: {build.status.error or 'the builder does not say why'}"
            + (f"; see boot/roots/{build.name}/{build.status.log}" if build.status.log else "")
            for build in builds
            if build.status.state == "failed"
        )
        return failed + tuple(f"root {each.name}: {each.reason}" for each in broken)

    @property
    def statuses(self) -> tuple[RootStatus, ...]:
        """Return every root that is there, is being built, or could not be; sorted by name."""
        roots = {root.name: root for root in self.catalog.roots}
        builds = {build.name: build for build in self._builds}
        return tuple(
            _status(name, roots.get(name), builds.get(name))
            for name in sorted(roots.keys() | builds.keys())
        )


def _status(name: str, root: PublishedRoot | None, build: Build | None) -> RootStatus:
    status = RootStatus(name)
    if root is not None:
        status = RootStatus(
            name,
            id=root.id,
            title=root.title,
            arch=root.arch,
            formats=root.formats,
            size=root.size,
            state="done",
        )
    if build is None:
        return status
    said = build.status
    return replace(
        status,
        state=said.state,
        step=said.step,
        done=said.done,
        total=said.total,
        unit=said.unit,
        message=said.message,
        error=said.error,
        log=said.log,
        started=said.started,
        updated=said.updated,
        request=said.request,
    )
