"""Writes entries as archives: newc cpio for the kernel, pax tar for mke2fs and sqfstar.

Written here, as GNU cpio and tar record the order, times and inodes of the folder that they find.
"""

from __future__ import annotations

import os
import stat
import tarfile
from collections.abc import Callable, Iterable, Iterator
from typing import Protocol

from rootfs_builder.entries import Entry, TreeError

# Documentation/driver-api/early-userspace/buffer-format.rst: 13 fields of 8 hex digits.
_NEWC = b"070701" + b"%08x" * 13
_LARGEST_IN_CPIO = 2**32 - 1  # bytes of one file
_TRAILER = Entry(b"TRAILER!!!", 0)
_TAR_BLOCK = 512
_TAR_TYPES = {
    stat.S_IFREG: tarfile.REGTYPE,
    stat.S_IFDIR: tarfile.DIRTYPE,
    stat.S_IFLNK: tarfile.SYMTYPE,
    stat.S_IFCHR: tarfile.CHRTYPE,
    stat.S_IFBLK: tarfile.BLKTYPE,
    stat.S_IFIFO: tarfile.FIFOTYPE,
}
_WHOLE = 256 * 1024  # files up to here, and headers, are gathered before they are written
_PIECE = 8 * 1024 * 1024


class Writer(Protocol):
    """A binary stream, as far as archives need one."""

    def write(self, data: bytes | bytearray, /) -> int:
        """Take bytes."""

    def flush(self) -> None:
        """Send what was taken."""


def write_cpio(
    entries: Iterable[Entry], stream: Writer, wrote: Callable[[int], None] = lambda _: None
) -> None:
    """Write a newc archive; `wrote` hears how many bytes of files' contents went out.

    Of a file with several names, the first carries the contents. Raises TreeError.
    """
    sink = _Sink(stream, wrote)
    inodes = dict[bytes, int]()
    for number, entry in enumerate((*entries, _TRAILER), 1):
        inode = inodes[entry.same_as] if entry.same_as else number
        inodes[entry.path] = inode
        if entry.size > _LARGEST_IN_CPIO:
            raise TreeError(
                f"{os.fsdecode(entry.path)}: {entry.size >> 20} MiB; a cpio holds files up to"
                " 4 GiB: leave cpio out of the recipe's formats"
            )
        size = 0 if entry.same_as else entry.size or len(entry.target)
        name = (entry.path or b".") + b"\0"
        fields = (inode, entry.mode, entry.uid, entry.gid, entry.links, entry.mtime, size, 0, 0)
        device = (os.major(entry.device), os.minor(entry.device))
        sink.write(_NEWC % (*fields, *device, len(name), 0) + name)
        sink.pad(4)
        if entry.target:
            sink.write(entry.target)
        elif size:
            sink.copy(entry)
        sink.pad(4)
    sink.flush()


def write_tar(
    entries: Iterable[Entry], stream: Writer, wrote: Callable[[int], None] = lambda _: None
) -> None:
    """Write a pax archive with extended attributes, as write_cpio does."""
    sink = _Sink(stream, wrote)
    for entry in entries:
        sink.write(_tar_header(entry))
        if entry.size and not entry.same_as:
            sink.copy(entry)
            sink.pad(_TAR_BLOCK)
    sink.write(bytes(2 * _TAR_BLOCK))
    sink.flush()


def _tar_header(entry: Entry) -> bytes:
    info = tarfile.TarInfo(f"./{os.fsdecode(entry.path)}")
    info.mode, info.mtime = stat.S_IMODE(entry.mode), entry.mtime
    info.uid, info.gid = entry.uid, entry.gid
    info.type = tarfile.LNKTYPE if entry.same_as else _TAR_TYPES[stat.S_IFMT(entry.mode)]
    info.size = 0 if entry.same_as else entry.size
    linked = b"./" + entry.same_as if entry.same_as else entry.target
    info.linkname = os.fsdecode(linked)
    info.devmajor, info.devminor = os.major(entry.device), os.minor(entry.device)
    info.pax_headers = {
        f"SCHILY.xattr.{name}": value.decode("utf-8", "surrogateescape")
        for name, value in entry.xattrs
    }
    return info.tobuf(tarfile.PAX_FORMAT, "utf-8", "surrogateescape")


class _Sink:
    """A stream that small writes are gathered for, and that knows its position."""

    def __init__(self, stream: Writer, wrote: Callable[[int], None]) -> None:
        self._stream, self._wrote = stream, wrote
        self._gathered, self._position = bytearray(), 0

    def write(self, data: bytes) -> None:
        self._gathered += data
        self._position += len(data)
        if len(self._gathered) > _WHOLE:
            self.flush()

    def flush(self) -> None:
        self._stream.write(self._gathered)
        self._stream.flush()
        self._gathered.clear()

    def pad(self, to: int) -> None:
        self.write(bytes(-self._position % to))

    def copy(self, entry: Entry) -> None:
        """Write a file's contents. Raises TreeError when it is not as long as it was."""
        length = 0
        for piece in _contents(entry):
            length += len(piece)
            self.write(piece)
            self._wrote(len(piece))
        if length != entry.size:
            raise TreeError(f"{entry.source}: it changed while it was read")


def _contents(entry: Entry) -> Iterator[bytes]:
    if entry.source is None:
        yield entry.content
        return
    try:
        descriptor = os.open(entry.source, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        with open(descriptor, "rb", buffering=0) as file:
            while piece := file.read(_PIECE):
                yield piece
    except OSError as error:
        raise TreeError(f"{entry.source}: {error.strerror}") from None
