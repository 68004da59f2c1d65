"""Mounts by system call: what is mounted where, and one way to fail.

By call, as a machine that asks for its root waits for it, and as names in the volume may hold what
mount(8) and the option string of mount(2) take for something else.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

# include/uapi/linux/mount.h
MS_NOSUID = 1 << 1
MS_NODEV = 1 << 2
MS_NOEXEC = 1 << 3
_MS_REMOUNT = 1 << 5
_MS_BIND = 1 << 12
_MS_PRIVATE = 1 << 18
_UMOUNT_NOFOLLOW = 1 << 3

# A machine's root holds devices and setuid files, for the machine. Here they are to be nothing:
# the server creates and reports them all the same, as these two only stop opening and executing.
HARMLESS = MS_NOSUID | MS_NODEV

_AT_EMPTY_PATH = 0x1000  # include/uapi/linux/fcntl.h
_HANDLE_BYTES = 128  # include/linux/exportfs.h: MAX_HANDLE_SZ
_MOUNTS = Path("/proc/self/mountinfo")
_ESCAPED = re.compile(rb"\\([0-7]{3})")

# Folders cost a tmpfs inodes and no blocks, and memory only when they are there.
_EXPORTS_OPTIONS = "size=1m,nr_inodes=1m,mode=0755"

_libc = ctypes.CDLL(None, use_errno=True)
_libc.mount.argtypes = (
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_char_p,
    ctypes.c_ulong,
    ctypes.c_char_p,
)
_libc.umount2.argtypes = (ctypes.c_char_p, ctypes.c_int)
_libc.name_to_handle_at.argtypes = (
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_void_p,
    ctypes.POINTER(ctypes.c_int),
    ctypes.c_int,
)


@dataclass(frozen=True)
class Mount:
    """A line of /proc/self/mountinfo (proc_pid_mountinfo(5))."""

    point: Path
    kind: str  # the file system's name
    source: str
    device: str  # MAJOR:MINOR
    options: str = ""  # of the file system itself


class _FileHandle(ctypes.Structure):
    """struct file_handle (open_by_handle_at(2))."""

    _fields_ = (
        ("bytes", ctypes.c_uint),
        ("type", ctypes.c_int),
        ("handle", ctypes.c_ubyte * _HANDLE_BYTES),
    )


def mount(
    source: str | Path, point: Path, kind: str, options: str = "", flags: int = HARMLESS
) -> None:
    """Mount a file system; raises OSError that names `point`."""
    done = _libc.mount(
        os.fsencode(source), os.fsencode(point), kind.encode(), flags, os.fsencode(options)
    )
    if done != 0:
        raise _error(point)


def bind(source: Path, point: Path) -> None:
    """Show what is mounted at `source` at `point` too; raises OSError."""
    mount(source, point, "", flags=_MS_BIND)
    try:
        # A bind mount gets its flags by a second call alone.
        mount("", point, "", flags=_MS_BIND | _MS_REMOUNT | HARMLESS)
    except OSError:
        unmount(point)
        raise


def unmount(point: Path) -> None:
    """Unmount what is on top there; raises OSError, EBUSY while somebody has a file of it open."""
    if _libc.umount2(os.fsencode(point), _UMOUNT_NOFOLLOW) != 0:
        raise _error(point)


def mounts() -> tuple[Mount, ...]:
    """Return what is mounted in this container, in the kernel's order: what hides comes last."""
    return parse_mounts(_MOUNTS.read_bytes())


def parse_mounts(text: bytes) -> tuple[Mount, ...]:
    """Read the text of mountinfo; a line that is none is passed over."""
    return tuple(found for line in text.splitlines() if (found := _mount(line)))


def _mount(line: bytes) -> Mount | None:
    fields = line.split(b" ")
    try:
        end = fields.index(b"-", 6)
        device, point, kind, source = fields[2], fields[4], fields[end + 1], fields[end + 2]
    except (ValueError, IndexError):
        return None
    options = _text(fields[end + 3]) if len(fields) > end + 3 else ""
    return Mount(Path(_text(point)), _text(kind), _text(source), _text(device), options)


def _text(field: bytes) -> str:
    """Undo what keeps blanks out of fields: \\040 and the like (seq_path)."""
    plain = _ESCAPED.sub(lambda found: bytes([int(found[1], 8) & 0xFF]), field)
    return os.fsdecode(plain)


def mount_points(below: Path) -> frozenset[Path]:
    """Return what is mounted below a folder."""
    return frozenset(each.point for each in mounts() if below in each.point.parents)


def file_system(path: Path) -> str:
    """Return the name of the file system that a path is on, as far as it is known."""
    device = os.stat(path).st_dev
    number = f"{os.major(device)}:{os.minor(device)}"
    kinds = [each.kind for each in mounts() if each.device == number]
    if kinds:
        return kinds[-1]
    # btrfs gives each subvolume a device of its own: the deepest mount that the path is below.
    real = Path(os.path.realpath(path))
    over = [each for each in mounts() if each.point in (real, *real.parents)]
    return max(over, key=lambda each: len(each.point.parts)).kind if over else "unknown"


def exports_root(folder: Path) -> None:
    """Mount the folder of exports, unless it is there: a file system of mount points alone.

    So a handle that is forged from one in it leads to empty folders. Raises OSError.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if any(each.point == folder and each.kind == "tmpfs" for each in mounts()):
        return
    mount("bootdrop", folder, "tmpfs", _EXPORTS_OPTIONS, HARMLESS | MS_NOEXEC)
    try:
        make_private(folder)
    except OSError:
        unmount(folder)
        raise


def make_private(point: Path) -> None:
    """Keep what is mounted there out of the host, where the container's mounts are shared with it.

    Raises OSError.
    """
    mount("", point, "", flags=_MS_PRIVATE)


def unmount_below(folder: Path) -> None:
    """Unmount all that is below a folder, the last one first. Raises OSError."""
    for each in reversed(mounts()):
        if folder in each.point.parents:
            unmount(each.point)


def remove_point(point: Path, top: Path) -> None:
    """Remove a mount point that nothing is mounted on, and what is empty above it, up to `top`."""
    for folder in (point, *point.parents):
        if folder == top:
            return
        try:
            folder.rmdir()
        except FileNotFoundError:
            continue
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EBUSY):
                return
            raise


@contextmanager
def by_descriptor(*folders: Path) -> Iterator[tuple[str, ...]]:
    """Give each folder a name of plain characters, good for mount(2) by this process.

    overlayfs splits its options at commas and its layers at colons, takes backslashes away, and the
    new mount API takes 255 characters at most (fsconfig(2)). A link in a folder's place is refused.
    """
    with ExitStack() as opened:
        names = []
        for folder in folders:
            flags = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            fd = os.open(folder, flags)
            opened.callback(os.close, fd)
            names.append(f"/proc/self/fd/{fd}")
        yield tuple(names)


def require_handles(path: Path) -> None:
    """Raise OSError where files cannot be named by handles, without which nothing is exported."""
    handle = _FileHandle(bytes=_HANDLE_BYTES)
    number = ctypes.c_int()
    fd = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        done = _libc.name_to_handle_at(
            fd, b"", ctypes.byref(handle), ctypes.byref(number), _AT_EMPTY_PATH
        )
        if done != 0:
            raise _error(path)
    finally:
        os.close(fd)


def _error(path: Path) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, os.strerror(number), str(path))


def sync(folder: Path) -> None:
    """Have all of the file system that a folder is in on the disk. Raises OSError."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        if _libc.syncfs(descriptor):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(descriptor)
