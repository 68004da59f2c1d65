"""Every machine's writable root: made when it gets its address, mounted again after every start.

Each path that machines mount is a mount of its own at Paths.exports / path. It shows the layer of
that path, or another: a kept layer at newer versions' paths, a machine's layer at the kernel's
default path. Taking one away takes two steps, as an NFS server holds what it exports: the path is
withdrawn, so that exports() has it no more; when the servers have dropped it, settle() unmounts.

All that changes something blocks: it is to be called in threads, and waits for its turn. What only
tells (exports, in_use, layers, notices) can be asked at any time.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath

from appliance.bounded import put
from appliance.catalog.model import PublishedRoot
from appliance.layers.commands import CannotDo
from appliance.layers.holdings import Holdings, why
from appliance.layers.layer import Layer, Record
from appliance.layers.room import NoRoom, candidates, is_outdated, of_old_versions
from appliance.layers.sizes import Size
from appliance.layers.storage import Storage, Unusable
from appliance.layers.told import Told, tell
from appliance.layers.versions import Versions
from appliance.nfs.export import (
    EVERYBODY,
    FORMAT,
    Export,
    default_path,
    holder_of,
    is_default_path,
    layer_path,
    share,
)
from appliance.paths import Paths
from appliance.settings import Settings

_MIB = 1 << 20
# A machine that got its address this long ago may be about to mount what its menu showed it.
_SEEN_LATELY = 900.0
# With no more of them, a machine has a layer of each root as soon as it is seen.
_FEW_ROOTS = 4
_MOST_UNMADE = 10  # of which it is told why; anybody can make up machines


@dataclass(frozen=True)
class _Seen:
    """A machine that got an address."""

    at: float  # seconds since the epoch
    address: IPv4Address | None


class Layers:
    """Which layers there are to be, by what was built, seen and asked for.

    `furnish` is called with a new layer and where it is mounted, before any machine sees it; where
    it raises OSError there is no such layer. `busy` tells whether a machine has an export mounted.
    `storage` is where they lie. `clock` gives seconds since the epoch.
    """

    def __init__(  # noqa: PLR0913
        self,
        paths: Paths,
        chosen: Settings,
        furnish: Callable[[Layer, Path], None],
        busy: Callable[[Export], bool],
        *,
        storage: Storage,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._settings, self._storage = chosen, storage
        self._furnish, self._clock = furnish, clock
        self._holdings, self._versions = Holdings(paths, storage, busy), Versions(storage)
        self.works, self.said = False, "not looked at yet"  # whether layers can be made, and how
        self._turn, self._wanting = threading.Lock(), threading.Lock()
        self._roots: tuple[PublishedRoot, ...] = ()
        self._default: str | None = None
        self._current: set[tuple[str, str]] = set()  # versions, also of roots that are not served
        self._seen: dict[str, _Seen] = {}  # by holder
        self._asked: dict[tuple[str, str], None] = {}  # holders, with keys of roots they booted
        self._pending: set[str] = set()  # holders with something to be shown by settle()
        self._told = Told()

    # What is told

    def exports(self) -> tuple[Export, ...]:
        """Return what machines may mount, sorted by path; each is mounted."""
        return self._told.exports

    def in_use(self) -> Mapping[str, tuple[str, ...]]:
        """Return the versions that a layer is over, by their root's name."""
        return self._told.in_use

    def layers(self) -> tuple[Layer, ...]:
        """Return the layers that are there, sorted by path."""
        return self._told.layers

    @property
    def notices(self) -> tuple[str, ...]:
        """Return what is wrong, a line each."""
        return (*self._told.notices, *self._versions.notices, *self._storage.notices())

    @property
    def refused(self) -> frozenset[tuple[str, str]]:
        """Return the versions, by their root's name, that no layer can be made over for now."""
        return self._versions.refused

    @contextmanager
    def _change(self) -> Iterator[Holdings]:
        with self._turn:
            try:
                yield self._holdings
            finally:
                self._told = tell(self._holdings, self._settings.nfs_layer_size)

    # The start and the end

    def start(self) -> None:
        """Find out whether layers can be made, and mount those that are there. Raises OSError."""
        try:
            self.said, self.works = self._storage.begin(), True
        except Unusable as reason:
            self.said, self.works = str(reason), False
        if self._storage.is_open:
            self._open()

    def _open(self) -> None:
        with self._change() as holdings:
            holdings.open()
            if not self._settings.nfs_default_path:
                for path in filter(is_default_path, tuple(holdings.stage.shown)):
                    holdings.stage.withdraw(path)
            holdings.settle()

    def stop(self) -> None:
        """Unmount all; the layers stay. To be called when nothing is exported. Raises OSError."""
        with self._change() as holdings:
            holdings.stage.close()
            self._storage.close()

    # What there should be

    def want(
        self,
        roots: tuple[PublishedRoot, ...],
        default: str | None = None,
        progressed: Callable[[], None] = lambda: None,
    ) -> None:
        """Say which roots there are, and which one, by its key, is the default.

        Those that all share have their layer afterwards. Machines get theirs when they are seen;
        those that were seen lately get them now. `progressed` is called after each version.
        """
        with self._wanting:
            served = tuple(root for root in roots if FORMAT in root.formats)
            self._versions.forget({(root.name, root.id) for root in served})
            with self._change() as holdings:
                holdings.unmade.clear()
                self._roots, self._default = served, default
                self._current = {(root.key, root.id) for root in roots}
            self._keep_prepared()  # makes room
            if served and self._open_storage():
                self._align_all()
                for root in sorted(served, key=lambda root: root.key != default):
                    if self._versions.prepare(root):
                        self._align_all(root)
                    progressed()
            with self._change():
                self._drop_outdated()
            self._keep_prepared()

    def machine_seen(self, mac: str, address: IPv4Address | None = None) -> None:
        """See to it that a machine which got an address finds its root. Raises ValueError."""
        holder = holder_of(mac)
        with self._change():
            for other, seen in self._seen.items():
                if other != holder and address is not None and seen.address == address:
                    self._seen[other] = _Seen(seen.at, None)
            put(self._seen, holder, _Seen(self._clock(), address))
            self._align([holder], starts=True)

    def machine_boots(self, mac: str, root: str) -> None:
        """See to it that a machine which is about to mount a root, by its key, finds it.

        Raises ValueError.
        """
        holder = holder_of(mac)
        with self._change():
            if root in {each.key for each in self._roots}:
                put(self._asked, (holder, root), None)
                self._align([holder])

    def mounted(self, path: PurePosixPath) -> None:
        """Say that a machine mounted an export: its layer never makes room for another.

        Raises OSError.
        """
        with self._change() as holdings:
            layer = holdings.layers.get(holdings.stage.shown.get(path, path))
            if layer is not None and not layer.record.used:
                holdings.record(layer, used=True)

    def refurnish(self, path: PurePosixPath, furnish: Callable[[Layer, Path], None]) -> None:
        """Put more into a layer, as ours: it does not count as written by its machine.

        Raises OSError, CannotDo where no such layer is mounted, and NoRoom.
        """
        with self._change() as holdings:
            layer = holdings.layers.get(path)
            if layer is None or not holdings.stage.showing(path):
                raise CannotDo(f"{path}: no such layer is mounted")
            holdings.require_free_space(layer.record.holder)
            holdings.furnish(layer, furnish)

    # What people ask for

    def keep(self, mac: str, root: str, keep: bool = True) -> None:
        """Let a machine stay on its layer when new versions of a root, by its name, come.

        With `keep` False it gets the newest version again, at its next start. Raises CannotDo,
        OSError.
        """
        with self._change() as holdings:
            layers = holdings.of(mac, root)
            written = [each for each in layers if holdings.was_written(each)]
            kept = (written or layers)[-1].path if keep else None
            for path in [each.path for each in layers]:
                layer = holdings.layers[path]
                if layer.record.keep != (path == kept):
                    layer = holdings.record(layer, keep=path == kept)
                if keep and path != kept and not (layer.record.used or holdings.is_busy(layer)):
                    holdings.doom(layer)
            self._align([holder_of(mac)])

    def reset(self, mac: str, root: str, force: bool = False) -> None:
        """Throw away what a machine wrote to the root of a name; settle() makes a fresh layer.

        It is the layer that the newest version's path shows, a kept one too, else the newest.
        Raises CannotDo where there is none, or where the machine runs from it without `force`.
        """
        with self._change() as holdings:
            layers = holdings.of(mac, root)
            holder = layers[0].record.holder
            paths = [layer_path(each.key, each.id, holder) for each in self._roots]
            now = {holdings.stage.shown.get(path) for path in paths}
            layer = next((each for each in layers if each.path in now), layers[-1])
            holdings.require_idle(layer, force)
            holdings.doom(layer)
            self._pending.add(holder)

    def forget(self, mac: str, root: str, force: bool = False) -> None:
        """Throw away all that a machine wrote to the root of a name, in every version of it.

        It gets a fresh layer when it next gets an address. Raises CannotDo where there is nothing,
        or where the machine runs from it without `force`.
        """
        with self._change() as holdings:
            layers = holdings.of(mac, root)
            holder = layers[0].record.holder
            for layer in layers:
                holdings.require_idle(layer, force)
            for layer in layers:
                holdings.doom(layer)
            if holder in EVERYBODY.values():  # whose path nobody asks for an address for
                self._pending.add(holder)
            self._seen.pop(holder, None)

    def forget_old(
        self, who: str | None, root: str | None, force: bool = False
    ) -> tuple[list[Layer], list[Layer]]:
        """Throw away what was written to replaced versions, of all or of one machine or root.

        Returns what goes, and what stays as machines run from it. Raises CannotDo.
        """
        with self._change() as holdings:
            if not self._current:
                raise CannotDo("there is no root: which versions are old is not known")
            old = of_old_versions(holdings.staying(), self._current, who, root)
            busy = [each for each in old if not force and holdings.is_busy(each)]
            going = [each for each in old if each not in busy]
            for layer in going:
                holdings.doom(layer)
        return going, busy

    # What follows

    def settle(self) -> bool:
        """Unmount what was withdrawn, show what takes its place, and leave the rest to sweep().

        To be called when the servers have dropped everything that exports() does not have, and
        again when it returns False: something is still held, here or by a dead container's server,
        or not noted.
        """
        with self._change() as holdings:
            holdings.settle()
            pending, self._pending = self._pending, set()
            self._align(pending)
            late = holdings.stage.going or holdings.held_elsewhere or holdings.unnoted
        return not late

    def sizes(self) -> Mapping[PurePosixPath, Size]:
        """Measure each layer, by its path; those beyond the limit can only be read from then on.

        Raises OSError.
        """
        with self._turn:
            mounted = self._holdings.stage.held()
            layers = [each for each in self._holdings.staying() if each.path in mounted]
            places = {each.path: self._holdings.place(each) for each in layers}
        measured = self._holdings.measure(places)
        limit = self._settings.nfs_layer_size * _MIB
        large = [each for each in layers if measured.get(each.path, Size(0, 0)).bytes > limit]
        with self._change() as holdings:
            holdings.over = frozenset(each.path for each in large if holdings.has(each))
            self._drop_outdated()
        return measured

    def sweep(self) -> bool:
        """Delete the files of what settle() took away; tell whether there is more room.

        It may take long. Raises OSError.
        """
        more = self._holdings.sweep()
        # Only roots that were named are known to be all; who is at it now keeps them afterwards.
        if self._roots and self._wanting.acquire(blocking=False):
            try:
                more = self._keep_prepared() or more
            finally:
                self._wanting.release()
        return more

    def _drop_outdated(self) -> None:
        """Let go of the layers of replaced versions in which nobody has anything."""
        wanted = {(root.key, root.id, share(self._settings, root)) for root in self._roots}
        holdings = self._holdings
        for layer in holdings.staying():
            if (
                is_outdated(layer, wanted, self._clock())
                and not holdings.is_busy(layer)
                and not holdings.was_written(layer)
            ):
                holdings.doom(layer)

    # One machine's, or everybody's

    def _align_all(self, *roots: PublishedRoot) -> None:
        with self._change():
            now = self._clock()
            lately = [each for each, seen in self._seen.items() if now - seen.at < _SEEN_LATELY]
            self._align([*EVERYBODY.values(), *lately], roots)

    def _align(
        self, holders: Iterable[str], roots: Sequence[PublishedRoot] = (), *, starts: bool = False
    ) -> None:
        """Show machines, or everybody, what they should find of some roots or of all.

        What is not there is made.
        """
        theirs = self._holdings.by_holder()  # once: there may be thousands of both
        for holder in holders if self._holdings.is_open else ():
            for root in roots or self._roots:
                shared = EVERYBODY.get(share(self._settings, root))
                if holder in EVERYBODY.values() and shared != holder:
                    continue
                if not shared and not self._is_for(root, holder, theirs.get(holder, [])):
                    continue
                of = shared or holder
                if (layer := self._layer_for(root, of, theirs.get(of, []))) is None:
                    continue
                self._show(layer_path(root.key, root.id, of), layer, of)
                if self._settings.nfs_default_path and root.key == self._default:
                    self._show_default(holder, layer, starts)

    def _show_default(self, holder: str, layer: Layer, starts: bool) -> None:
        if holder not in self._seen or (address := self._seen[holder].address) is None:
            return
        # It has no version in it: who mounted it a moment ago, unknown yet, would lose it.
        if starts or default_path(address) not in self._holdings.stage.shown:
            self._show(default_path(address), layer, holder)

    def _is_for(self, root: PublishedRoot, holder: str, own: Iterable[Layer]) -> bool:
        """Tell whether a machine has its layer of a root before it asks for it.

        Else each that is seen would fill BOOTDROP_NFS_LAYERS with layers of all roots.
        """
        if len(self._roots) <= _FEW_ROOTS or root.key == self._default:
            return True
        doomed = self._holdings.doomed
        has = any(each.record.key == root.key and each.path not in doomed for each in own)
        return has or (holder, root.key) in self._asked

    def _layer_for(self, root: PublishedRoot, holder: str, own: Iterable[Layer]) -> Layer | None:
        """Return the layer that a root's path is to show; None where there is none for now."""
        holdings = self._holdings
        path = layer_path(root.key, root.id, holder)
        kept = (each for each in own if each.record.key == root.key and each.record.keep)
        layer = next(kept, None) or holdings.layers.get(path)
        if layer is None:
            return self._make(root, holder)
        if layer.path in holdings.doomed:
            self._pending.add(holder)
            return None
        return holdings.seen(layer, self._clock())

    def _show(self, path: PurePosixPath, layer: Layer, holder: str) -> None:
        """Have a path show a layer: now, after settle() where it shows another, or when it may."""
        if self._holdings.stage.shown.get(path) == layer.path:
            return
        if self._is_free(path, holder):
            self._holdings.show(self._holdings.layers[layer.path], path)

    def _is_free(self, path: PurePosixPath, holder: str) -> bool:
        """Tell whether nothing is mounted at a path; what can be taken away is, by settle()."""
        stage = self._holdings.stage
        if path in stage.shown and not self._holdings.is_path_busy(path):
            stage.withdraw(path)
        if path in stage.going:
            self._pending.add(holder)
        return path not in stage.shown and path not in stage.going

    # Making

    def _open_storage(self) -> bool:
        """Have a place for layers, which is made when the first root is to be served."""
        if not self.works or self._holdings.is_open:
            return self.works
        try:
            self._storage.open()
            self._open()
        except (Unusable, OSError) as error:
            said = str(error) if isinstance(error, Unusable) else why(error)
            with self._change() as holdings:
                holdings.faults["storage"] = f"roots over NFS: not served: {said}"
            return False
        with self._change() as holdings:
            holdings.faults.pop("storage", None)
        return True

    def _keep_prepared(self) -> bool:
        """Delete what was prepared for versions that are gone and have no layer any more."""
        if not self._holdings.is_open:  # which have one is not known
            return False
        with self._turn:
            records = [each.record for each in self._holdings.layers.values()]
            kept = {(root.name, root.id) for root in self._roots}
        return self._versions.keep(kept | {(each.root, each.version) for each in records})

    def _make(self, root: PublishedRoot, holder: str) -> Layer | None:
        """Make a layer; None where that cannot be, which is a fault, or has to wait."""
        now, faults = self._clock(), self._holdings.faults
        path = layer_path(root.key, root.id, holder)
        # What is shown there is a layer that was kept until now: its machine may run from it.
        if not self._versions.is_ready(root) or not self._is_free(path, holder):
            return None
        record = Record(
            root=root.name,
            key=root.key,
            version=root.id,
            holder=holder,
            made_at=now,
            last_seen=now,
        )
        try:
            self._make_room(holder)
            layer = self._holdings.make(record, self._furnish)
        except NoRoom as reason:
            faults["room"] = str(reason)
            return None
        except OSError as error:
            said = f"root {root.name}: no layer for {holder}: {why(error)}"
            put(self._holdings.unmade, path, said, _MOST_UNMADE)
            return None
        faults.pop("room", None)
        self._holdings.unmade.pop(path, None)
        return layer

    def _make_room(self, holder: str) -> None:
        """See to it that one more layer may be there; raises NoRoom, OSError."""
        self._holdings.require_free_space(holder)
        if holder in EVERYBODY.values():
            return
        machines = [each for each in self._holdings.staying() if not each.is_shared]
        if len(machines) < self._settings.nfs_layers:
            return
        for layer in candidates(machines, self._clock()):
            if not self._holdings.is_busy(layer) and not self._holdings.was_written(layer):
                self._holdings.doom(layer)
                return
        raise NoRoom(
            f"{self._storage.name}: {len(machines)} layers of machines are there, as many as "
            "BOOTDROP_NFS_LAYERS allows, all in use or written to: reset some, or allow more"
        )
