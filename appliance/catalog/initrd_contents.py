"""Tells who made an initrd, and whether it can mount NFS, by the names of what it holds."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from typing import BinaryIO

from appliance.catalog.decompress import Compression, Corrupt, decompress, pieces, recognise
from appliance.catalog.model import Initrd, InitrdMaker

_MAGICS = (b"070701", b"070702")
_HEADER = 110  # bytes of a newc header: the magic, and 13 numbers of 8 hex digits
_LOOK = 16  # bytes: enough of what comes next to tell it
_TRAILER = "TRAILER!!!"
_LONGEST_NAME = 4096  # bytes; PATH_MAX, beyond which init/initramfs.c makes nothing of it
# What is unpacked of an initrd at most, in bytes: large ones have 300 MB. lz4 is read by Python,
# some MB a second, and its initrds are told by their file's name.
_MOST = 1 << 29
_MOST_LZ4 = 16 << 20

# What dracut and initramfs-tools themselves put in, whatever they are told to leave out.
_MARKS = (
    (re.compile(r"(usr/)?lib/dracut(/.*)?|(usr/)?s?bin/dracut-[a-z]+"), InitrdMaker.DRACUT),
    (re.compile(r"scripts/functions|conf/initramfs\.conf"), InitrdMaker.INITRAMFS_TOOLS),
)
# dracut's module `nfs`; klibc's nfsmount, which scripts/nfs of initramfs-tools calls.
_MOUNTS = {
    InitrdMaker.DRACUT: re.compile(r"(usr/)?lib/nfs-lib\.sh"),
    InitrdMaker.INITRAMFS_TOOLS: re.compile(r"(usr/)?s?bin/nfsmount"),
}
_MODULE = re.compile(r"(usr/)?lib/modules/[^/]+/(.+/)?nfs\.ko(\.[a-z0-9]+)?")
# Debian's name, and Fedora's.
_NAMES = (
    (re.compile(r"initrd\.img-.+"), InitrdMaker.INITRAMFS_TOOLS),
    (re.compile(r"initramfs-\d.*\.img"), InitrdMaker.DRACUT),
)


class _NotWalked(Exception):
    """The names end before the initrd does."""


class _Reader:
    """Reads, passes over and looks ahead in what comes in pieces."""

    def __init__(self, source: Iterable[bytes]) -> None:
        self._source = iter(source)
        self._piece = b""
        self._at = 0

    def read(self, size: int, /) -> bytes:
        """Return `size` bytes, fewer at the end."""
        taken = bytearray()
        while len(taken) < size and self._more():
            part = self._piece[self._at : self._at + size - len(taken)]
            self._at += len(part)
            taken += part
        return bytes(taken)

    def skip(self, size: int) -> None:
        """Pass over `size` bytes."""
        while size > 0 and self._more():
            step = min(size, len(self._piece) - self._at)
            self._at += step
            size -= step

    def behind_padding(self) -> bytes:
        """Pass over bytes of 0; return the 16 that follow, which stay to be read."""
        while self._more():
            left = self._piece[self._at :].lstrip(b"\0")
            self._at = len(self._piece) - len(left)
            if left:
                break
        head = self.read(_LOOK)
        self._piece, self._at = head + self._piece[self._at :], 0
        return head

    def _more(self) -> bool:
        while self._at >= len(self._piece):
            piece = next(self._source, None)
            if piece is None:
                return False
            self._piece, self._at = piece, 0
        return True


def survey(stream: BinaryIO, initrd: Initrd, filename: str) -> Initrd:
    """Return what is known of an initramfs: who made it, and what it has for a root over NFS.

    `stream` is the file, `filename` its last part in the drop folder, which decides where the
    contents cannot be read to their end. Unpacks 512 MiB at most, in constant memory.
    """
    made_by: InitrdMaker | None = None
    module = False
    mounts: set[InitrdMaker] = set()
    stream.seek(0)
    try:
        for name in _names(_Reader(pieces(stream))):
            made_by = made_by or next((who for mark, who in _MARKS if mark.fullmatch(name)), None)
            mounts |= {who for who, mark in _MOUNTS.items() if mark.fullmatch(name)}
            module = module or _MODULE.fullmatch(name) is not None
    except (_NotWalked, Corrupt, ValueError):
        if made_by is None:
            made_by = next((who for name, who in _NAMES if name.fullmatch(filename)), None)
        return replace(initrd, made_by=made_by)
    return replace(initrd, made_by=made_by, nfs_mount=made_by in mounts, nfs_module=module)


def _names(reader: _Reader, *, packed: bool = False) -> Iterator[str]:
    """Yield the names of all archives that follow each other, as init/initramfs.c reads them.

    Those that are not packed (microcode, modules that are packed themselves) come before the packed
    one. What may follow that is not looked at: where there is something, beyond what its decoder
    read along, not all names are known.
    """
    while head := reader.behind_padding():
        if head.startswith(_MAGICS):
            yield from _archive(reader)
            continue
        compression = recognise(head)
        if packed or compression is None or compression is Compression.LZOP:
            raise _NotWalked
        most = _MOST_LZ4 if compression is Compression.LZ4 else _MOST
        unpacked = _limited(decompress(reader, compression, most + 1), most)
        yield from _names(_Reader(unpacked), packed=True)
        if reader.behind_padding():
            raise _NotWalked
        return


def _limited(source: Iterable[bytes], most: int) -> Iterator[bytes]:
    for piece in source:
        most -= len(piece)
        if most < 0:
            raise _NotWalked
        yield piece


def _archive(reader: _Reader) -> Iterator[str]:
    """Yield the names of one archive, without its trailer's; raises ValueError for no numbers."""
    while True:
        header = reader.read(_HEADER)
        if len(header) < _HEADER or not header.startswith(_MAGICS):
            raise _NotWalked
        file_size, name_size = int(header[54:62], 16), int(header[94:102], 16)
        if name_size > _LONGEST_NAME:
            raise _NotWalked
        name = reader.read(name_size).rstrip(b"\0").decode("utf-8", "replace")
        reader.skip(-(_HEADER + name_size) % 4)
        if name == _TRAILER:
            return
        reader.skip(file_size + -file_size % 4)
        yield name.removeprefix("./")
