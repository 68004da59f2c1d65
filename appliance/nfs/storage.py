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
from appliance.nfs import loop, mounts, probe, store_image
from appliance.nfs.room import lacking
from appliance.nfs.sizes import Size, du_sizes
from appliance.nfs.store_image import MIB, Broken
from appliance.paths import Paths
from appliance.run import CommandFailed, run_here

_MAKING, _GOING = ".new-", ".old-"
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
    def folder(self) -> Path:
        """Where layers lie."""

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

    def keep(self, versions: Collection[tuple[str, str]]) -> None:
        """Delete what was prepared for others than these roots' names and versions. OSError."""

    def notices(self) -> tuple[str, ...]:
        """Return what is wrong with it, or under way, a line each."""

    def close(self) -> None:
        """Let go of it, when no layer is mounted. Raises OSError."""


class Volume:
    """Layers on the volume itself, over the trees that the builder made."""

    name = "boot/machines"
    needs_versions = True

    def __init__(self, paths: Paths) -> None:
        self._paths = paths
        self.folder = paths.machines
        self.is_open = False

    def begin(self) -> str:
        """Try overlayfs there. Raises Unusable, OSError."""
        _make_closed(self.folder)
        kind = mounts.file_system(self.folder)
        try:
            refused = probe.refusal(self.folder)
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
        return any(self.folder.glob("[!.]*/*/*/"))

    def open(self) -> None:
        """Nothing is to be made."""

    def tree(self, root: str, version: str) -> Path:
        """Return the builder's tree."""
        return self._paths.roots / root / version / "tree"

    def prepare(self, root: str, version: str) -> None:
        """Nothing is needed."""

    def keep(self, versions: Collection[tuple[str, str]]) -> None:
        """Nothing is kept."""

    def notices(self) -> tuple[str, ...]:
        """Return whether it is full."""
        if not self.is_open:
            return ()
        try:
            return _fullness(self.folder, self.name, "free some room there, or reset layers")
        except OSError as error:
            return (f"{self.name}: {error.strerror}",)

    def close(self) -> None:
        """Nothing is held."""


class Image:
    """Layers and copies of trees in a file system of their own (store_image.py).

    `size` is in bytes; None: by what is free when it is made.
    """

    name = "boot/machines/store.ext4"
    needs_versions = False

    def __init__(self, paths: Paths, size: int | None, devices: Path = loop.DEVICES) -> None:
        self._roots, self._machines = paths.roots, paths.machines
        self._file, self._point = paths.store_image, paths.store
        self._size, self._devices = size, devices
        self.folder, self._trees = paths.store / "layers", paths.store / "trees"
        self.is_open = False
        self._lock: int | None = None
        self._said: tuple[str, ...] = ()
        self._copying: tuple[str, int, int] | None = None  # root, bytes of it, free before

    def begin(self) -> str:
        """Mount the store that is there, else try a small one. Raises Unusable, OSError."""
        _make_closed(self._machines)
        self._take()
        kind = mounts.file_system(self._machines)
        try:
            if self._file.exists():
                self._mount()
            else:
                self._try()
        except Broken as broken:
            raise Unusable(f"{self.name}: {broken}") from None
        except OSError as error:
            raise Unusable(f"{self.name} ({kind}): {_why(error)}") from None
        return f"overlayfs in {self.name}"

    def open(self) -> None:
        """Make the store and mount it. Raises Unusable, OSError."""
        if self.is_open:
            return
        size = self._wanted()
        if not store_image.make(self._file, size):
            self._said = (
                f"{self.name}: the volume's file system cannot set room aside: when the volume is "
                "full, machines lose what they write",
            )
        self._mount()

    def tree(self, root: str, version: str) -> Path:
        """Return the copy in the store."""
        return self._trees / version / root

    def prepare(self, root: str, version: str) -> None:
        """Copy a version's tree into the store. Raises OSError."""
        target, aside = self.tree(root, version), self._trees / f"{_MAKING}{version}"
        if target.exists():
            return
        source = self._roots / root / version / "tree"
        with mounts.by_descriptor(source) as (tree,):
            (used,) = du_sizes([source])
            need = int((used or Size(0, 0)).bytes * _ROOM) + (used or Size(0, 0)).files * _INODE
            self._require(need)
            _remove(aside)
            self._copying = root, need, _free(self._point)
            try:
                # Its own name for the folder that is open here, in the words of another process.
                _copy(tree.replace("self", str(os.getpid()), 1), aside)
                target.parent.mkdir(mode=0o700, exist_ok=True)
                os.rename(aside, target)
            except OSError:
                _remove(aside)
                raise
            finally:
                self._copying = None

    def keep(self, versions: Collection[tuple[str, str]]) -> None:
        """Delete the copies of other versions. Raises OSError."""
        if not self.is_open:
            return
        for tree in self._trees.glob("[!.]*/*"):
            if (tree.name, tree.parent.name) not in versions:
                gone = Path(tempfile.mkdtemp(prefix=_GOING, dir=self._trees))
                os.rename(tree, gone / "tree")
                with suppress(OSError):  # another root of the same contents
                    tree.parent.rmdir()
        # Nothing is being copied: who asks for that is at it himself, and asks for this after it.
        for left in (*self._trees.glob(f"{_GOING}*"), *self._trees.glob(f"{_MAKING}*")):
            _remove(left)

    def notices(self) -> tuple[str, ...]:
        """Return what is wrong with the store, and what is being copied into it."""
        if not self.is_open:
            return ()
        try:
            return (*self._said, *self._state(), *self._progress())
        except OSError as error:
            return (f"{self.name}: {error.strerror}",)

    def close(self) -> None:
        """Unmount the store. Raises OSError."""
        if self.is_open:
            mounts.unmount(self._point)
            self.is_open = False
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    # The file

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
        size = self._size or store_image.automatic_size(self._machines)
        try:
            store_image.require_room(self._machines, size)
        except OSError as error:
            raise Unusable(
                f"{self.name}: {error.strerror}: free some room or set BOOTDROP_STORE_SIZE"
            ) from None
        return size

    def _try(self) -> None:
        """Try with a small store what a large one needs. Raises Unusable, Broken, OSError."""
        self._wanted()
        small = self._machines / _TRIED
        store_image.make(small, _TRIED_SIZE)
        try:
            store_image.mount(small, self._point, self._devices)
            try:
                refused = probe.refusal(self._point)
            finally:
                mounts.unmount(self._point)
        finally:
            small.unlink()
        if refused is not None:
            raise Unusable(f"no layers can be made in {self.name}: overlayfs: {refused}")

    def _mount(self) -> None:
        """Mount the store that is there. Raises Broken, OSError."""
        there = any(each.point == self._point for each in mounts.mounts())
        if not there:
            if not loop.is_attached(self._file, self._devices):
                store_image.check(self._file)
                self._grow()
            store_image.mount(self._file, self._point, self._devices)
        for folder in (self.folder, self._trees):
            folder.mkdir(mode=0o700, exist_ok=True)
        self.is_open = True

    def _grow(self) -> None:
        """Make the store as large as the setting says; that it cannot be is told, no more."""
        size = self._size or 0
        try:
            store_image.grow(self._file, size)
        except OSError as error:
            self._said = (
                f"{self.name}: not made larger: {error.strerror}: free some room or lower "
                "BOOTDROP_STORE_SIZE",
            )

    # What is in it

    def _require(self, need: int) -> None:
        try:
            store_image.require_room(self._point, need)
        except OSError as error:
            raise OSError(
                errno.ENOSPC,
                f"{error.strerror}: raise BOOTDROP_STORE_SIZE, or reset layers that nobody misses",
                self.name,
            ) from None

    def _state(self) -> tuple[str, ...]:
        found = [each for each in mounts.mounts() if each.point == self._point]
        # Linux 6.16 calls it by another name when errors made it so.
        if found and {"ro", "emergency_ro"} & set(found[-1].options.split(",")):
            return (
                f"{self.name}: errors were found in it, nobody can write to it: stop the appliance "
                "and start it again, which repairs what can be; look at the host's disk",
            )
        return _fullness(
            self._point, self.name, "raise BOOTDROP_STORE_SIZE and start anew, or reset layers"
        )

    def _progress(self) -> tuple[str, ...]:
        if (copying := self._copying) is None:
            return ()
        root, need, free = copying
        done = min(max(free - _free(self._point), 0), need)
        return (f"root {root}: copied for NFS: {done // MIB} of {need // MIB} MiB",)


def _fullness(folder: Path, name: str, do: str) -> tuple[str, ...]:
    """Return a line where little is free; `do` says what helps. Raises OSError."""
    free, floor = lacking(folder)
    if free >= floor:
        return ()
    return (f"{name}: {free // MIB} MiB are free: machines' writes fail when none is left: {do}",)


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


def _remove(folder: Path) -> None:
    """Delete a folder in the store, whatever lies in it. Raises OSError."""
    try:
        run_here(["rm", "--recursive", "--force", "--one-file-system", "--", str(folder)])
    except CommandFailed as failed:
        raise OSError(errno.EIO, failed.output.strip()[-200:], str(folder)) from None


def _why(error: OSError) -> str:
    """Say why there is no store, and what to do."""
    if error.errno in _NO_DEVICE and str(error.filename).startswith(str(loop.DEVICES.parent)):
        return f"no loop device ({error.strerror}): {_RULES}"
    return probe.reason(error)
