"""A file with an ext4 in it: a file system that machines' layers or their trees lie in.

overlayfs lets the handle of a file through that lies anywhere in the file systems below it
(fs/overlayfs/namei.c, ovl_acceptable): in these there is nothing but what machines may mount.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import struct
from contextlib import suppress
from pathlib import Path

from appliance.layers import loop, mounts
from appliance.run import CommandFailed, run_here

MIB = 1 << 20
# What is made when no size is said: a third of what is free, within these.
SMALLEST, LARGEST, SHARE = 1024 * MIB, 65536 * MIB, 3
# Bytes of a group of blocks: a rest that is smaller is not used by ext4.
_GROUP = 128 * MIB
# mke2fs(8). Blocks as large as the loop device's sectors. The file reads as zeros: nothing has
# to be written, now or by the kernel later; nothing that was set aside is to be given back.
_MKE2FS = (
    *("mke2fs", "-q", "-F", "-t", "ext4", "-b", "4096", "-i", "8192", "-m", "0", "-L", "bootdrop"),
    *("-E", "nodiscard,assume_storage_prezeroed=1"),
)
_OPTIONS = "errors=remount-ro"
_FS_IOC_GETFLAGS, _FS_IOC_SETFLAGS, _FS_NOCOW_FL = 0x80086601, 0x40086602, 0x00800000
# fs/ext4/ext4.h: s_blocks_count_lo, s_log_block_size, s_magic, s_blocks_count_hi of the superblock.
_SUPERBLOCK, _MAGIC = 1024, 0xEF53
_BLOCKS, _LOG_SIZE, _MAGIC_AT, _BLOCKS_HIGH = 0x4, 0x18, 0x38, 0x150
# e2fsck(8): errors were corrected, and the machine shall be started anew if it was mounted.
_REPAIRED = (0, 1, 2)

_libc = ctypes.CDLL(None, use_errno=True)
_libc.fallocate.argtypes = (ctypes.c_int, ctypes.c_int, ctypes.c_int64, ctypes.c_int64)


class Broken(Exception):
    """The file system in a file cannot be repaired without a person; one line says so."""


class StoreImage:
    """One such file, and where it is mounted. `size` is what it is to have at least, in bytes."""

    def __init__(self, file: Path, point: Path, size: int, devices: Path = loop.DEVICES) -> None:
        self._file, self.point, self._size, self._devices = file, point, size, devices
        self.name = f"boot/machines/{file.name}"
        self._said: tuple[str, ...] = ()

    @property
    def exists(self) -> bool:
        """Tell whether it was made."""
        return self._file.exists()

    def make(self, size: int) -> None:
        """Make it, of so many bytes. Raises OSError."""
        if not make(self._file, size):
            self._said = (
                f"{self.name}: the volume's file system cannot set room aside: when the volume is "
                "full, machines lose what they write",
            )

    def mount(self) -> None:
        """Repair, grow and mount it, unless it is mounted. Raises OSError; Broken names it."""
        if self._mounted():
            return
        if not loop.is_attached(self._file, self._devices):
            try:
                check(self._file)
                self._grow()
            except Broken as broken:
                raise Broken(f"{self.name}: {broken}") from None
        mount(self._file, self.point, self._devices)

    def _grow(self) -> None:
        """Make it as large as it is to be; a lack of room is told, no more. Raises Broken."""
        try:
            grow(self._file, self._size)
        except OSError as error:
            self._said = (
                f"{self.name}: not made larger: {error.strerror}: free some room or lower "
                "BOOTDROP_NFS_STORE_SIZE",
            )

    def notices(self) -> tuple[str, ...]:
        """Return what is wrong with it, while it is mounted."""
        found = self._mounted()
        # Linux 6.16 calls it by another name when errors made it so.
        if found and {"ro", "emergency_ro"} & set(found[-1].options.split(",")):
            return (
                *self._said,
                f"{self.name}: errors were found in it, nobody can write to it: stop the appliance "
                "and start it again, which repairs what can be; look at the host's disk",
            )
        return self._said

    def close(self) -> None:
        """Unmount it, if it is mounted. Raises OSError."""
        if self._mounted():
            mounts.unmount(self.point)

    def _mounted(self) -> list[mounts.Mount]:
        return [each for each in mounts.mounts() if each.point == self.point]


def automatic_size(folder: Path) -> int:
    """Return how large a file of this kind in a folder is, in bytes, when nobody says."""
    volume = os.statvfs(folder)
    free = volume.f_bavail * volume.f_frsize // SHARE
    return min(max(free, SMALLEST), LARGEST) // MIB * MIB


def require_room(folder: Path, size: int) -> None:
    """Raise OSError ENOSPC where a folder's file system has not so many bytes free."""
    volume = os.statvfs(folder)
    free = volume.f_bavail * volume.f_frsize
    if free < size:
        said = f"{size // MIB} MiB are needed and {free // MIB} MiB are free"
        raise OSError(errno.ENOSPC, said, str(folder))


def make(path: Path, size: int) -> bool:
    """Make a file with an empty ext4, seen when it is whole; `size` is in bytes.

    Returns whether all of it is set aside on the disk, so that it can be filled whatever else is
    written there. Raises OSError.
    """
    require_room(path.parent, size)
    aside = path.with_name(f".new-{path.name}")
    aside.unlink(missing_ok=True)
    try:
        is_whole = _allocate(aside, size)
        _run([*_MKE2FS, str(aside)], path)
        _sync(aside)
        os.rename(aside, path)
        _sync(path.parent)
    except OSError:
        aside.unlink(missing_ok=True)
        raise
    return is_whole


def check(path: Path, *how: str) -> None:
    """Have what a crash left put right. Not while it is mounted. Raises Broken.

    What is marked as clean is looked through with `-f` alone.
    """
    try:
        run_here(["e2fsck", "-p", *how, str(path)], accepted=_REPAIRED)
    except CommandFailed as failed:
        said = " ".join(failed.output.split())[:200]
        raise Broken(
            f"cannot be repaired by itself ({said}); it is left as it is: "
            "`e2fsck -f` on the host may, or move it away to begin anew"
        ) from None


def grow(path: Path, size: int) -> None:
    """Make a file and its file system larger, which are checked and not mounted.

    Raises Broken, OSError.
    """
    had = path.stat().st_size
    if size > had:
        require_room(path.parent, size - had)
        _allocate(path, size)
    if size > had or path.stat().st_size - _size_inside(path) >= _GROUP:  # a crash came between
        # resize2fs wants a full check just before.
        check(path, "-f")
        _run(["resize2fs", str(path)], path)
        _sync(path)


def mount(path: Path, point: Path, devices: Path = loop.DEVICES) -> None:
    """Mount a file's file system where only root gets to. Raises OSError.

    Where an earlier mount lives on, of a container that was killed, this is another view of it.
    """
    point.mkdir(mode=0o700, parents=True, exist_ok=True)
    with loop.attached(path, devices) as device:
        mounts.mount(device, point, "ext4", _OPTIONS, mounts.HARMLESS | mounts.MS_NOEXEC)
        try:
            mounts.make_private(point)
            point.chmod(0o700)
        except OSError:
            mounts.unmount(point)
            raise


def _allocate(path: Path, size: int) -> bool:
    """Set a file's blocks aside up to a size; False where the file system cannot. OSError."""
    file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if os.fstat(file).st_size == 0:
            _write_in_place(file)
        if _libc.fallocate(file, 0, 0, size) == 0:
            return True
        number = ctypes.get_errno()
        if number not in (errno.EOPNOTSUPP, errno.ENOSYS):
            raise OSError(number, os.strerror(number), str(path))
        os.ftruncate(file, size)
        return False
    finally:
        os.close(file)


def _write_in_place(file: int) -> None:
    """Have btrfs write over blocks, as else each write needs room of its own: chattr +C."""
    with suppress(OSError):  # other file systems have no such flag
        (flags,) = struct.unpack("l", fcntl.ioctl(file, _FS_IOC_GETFLAGS, bytes(8)))
        fcntl.ioctl(file, _FS_IOC_SETFLAGS, struct.pack("l", flags | _FS_NOCOW_FL))


def _size_inside(path: Path) -> int:
    """Return how many bytes the file system in a file takes. Raises OSError."""
    with open(path, "rb") as file:
        file.seek(_SUPERBLOCK)
        block = file.read(1024)
    if len(block) < 1024 or struct.unpack_from("<H", block, _MAGIC_AT) != (_MAGIC,):
        raise OSError(errno.EINVAL, "no ext4", str(path))
    (low,) = struct.unpack_from("<I", block, _BLOCKS)
    (high,) = struct.unpack_from("<I", block, _BLOCKS_HIGH)
    (log_size,) = struct.unpack_from("<I", block, _LOG_SIZE)
    return int((low + (high << 32)) << (10 + log_size))


def _run(argv: list[str], path: Path) -> None:
    try:
        run_here(argv)
    except CommandFailed as failed:
        raise OSError(errno.EIO, " ".join(str(failed).split())[-300:], str(path)) from None


def _sync(path: Path) -> None:
    file = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        os.fsync(file)
    finally:
        os.close(file)
