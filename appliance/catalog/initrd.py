"""Tells what kind of initrd a file is, from its beginning alone."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import BinaryIO

from appliance.catalog.decompress import Compression, Corrupt, decompress, recognise
from appliance.catalog.model import Initrd, RamdiskFormat

_HEAD = 2048  # bytes: a cpio's first header, or boot block and superblock of an ext2
_CPIO = (b"070701", b"070702")  # newc, without and with checksums: all that init/initramfs.c reads
_MOST_KIB = 64 << 20  # 64 GiB: more than any machine that boots from memory has
_NEITHER = "neither a cpio archive nor an ext2 file system, as an initrd must be"


@dataclass(frozen=True)
class NotAnInitrd:
    """A file with an initrd's name that no kernel could unpack."""

    reason: str


def _ramdisk_size(head: bytes) -> int | None:
    """Return KiB of the ext2 that begins so (struct ext2_super_block, fs/ext2/ext2.h)."""
    blocks, log_block_size = struct.unpack_from("<I16xI", head, 1024 + 4)
    if blocks == 0 or log_block_size > 6:
        return None
    kib: int = blocks << log_block_size
    return kib if kib <= _MOST_KIB else None


def _content(head: bytes, packed: str) -> Initrd | NotAnInitrd:
    if head.startswith(_CPIO):
        return Initrd(RamdiskFormat.CPIO)
    if head.startswith(b"070707"):
        return NotAnInitrd("a cpio archive of the old format: make it with `cpio -H newc`")
    if len(head) == _HEAD and head[1080:1082] == b"\x53\xef":
        size = _ramdisk_size(head)
        if size is None:
            return NotAnInitrd("an ext2 file system whose superblock is broken")
        return Initrd(RamdiskFormat.EXT2, ramdisk_size=size)
    return NotAnInitrd(f"{packed}{_NEITHER}")


def identify(stream: BinaryIO) -> Initrd | NotAnInitrd:
    """Tell an initramfs from an ext2 image, packed or not, from a stream at its start.

    Unpacks at most 2 KiB, whatever lengths the file claims. What lies behind a leading cpio
    (microcode comes so) is left to the kernel; so is lzop, which is always taken for a cpio.
    """
    head = stream.read(_HEAD)
    compression = recognise(head)
    if compression is None:
        return _content(head, "")
    if compression is Compression.LZOP:
        return Initrd(RamdiskFormat.CPIO)
    stream.seek(0)
    unpacked = bytearray()
    try:
        for piece in decompress(stream, compression, _HEAD):
            unpacked += piece
    except Corrupt as error:
        if not unpacked:  # what is broken or foreign further behind is the kernel's to judge
            return NotAnInitrd(str(error))
    return _content(bytes(unpacked), f"{compression} data that hold ")
