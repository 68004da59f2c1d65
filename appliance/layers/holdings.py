"""The layers that are there: on disk, mounted, or about to go; and what is wrong with each."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path, PurePosixPath

from appliance.files import close_to_others
from appliance.layers import overlay
from appliance.layers.commands import CannotDo
from appliance.layers.layer import Layer, Record, shelf_of
from appliance.layers.overlay import Place
from appliance.layers.room import require_free_space
from appliance.layers.sizes import Size
from appliance.layers.stage import Stage
from appliance.layers.storage import Storage
from appliance.nfs.export import EVERYBODY, Export
from appliance.paths import Paths

_LAST_SEEN_EVERY = 3600.0  # seconds; it is for people, and not worth a write for each lease
_WHY = {
    errno.ESTALE: "it belongs to another copy of the version: boot/ was copied from another disk, "
    "or the root was made anew; reset it, after saving what is missed from its folder upper",
    errno.EBUSY: "a mount of it lives on, of a container that was killed, which the kernel's NFS "
    "server still exports; it is tried again",
    errno.ENOENT: "its version is gone",
}


class Holdings:
    """Layers by their path. Nothing here decides which there should be.

    `busy` tells whether a machine has an export mounted. Methods record what the system refuses in
    `faults`, by what it is about, where they do not raise OSError.
    """

    def __init__(self, paths: Paths, storage: Storage, busy: Callable[[Export], bool]) -> None:
        self._paths, self._storage, self._busy = paths, storage, busy
        self._shelves = storage.shelves
        self.stage = Stage(paths.exports)
        self.layers: dict[PurePosixPath, Layer] = {}  # all that are on disk
        self.doomed: set[PurePosixPath] = set()  # layers to be deleted
        self.over: frozenset[PurePosixPath] = frozenset()  # layers that machines may only read
        self.held_elsewhere: set[PurePosixPath] = set()  # paths whose layer another mount has
        self.unnoted: set[PurePosixPath] = set()  # layers whose record is behind
        self.faults: dict[str, str] = {}
        self.unmade: dict[PurePosixPath, str] = {}  # why there is none, for those asked for last
        self.is_open = False

    # The start

    def open(self) -> None:
        """Mount the layers that are there. Raises OSError.

        Those that no machine ever saw are doomed.
        """
        for shelf in self._shelves:
            shelf.open()
        if self._paths.roots.exists():
            close_to_others(self._paths.roots)
        scanned = [shelf.scan() for shelf in self._shelves]
        found = sorted((each for layers, _ in scanned for each in layers), key=lambda one: one.path)
        self.faults = {fault: fault for _, faults in scanned for fault in faults}
        self.layers = {each.path: each for each in found}
        there = self.stage.open()
        for layer in found:
            if layer.record.furnished:
                self.resume(layer, there)
            else:
                self.doomed.add(layer.path)
        for path in there - self.stage.shown.keys():  # a crash came in between
            self.stage.going[path] = path
        self.is_open = True

    def resume(self, layer: Layer, there: frozenset[PurePosixPath] = frozenset()) -> None:
        """Show a layer wherever it was shown before; `there` are paths with an unknown mount."""
        hidden = {path for each in self.layers.values() for path in each.record.also}
        own = () if str(layer.path) in hidden else (layer.path,)
        for path in (*own, *map(PurePosixPath, layer.record.also)):
            if path in self.stage.shown or (path in there and self.stage.adopt(layer, path)):
                continue
            if path in there:
                self.stage.going[path] = path
                self.unmount(path)
            if path not in self.stage.going:
                self.show(layer, path)

    # Coming

    def make(self, record: Record, furnish: Callable[[Layer, Path], None]) -> Layer:
        """Make a layer, mount and furnish it; where that fails there is none. Raises OSError."""
        tree = self._storage.tree(record.root, record.version)
        layer = shelf_of(self._shelves, record.holder).make(record, tree)
        self.layers[layer.path] = layer
        try:
            self.stage.show(layer, layer.path, tree)
            furnish(layer, self.stage.point(layer.path))
            return self.record(layer, furnished=True, mark=self._mark(layer))
        except OSError:
            self.doom(layer)
            self.unmount(layer.path)
            self.delete(layer)
            raise

    def require_free_space(self, holder: str) -> None:
        """Raise NoRoom where a holder's layers lie and it is so full that none may be made."""
        shelf = shelf_of(self._shelves, holder)
        require_free_space(shelf.folder, shelf.name)

    def show(self, layer: Layer, path: PurePosixPath) -> None:
        """Have a path show a layer where nothing is mounted; what hinders it is a fault."""
        self.held_elsewhere.discard(path)
        try:
            self.stage.show(layer, path, self.place(layer).tree)
        except OSError as error:
            if error.errno == errno.EBUSY:
                self.held_elsewhere.add(path)
            self.faults[str(path)] = f"{layer}: not served: {why(error)}"
            return
        self.faults.pop(str(path), None)
        if path != layer.path and str(path) not in layer.record.also:
            self._note_paths(layer, (*layer.record.also, str(path)))

    def _note_paths(self, layer: Layer, also: tuple[str, ...]) -> None:
        """Have the other paths that show a layer on record, which a full disk only delays."""
        self.layers[layer.path] = layer.changed(also=also)
        self.unnoted.add(layer.path)
        self._note(layer.path)

    def _note(self, *paths: PurePosixPath) -> None:
        for path in paths:
            layer = self.layers[path]
            try:
                self.record(layer)
            except OSError as error:
                said = f"{layer}: not noted by which paths it is shown: {why(error)}"
                self.faults["paths"] = said
            else:
                self.unnoted.discard(path)
        if not self.unnoted:
            self.faults.pop("paths", None)

    # Going

    def doom(self, layer: Layer) -> None:
        """Have a layer exported no more, and deleted by settle()."""
        for path in self.stage.showing(layer.path):
            self.stage.withdraw(path)
        self.doomed.add(layer.path)

    def settle(self) -> None:
        """Unmount what was withdrawn, delete what was doomed, try again what was refused."""
        for path in tuple(self.stage.going):
            self.unmount(path)
        for path in self.doomed - self.stage.held():
            self.delete(self.layers[path])
        self._note(*self.unnoted)
        for layer in tuple(self.layers.values()):
            refused = self.faults.keys() & {str(layer.path), *layer.record.also}
            if refused and layer.record.furnished and layer.path not in self.doomed:
                self.resume(layer)

    def unmount(self, path: PurePosixPath) -> None:
        """Unmount a path that was withdrawn, unless somebody holds it."""
        try:
            own = self.stage.unmount(path)
        except OSError as error:
            self.faults[str(path)] = f"{path}: not unmounted: {why(error)}"
            return
        layer = self.layers.get(own) if own else None
        if layer is not None and own not in self.doomed and str(path) in layer.record.also:
            self._note_paths(layer, tuple(p for p in layer.record.also if p != str(path)))

    def delete(self, layer: Layer) -> None:
        """Take a layer off the disk that is mounted nowhere."""
        if layer.path in self.stage.held():
            return
        try:
            shelf_of(self._shelves, layer.record.holder).put_aside(layer)
        except OSError as error:
            self.faults[str(layer.path)] = f"{layer}: not deleted: {why(error)}"
            return
        self.faults.pop(str(layer.path), None)
        self.held_elsewhere -= {layer.path, *map(PurePosixPath, layer.record.also)}
        self.over -= {layer.path}
        self.unnoted.discard(layer.path)
        self.doomed.discard(layer.path)
        del self.layers[layer.path]

    def sweep(self) -> bool:
        """Delete the files of what was deleted; tell whether there were any. Raises OSError."""
        return any([shelf.sweep() for shelf in self._shelves])

    # What is known of them

    def staying(self) -> list[Layer]:
        """Return the layers that are not about to go."""
        return [each for path, each in self.layers.items() if path not in self.doomed]

    def by_holder(self) -> dict[str, list[Layer]]:
        """Return the layers that are not about to go, by whose they are."""
        theirs: dict[str, list[Layer]] = {}
        for each in self.staying():
            theirs.setdefault(each.record.holder, []).append(each)
        return theirs

    def of(self, who: str, root: str) -> list[Layer]:
        """Return a machine's layers, or those of all, of a root by its name, the newest last.

        Raises CannotDo without any.
        """
        found = [each for each in self.staying() if (each.who, each.record.root) == (who, root)]
        if not found:
            raise CannotDo(f"{who}: it has no layer of a root of the name {root}")
        return sorted(found, key=lambda each: (each.record.made_at, each.path))

    def require_idle(self, layer: Layer, force: bool) -> None:
        """Raise CannotDo where a machine runs from a layer, without `force`."""
        if not force and self.is_busy(layer):
            machine = ("machines run", "them") if layer.is_shared else ("the machine runs", "it")
            raise CannotDo(f"{layer}: {machine[0]} from it: shut {machine[1]} down, or say --force")

    def has(self, layer: Layer) -> bool:
        """Tell whether a layer is there still, and not a fresh one in its place."""
        now = self.layers.get(layer.path)
        return now is not None and now.record.made_at == layer.record.made_at

    def record(self, layer: Layer, **values: object) -> Layer:
        """Change what layer.json says. Raises OSError."""
        changed = layer.changed(**values)
        shelf_of(self._shelves, layer.record.holder).write(changed)
        self.layers[layer.path] = changed
        return changed

    def seen(self, layer: Layer, now: float) -> Layer:
        """Note that a layer's machine was seen, if that was not noted lately."""
        if 0 <= now - layer.record.last_seen < _LAST_SEEN_EVERY:
            return layer
        try:
            layer = self.record(layer, last_seen=now)
        except OSError as error:  # a full volume: the machine is to find its root all the same
            self.faults["seen"] = f"boot/machines: not noted who was seen: {why(error)}"
        else:
            self.faults.pop("seen", None)
        return layer

    def was_written(self, layer: Layer) -> bool:
        """Tell whether a machine mounted a layer or wrote to it; in doubt it did."""
        if layer.record.used:
            return True
        try:
            if self._mark(layer) == layer.record.mark:
                return False
            self.record(layer, used=True)
        except OSError:  # it cannot be measured, or the disk is full
            return True
        return True

    def furnish(self, layer: Layer, furnish: Callable[[Layer, Path], None]) -> None:
        """Have something of ours put into a mounted layer. Raises OSError."""
        was_written = self.was_written(layer)
        layer = self.layers[layer.path]
        furnish(layer, self.place(layer).point)
        if not was_written:
            self.record(layer, mark=self._mark(layer))

    def is_busy(self, layer: Layer) -> bool:
        """Tell whether a machine has a layer mounted."""
        return any(self._busy(self.export(path)) for path in self.stage.showing(layer.path))

    def is_path_busy(self, path: PurePosixPath) -> bool:
        """Tell whether a machine has an export mounted."""
        return self._busy(self.export(path))

    def export(self, path: PurePosixPath) -> Export:
        """Return what a path that is shown is exported as."""
        layer = self.layers[self.stage.shown[path]]
        writable = layer.record.holder != EVERYBODY["ro"] and layer.path not in self.over
        return Export(path, layer.fsid(path), writable)

    def place(self, layer: Layer) -> Place:
        """Return where a layer is."""
        record = layer.record
        point = next(iter(self.stage.showing(layer.path)), layer.path)
        tree = self._storage.tree(record.root, record.version)
        return Place(layer.folder, tree, self.stage.point(point))

    def measure(self, places: dict[PurePosixPath, Place]) -> dict[PurePosixPath, Size]:
        """Measure mounted layers, by their paths. Raises OSError."""
        sizes = overlay.sizes(tuple(places.values()))
        return {p: size for p, size in zip(places, sizes, strict=True) if size is not None}

    def _mark(self, layer: Layer) -> str:
        return overlay.marks([self.place(layer)])[0]


def why(error: OSError) -> str:
    """Say why the system refused something of a layer."""
    said = _WHY.get(error.errno or 0)
    return f"{error.strerror}: {said}" if said else f"{error.filename}: {error.strerror}"
