"""Loop devices: a file system in a file becomes one that can be mounted.

They are the host's, one list for all of its containers. A container has no device files for them;
they are made where it may make some, and its device rules say whether they open.
"""

from __future__ import annotations

import errno
import fcntl
import os
import stat
import struct
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

# include/uapi/linux/loop.h
_LOOP_CTL_GET_FREE = 0x4C82
_LOOP_CONFIGURE = 0x4C0A  # Linux 5.8
_LOOP_GET_STATUS64 = 0x4C05
_LO_FLAGS_AUTOCLEAR = 4  # the device is free again when nothing is mounted from it
# Past the page cache, which would have everything twice; the kernel goes without where the file
# system below cannot.
_LO_FLAGS_DIRECT_IO = 16
_LOOP_MAJOR, _MISC_MAJOR, _LOOP_CONTROL = 7, 10, 237
_LOOP_CONFIG = struct.Struct("=IIQQQQQII4xI64s64s32s16s64s")
_LOOP_INFO = struct.Struct("=QQ216x")  # struct loop_info64: device and inode come first
_TRIES = 64  # another process may take the free device that the kernel named
# Bytes. Direct I/O needs sectors that are no smaller than the disk's own.
_SECTOR = 4096

# The container's /dev: tmpfs elsewhere in it is mounted nodev.
DEVICES = Path("/dev/bootdrop")
_BOUND = Path("/sys/block")


@contextmanager
def attached(path: Path, devices: Path = DEVICES) -> Iterator[Path]:
    """Give a file a loop device, or take the one that it has; what is mounted meanwhile holds it.

    Never two: a file system that is mounted by two devices destroys itself. Yields the device's
    name. Raises OSError.
    """
    image = os.open(path, os.O_RDWR | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(image)
        if not stat.S_ISREG(status.st_mode):
            raise OSError(errno.EINVAL, "not a file", str(path))
        devices.mkdir(mode=0o700, exist_ok=True)
        device, name = _existing(path.name, status, devices) or _attach(image, devices)
    finally:
        os.close(image)
    try:
        yield name
    finally:
        os.close(device)


def is_attached(path: Path, devices: Path = DEVICES) -> bool:
    """Tell whether a file has a loop device already: a dead container's mount may live on.

    Raises OSError.
    """
    devices.mkdir(mode=0o700, exist_ok=True)
    found = _existing(path.name, path.stat(), devices)
    if found:
        os.close(found[0])
    return found is not None


def _existing(name: str, status: os.stat_result, devices: Path) -> tuple[int, Path] | None:
    """Return a file's loop device, open, and its name. Others' are not opened."""
    for backing in _BOUND.glob("loop*/loop/backing_file"):
        # By its name first: the path is another container's or the host's.
        try:
            if name not in backing.read_text(encoding="utf-8", errors="replace"):
                continue
            number = int(backing.parents[1].name.removeprefix("loop"))
        except (OSError, ValueError):  # it went meanwhile; a partition
            continue
        path = devices / f"loop{number}"
        try:
            device = _open_device(path, stat.S_IFBLK, (_LOOP_MAJOR, number))
        except OSError as error:
            if error.errno != errno.ENXIO:
                raise
            continue  # it is let go of: nothing is mounted from it, all is written
        if _is_of(device, status):
            return device, path
        os.close(device)
    return None


def _is_of(device: int, status: os.stat_result) -> bool:
    """Tell whether an open loop device has a file; it need not have one any more."""
    try:
        answer = fcntl.ioctl(device, _LOOP_GET_STATUS64, bytes(_LOOP_INFO.size))
    except OSError as error:
        if error.errno != errno.ENXIO:
            os.close(device)
            raise
        return False
    return bool(_LOOP_INFO.unpack(answer) == (status.st_dev, status.st_ino))


def _attach(image: int, devices: Path) -> tuple[int, Path]:
    """Give an open file a loop device; return that, open, and its name."""
    control = _open_device(devices / "loop-control", stat.S_IFCHR, (_MISC_MAJOR, _LOOP_CONTROL))
    try:
        for _ in range(_TRIES):
            number = fcntl.ioctl(control, _LOOP_CTL_GET_FREE)
            path = devices / f"loop{number}"
            device = _open_device(path, stat.S_IFBLK, (_LOOP_MAJOR, number))
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, _loop_config(image))
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:
                    error.filename = str(path)
                    raise
            else:
                return device, path
        raise OSError(errno.EBUSY, "no loop device is free", str(devices))
    finally:
        os.close(control)


def _loop_config(image: int) -> bytes:
    """Write a struct loop_config: the file, and that the device goes with its last user."""
    numbers = (0,) * 5  # device, inode, rdevice, offset, size limit: the kernel's to fill in
    flags = _LO_FLAGS_AUTOCLEAR | _LO_FLAGS_DIRECT_IO
    return _LOOP_CONFIG.pack(image, _SECTOR, *numbers, 0, 0, flags, b"bootdrop", b"", b"", b"", b"")


def _open_device(path: Path, kind: int, number: tuple[int, int]) -> int:
    """Open a device, which a container's /dev does not have: its file is made here."""
    with suppress(FileExistsError):
        os.mknod(path, kind | 0o600, os.makedev(*number))
    return os.open(path, os.O_RDWR | os.O_CLOEXEC)
