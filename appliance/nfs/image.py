"""A layer as an image file with an ext4 in it: where overlayfs cannot be exported.

A version's tree is put into an image once; each layer is a copy of that, which shares its blocks
where the file system can (FICLONE). What a machine writes ends at the image's size.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from appliance.nfs import mounts
from appliance.nfs.way import Place, Size, du_sizes
from appliance.run import CommandFailed, run_here

_IMAGE = "image.ext4"
_BASES = ".bases"

# include/uapi/linux/loop.h, fs.h
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A  # Linux 5.8
_LO_FLAGS_AUTOCLEAR = 4  # the device is free again when nothing is mounted from it
_LOOP_MAJOR, _MISC_MAJOR, _LOOP_CONTROL = 7, 10, 237
_FICLONE = 0x40049409
_LOOP_CONFIG = struct.Struct("=IIQQQQQII4xI64s64s32s16s64s")
_TRIES = 64  # another process may take the free device that the kernel named
_PIECE = 1 << 26  # bytes
_SMALL = 16 << 20  # bytes
_ROOM = 1.15  # ext4's own part: tables and journal, and inodes for small files


class Image:
    """Writable layers by image files in `machines`, each with `size` bytes for the machine."""

    name = "image"
    takes_long = True

    def __init__(self, machines: Path, devices: Path, size: int) -> None:
        self._bases = machines / _BASES
        self._devices = devices
        self._size = size

    def for_probe(self, folder: Path) -> Image:
        """Return the same with small images in a folder of its own."""
        return Image(folder, self._devices, _SMALL)

    def prepare(self, tree: Path) -> None:
        """Put a tree into an image: as long as reading and writing all of it. Raises OSError."""
        base = self._base(tree)
        if base.exists():
            return
        self._bases.mkdir(mode=0o700, exist_ok=True)
        (used,) = du_sizes([tree])
        if used is None:
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), str(tree))
        size = int(used.bytes * _ROOM) + used.files * 512 + self._size
        aside = base.with_name(f".new-{base.name}")
        aside.unlink(missing_ok=True)
        with open(aside, "xb") as file:
            file.truncate(size)
        # Tables that are not written now are not written later either: they would be no holes.
        argv = ["mke2fs", "-q", "-F", "-t", "ext4", "-m", "0", "-L", "bootdrop"]
        argv += ["-E", "lazy_itable_init=1,lazy_journal_init=1,nodiscard", "-d", str(tree)]
        try:
            run_here([*argv, str(aside)])
        except CommandFailed as failed:
            aside.unlink()
            raise OSError(errno.EIO, str(failed)[-200:], str(base)) from None
        os.rename(aside, base)

    def make(self, tree: Path, folder: Path) -> None:
        """Copy the version's image into a folder. Raises OSError."""
        self.prepare(tree)
        with open(self._base(tree), "rb") as base, open(folder / _IMAGE, "xb") as image:
            _copy(base.fileno(), image.fileno())

    def mount(self, place: Place, source: str) -> None:
        """Mount a layer. Raises OSError."""
        path = place.folder / _IMAGE
        image = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            if not stat.S_ISREG(os.fstat(image).st_mode):
                raise OSError(errno.EINVAL, "no image", str(path))
            device, name = self._attach(image)
        finally:
            os.close(image)
        try:
            mounts.mount(name, place.point, "ext4", "errors=remount-ro,noinit_itable")
        finally:
            os.close(device)  # the mount alone holds it from now on

    def marks(self, places: Sequence[Place]) -> tuple[str, ...]:
        """Return for each layer what changes when somebody writes to it. Raises OSError."""
        volumes = [os.statvfs(place.point) for place in places]
        return tuple(
            f"{each.f_files - each.f_ffree} {each.f_blocks - each.f_bfree}" for each in volumes
        )

    def sizes(self, places: Sequence[Place]) -> tuple[Size | None, ...]:
        """Return how much more is in each layer than when it was new. Raises OSError."""
        return tuple(map(_size, places))

    def keep_prepared(self, trees: Sequence[Path]) -> None:
        """Delete the images of versions that nobody asks for any more. Raises OSError."""
        wanted = {self._base(tree).name for tree in trees}
        with suppress(FileNotFoundError):
            for base in set(os.listdir(self._bases)) - wanted:
                (self._bases / base).unlink()

    def _base(self, tree: Path) -> Path:
        # The ID is from the contents: the same image for every root that has it.
        return self._bases / f"{tree.parent.name}-{self._size >> 20}.ext4"

    def _attach(self, image: int) -> tuple[int, str]:
        """Give an open file a loop device; return that, open, and its name."""
        self._devices.mkdir(mode=0o700, exist_ok=True)
        control = _open_device(
            self._devices / "loop-control", stat.S_IFCHR, (_MISC_MAJOR, _LOOP_CONTROL)
        )
        try:
            for _ in range(_TRIES):
                number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
                path = self._devices / f"loop{number}"
                device = _open_device(path, stat.S_IFBLK, (_LOOP_MAJOR, number))
                try:
                    fcntl.ioctl(device, _LOOP_CONFIGURE, _loop_config(image))
                except OSError as error:
                    os.close(device)
                    if error.errno != errno.EBUSY:
                        error.filename = str(path)
                        raise
                else:
                    return device, str(path)
            raise OSError(errno.EBUSY, "no loop device is free", str(self._devices))
        finally:
            os.close(control)


def _size(place: Place) -> Size:
    volume = os.statvfs(place.point)
    files, blocks = map(int, (place.mark or "0 0").split())
    return Size(
        max(0, volume.f_files - volume.f_ffree - files),
        max(0, volume.f_blocks - volume.f_bfree - blocks) * volume.f_frsize,
    )


def _loop_config(image: int) -> bytes:
    """Write a struct loop_config: the file, and that the device goes with its last user."""
    numbers = (0,) * 5  # device, inode, rdevice, offset, size limit: the kernel's to fill in
    return _LOOP_CONFIG.pack(
        image, 0, *numbers, 0, 0, _LO_FLAGS_AUTOCLEAR, b"bootdrop", b"", b"", b"", b""
    )


def _open_device(path: Path, kind: int, number: tuple[int, int]) -> int:
    """Open a device, which a container's /dev does not have: its file is made here."""
    with suppress(FileExistsError):
        os.mknod(path, kind | 0o600, os.makedev(*number))
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)


def _copy(source: int, target: int) -> None:
    """Share a file's blocks; where that cannot be, copy those that are no holes."""
    try:
        fcntl.ioctl(target, _FICLONE, source)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
    else:
        return
    end = os.fstat(source).st_size
    os.truncate(target, end)
    at = 0
    while at < end:
        try:
            at = os.lseek(source, at, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # a hole up to the end
                return
            raise
        hole = os.lseek(source, at, os.SEEK_HOLE)
        while at < hole:
            copied = os.copy_file_range(source, target, min(hole - at, _PIECE), at, at)
            if copied == 0:
                raise OSError(errno.EIO, "the image became shorter")
            at += copied
