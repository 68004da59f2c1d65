"""Where layers lie, and the trees that they are over: in a store of their own, or on the volume."""

from __future__ import annotations

import errno
import fcntl
import os
import tempfile
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path
from typing import Protocol

from appliance.files import close_to_others
from appliance.layers import loop, mounts, probe, store_image
from appliance.layers.layer import Shelf, remove_tree
from appliance.layers.room import lacking, lacking_files
from appliance.layers.sizes import Size, du_sizes
from appliance.layers.store_image import MIB, Broken, StoreImage
from appliance.nfs.export import EVERYBODY
from appliance.paths import Paths
from appliance.run import CommandFailed, run_here
from appliance.settings import Settings

_MAKING, _GOING = ".new-", ".old-"
_IMAGES = 2  # that share what the setting says
_TRIED = "probe.ext4"
_TRIED_SIZE = 16 * MIB
_ROOM = 1.05  # a copy of a tree is as large as the tree and ext4's own part
_INODE = 512  # bytes for each file: its inode, its name
_RULES = (
    "device_cgroup_rules: ['c 10:237 rmw', 'b 7:* rmw'] in compose.yaml gives them to the "
    "container; without, BOOTDROP_NFS_STORE=volume (docs/security.md says at what price)"
)
_NO_DEVICE = (errno.EPERM, errno.EACCES, errno.ENXIO, errno.ENOENT, errno.ENODEV)


class Unusable(Exception):
    """Layers cannot lie there; one line says why and what to do."""


class Storage(Protocol):
    """A place for layers and trees. Trees there are never changed."""

    @property
    def name(self) -> str:
        """What people know it by."""

    @property
    def shelves(self) -> tuple[Shelf, ...]:
        """Where layers lie; each holder's on the one that takes them."""

    @property
    def is_open(self) -> bool:
        """Tell whether layers can be made, or were."""

    @property
    def needs_versions(self) -> bool:
        """Tell whether layers need their versions in roots/ to stay."""

    def begin(self) -> str:
        """Find out whether it will do, and open what is there; return one line about it.

        Raises Unusable, OSError.
        """

    def open(self) -> None:
        """Make it where it is not there. Raises Unusable, OSError."""

    def tree(self, root: str, version: str) -> Path:
        """Return the tree that layers of a version, by its root's name, are over."""

    def prepare(self, root: str, version: str) -> None:
        """Have that tree there, as long as it takes. Raises OSError."""

    def keep(self, versions: Collection[tuple[str, str]]) -> bool:
        """Delete what was prepared for others than these roots' names and versions.

        Tells whether there was any. Raises OSError.
        """

    def notices(self) -> tuple[str, ...]:
        """Return what is wrong with it, or under way, a line each."""

    def close(self) -> None:
        """Let go of it, when no layer is mounted. Raises OSError."""


def storage_of(chosen: Settings, paths: Paths) -> Storage:
    """Return where machines' layers are to lie."""
    if chosen.nfs_store == "volume":
        return Volume(paths)
    return Image(paths, chosen.nfs_store_size << 20 if chosen.nfs_store_size else None)


class Volume:
    """Layers on the volume itself, over the trees that the builder made."""

    name = "boot/machines"
    needs_versions = True

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self._machines = paths.machines
        self.shelves = (Shelf(paths.machines, self.name),)
        self.is_open = False

    def begin(self) -> str:
        """Try overlayfs there. Raises Unusable, OSError."""
        _make_closed(self._machines)
        kind = mounts.file_system(self._machines)
        try:
            refused = probe.refusal(self._machines)
        except OSError as error:  # it is full: machines may run from what is there all the same
            refused = None if self._has_layers() else probe.reason(error)
        if refused is not None:
            raise Unusable(
                f"no layers can be made in {self.name} ({kind}): {refused}: put boot/ on ext4, xfs "
                "or btrfs, or set BOOTDROP_NFS_STORE=image"
            )
        self.is_open = True
        return f"overlayfs on {kind}, the volume itself"

    def _has_layers(self) -> bool:
        return any(self._machines.glob("[!.]*/*/*/"))

    def open(self) -> None:
        """Nothing is to be made."""

    def tree(self, root: str, version: str) -> Path:
        """Return the builder's tree."""
        return self._paths.roots / root / version / "tree"

    def prepare(self, root: str, version: str) -> None:
        """Nothing is needed."""

    def keep(self, versions: Collection[tuple[str, str]]) -> bool:
        """Nothing was prepared."""
        return False

    def notices(self) -> tuple[str, ...]:
        """Return whether it is full."""
        if not self.is_open:
            return ()
        try:
            return _fullness(self._machines, self.name, "free some room there, or reset layers")
        except OSError as error:
            return (f"{self.name}: {error.strerror}",)

    def close(self) -> None:
        """Nothing is held."""


class Image:
    """Layers and copies of trees in file systems of their own (store_image.py), of two kinds.

    Machines can write by forged handles to all of a file system that they may write to. So what
    they may only read is in another one: below overlayfs, which never writes there, or below an
    export that is read-only. `size` is in bytes, of both; None: by what is free when they are made.
    """

    name = "boot/machines"
    needs_versions = False

    def __init__(self, paths: Paths, size: int | None, devices: Path = loop.DEVICES) -> None:
        self._roots, self._machines = paths.roots, paths.machines
        self._size, self._point, self._devices = size, paths.store, devices
        each = (size or 0) // _IMAGES
        self._trees = StoreImage(paths.trees_image, paths.store / "trees", each, devices)
        self._layers = StoreImage(paths.layers_image, paths.store / "layers", each, devices)
        self._images = (self._trees, self._layers)
        self._versions = self._trees.point / "versions"
        self.shelves = (
            Shelf(self._layers.point / "machines", self._layers.name, _writes),
            Shelf(self._trees.point / "machines", self._trees.name, _only_reads),
        )
        self.is_open = False
        self._lock: int | None = None
        self._copying: tuple[str, int, int] | None = None  # root, bytes of it, free before

    def begin(self) -> str:
        """Mount the store that is there, else try a small one. Raises Unusable, OSError."""
        _make_closed(self._machines)
        self._take()
        kind = mounts.file_system(self._machines)
        try:
            if all(each.exists for each in self._images):
                self._mount()
            else:
                self._try()
        except Broken as broken:
            raise Unusable(str(broken)) from None
        except OSError as error:
            raise Unusable(f"{self.name} ({kind}): {_why(error)}") from None
        return f"overlayfs in {self._layers.name}, over {self._trees.name}"

    def open(self) -> None:
        """Make what is not there of the store and mount it. Raises Unusable, OSError."""
        if self.is_open:
            return
        size = self._wanted()
        for image in self._images:
            if not image.exists:
                image.make(size)
        try:
            self._mount()
        except Broken as broken:
            raise Unusable(str(broken)) from None

    def tree(self, root: str, version: str) -> Path:
        """Return the copy in the store."""
        return self._versions / version / root

    def prepare(self, root: str, version: str) -> None:
        """Copy a version's tree into the store. Raises OSError."""
        target, aside = self.tree(root, version), self._versions / f"{_MAKING}{version}"
        if target.exists():
            return
        source = self._roots / root / version / "tree"
        with mounts.by_descriptor(source) as (tree,):
            (used,) = du_sizes([source])
            need = int((used or Size(0, 0)).bytes * _ROOM) + (used or Size(0, 0)).files * _INODE
            self._require(need)
            remove_tree(aside)
            self._copying = root, need, _free(self._trees.point)
            try:
                # Its own name for the folder that is open here, in the words of another process.
                _copy(tree.replace("self", str(os.getpid()), 1), aside)
                target.parent.mkdir(mode=0o700, exist_ok=True)
                os.rename(aside, target)
            except OSError:
                remove_tree(aside)
                raise
            finally:
                self._copying = None

    def keep(self, versions: Collection[tuple[str, str]]) -> bool:
        """Delete the copies of other versions; tell whether there were any. Raises OSError."""
        if not self.is_open:
            return False
        for tree in self._versions.glob("[!.]*/*"):
            if (tree.name, tree.parent.name) not in versions:
                gone = Path(tempfile.mkdtemp(prefix=_GOING, dir=self._versions))
                os.rename(tree, gone / "tree")
                with suppress(OSError):  # another root of the same contents
                    tree.parent.rmdir()
        # Nothing is being copied: who asks for that is at it himself, and asks for this after it.
        left = (*self._versions.glob(f"{_GOING}*"), *self._versions.glob(f"{_MAKING}*"))
        for each in left:
            remove_tree(each)
        return bool(left)

    def notices(self) -> tuple[str, ...]:
        """Return what is wrong with the store, and what is being copied into it."""
        if not self.is_open:
            return ()
        try:
            found = [line for image in self._images for line in image.notices()]
            do = "raise BOOTDROP_NFS_STORE_SIZE and start anew, or reset layers"
            fullness = _fullness(self._layers.point, self._layers.name, do)
            return (*found, *fullness, *self._progress())
        except OSError as error:
            return (f"{self.name}: {error.strerror}",)

    def close(self) -> None:
        """Unmount the store. Raises OSError."""
        for image in self._images:
            image.close()
        self.is_open = False
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # The files

    def _take(self) -> None:
        """See to it that no other appliance has the same store. Raises Unusable, OSError."""
        if self._lock is not None:
            return
        lock = os.open(self._machines, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            os.close(lock)
            raise Unusable(
                "boot/machines: another appliance has it: give each a volume of its own"
            ) from None
        except OSError:
            os.close(lock)
            raise
        self._lock = lock

    def _wanted(self) -> int:
        """Return how large each image is to be, for which there is room. Raises Unusable."""
        each = (self._size or store_image.automatic_size(self._machines)) // _IMAGES
        lacking_ones = sum(not image.exists for image in self._images)
        try:
            store_image.require_room(self._machines, each * lacking_ones)
        except OSError as error:
            raise Unusable(
                f"{self.name}: {error.strerror}: free some room or set BOOTDROP_NFS_STORE_SIZE"
            ) from None
        return each

    def _try(self) -> None:
        """Try with a small store what a large one needs. Raises Unusable, Broken, OSError."""
        self._wanted()
        small, point = self._machines / _TRIED, self._point / "probe"
        store_image.make(small, _TRIED_SIZE)
        try:
            store_image.mount(small, point, self._devices)
            try:
                refused = probe.refusal(point)
            finally:
                mounts.unmount(point)
                point.rmdir()
        finally:
            small.unlink()
        if refused is not None:
            raise Unusable(f"no layers can be made in {self.name}: overlayfs: {refused}")

    def _mount(self) -> None:
        """Mount the store that is there. Raises Broken, OSError."""
        for image in self._images:
            image.mount()
        self._versions.mkdir(mode=0o700, exist_ok=True)
        self.is_open = True

    # What is in it

    def _require(self, need: int) -> None:
        try:
            store_image.require_room(self._trees.point, need)
        except OSError as error:
            raise OSError(
                errno.ENOSPC,
                f"{error.strerror}: raise BOOTDROP_NFS_STORE_SIZE (half of it is for versions) and "
                "start anew, or delete old versions: `bootdrop machines forget --old`",
                self._trees.name,
            ) from None

    def _progress(self) -> tuple[str, ...]:
        if (copying := self._copying) is None:
            return ()
        root, need, free = copying
        done = min(max(free - _free(self._trees.point), 0), need)
        return (f"root {root}: copied for NFS: {done // MIB} of {need // MIB} MiB",)


def _fullness(folder: Path, name: str, do: str) -> tuple[str, ...]:
    """Return a line where little is free; `do` says what helps. Raises OSError."""
    free, floor = lacking(folder)
    files, fewest = lacking_files(folder)
    said = [f"{free // MIB} MiB are free"] * (free < floor)
    said += [f"{files} more files can be made"] * (files < fewest)
    fails = "machines' writes fail when none is left"
    return tuple(f"{name}: {each}: {fails}: {do}" for each in said)


def _only_reads(holder: str) -> bool:
    return holder == EVERYBODY["ro"]


def _writes(holder: str) -> bool:
    return not _only_reads(holder)


def _make_closed(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    close_to_others(folder)


def _free(folder: Path) -> int:
    volume = os.statvfs(folder)
    return volume.f_bavail * volume.f_frsize


def _copy(source: str, target: Path) -> None:
    """Copy a tree with all that its files are, to the disk. Raises OSError."""
    target.mkdir()
    argv = ["cp", "--recursive", "--no-dereference", "--one-file-system", "--sparse=auto"]
    # By name: with -a it is no error when attributes are lost.
    argv += ["--preserve=mode,ownership,timestamps,links,xattr", "--no-target-directory"]
    argv += ["--", f"{source}/.", str(target)]
    try:
        run_here(argv)
        run_here(["sync", "--file-system", str(target)])
    except CommandFailed as failed:
        raise OSError(errno.EIO, failed.output.strip()[-200:], str(target)) from None


def _why(error: OSError) -> str:
    """Say why there is no store, and what to do."""
    if error.errno in _NO_DEVICE and str(error.filename).startswith(str(loop.DEVICES.parent)):
        return f"no loop device ({error.strerror}): {_RULES}"
    return probe.reason(error)
