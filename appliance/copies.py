"""Copies of files on the volume, and why it takes none."""

from __future__ import annotations

import errno
import fcntl
import hashlib
import os
from pathlib import Path

from appliance.catalog.decompress import Compression, decompress
from appliance.catalog.image import LONGEST

_FICLONE = 0x40049409  # include/uapi/linux/fs.h: share the blocks instead of copying them
_PIECE = 1 << 20  # bytes

# Seconds that a copy which was replaced stays: a machine may be loading it.
RETIRE_AFTER = 900.0

# Why a volume takes no copy, and what to do.
REFUSALS = {
    errno.ENOSPC: "no space is left on the volume: delete something",
    errno.EDQUOT: "the volume's quota is used up: delete something or raise it",
    errno.EROFS: "the volume is read-only: mount it writable",
    errno.EFBIG: "larger than a file may be on the volume",
}
# Those that hold for any other file as well.
BLOCKED = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EROFS})
# Bytes that copies leave free, so that menus can still be written and the volume be tidied up.
_RESERVE = 4 << 20


def copy_file(source: int, target: Path) -> bytes:
    """Copy an open file, sharing its blocks where the file system can; return its SHA-256."""
    with open(target, "xb+", buffering=0) as copied:
        os.fchmod(copied.fileno(), 0o644)
        try:
            fcntl.ioctl(copied.fileno(), _FICLONE, source)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise
        else:
            return hashlib.file_digest(copied, "sha256").digest()
        digest = hashlib.sha256()
        buffer = bytearray(_PIECE)
        view = memoryview(buffer)
        at = 0
        while length := os.preadv(source, [buffer], at):
            digest.update(view[:length])
            written = 0
            while written < length:
                written += copied.write(view[written:length])
            at += length
        return digest.digest()


def share_file(source: int, target: Path) -> bytes:
    """Give a file that nobody changes in place another name, or copy it; return its SHA-256.

    A copy that shares its blocks comes first, as it has a mode of its own; a hard link second,
    where all may read the file already.
    """
    status = os.fstat(source)
    try:
        return _clone(source, target)
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
    if status.st_mode & 0o444 == 0o444:
        parent = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            # By its descriptor: a name could lead to another file by now. With a folder's
            # descriptor Python calls linkat(2), which alone follows such a link.
            os.link(f"/proc/self/fd/{source}", target.name, dst_dir_fd=parent)
        except OSError:
            pass  # another file system, or one without links: a copy does as well
        else:
            with open(target, "rb", buffering=0) as linked:
                return hashlib.file_digest(linked, "sha256").digest()
        finally:
            os.close(parent)
    require_room(target.parent, status.st_size)
    return copy_file(source, target)


def _clone(source: int, target: Path) -> bytes:
    """Copy a file by sharing its blocks; where that cannot be, raise OSError and leave nothing."""
    with open(target, "xb+", buffering=0) as clone:
        try:
            fcntl.ioctl(clone.fileno(), _FICLONE, source)
        except OSError:
            target.unlink()
            raise
        os.fchmod(clone.fileno(), 0o644)
        return hashlib.file_digest(clone, "sha256").digest()


def unpack_file(source: int, target: Path, packed: Compression) -> bytes:
    """Write what an open file unpacks to; return that's SHA-256. Raises Corrupt."""
    digest = hashlib.sha256()
    with open(source, "rb", buffering=0, closefd=False) as stream, open(target, "xb") as unpacked:
        os.fchmod(unpacked.fileno(), 0o644)
        stream.seek(0)
        for piece in decompress(stream, packed, LONGEST):
            digest.update(piece)
            unpacked.write(piece)
    return digest.digest()


def require_room(folder: Path, size: int) -> None:
    """Raise OSError before a copy of `size` bytes is begun that could not be finished."""
    if not os.access(folder, os.W_OK):  # for root that is a read-only file system
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(folder))
    volume = os.statvfs(folder)
    # Some file systems do not tell.
    if volume.f_blocks and volume.f_bavail * volume.f_frsize < size + _RESERVE:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(folder))
