"""How large an ext2 file system must be to hold a tree."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from dataclasses import dataclass

from rootfs_builder.entries import Entry

EXT2_UUID = "b007d409-0000-4000-8000-000000000002"  # no two are told apart by it
_BLOCK = 4096
_DIRECT = 12  # blocks that an inode names itself (fs/ext2/ext2.h)
_POINTERS = _BLOCK // 4  # in an indirect block
_FAST_LINK = 60  # bytes of a link's target that an inode holds itself
# The kernel's ext2 does not see extended attributes inside of larger inodes (fs/ext2/xattr.c).
INODE_SIZE = 128
_INODES_IN_BLOCK = _BLOCK // INODE_SIZE
_RATIO_KIB = 16  # free space for each free inode: mke2fs's own inode_ratio
_RESERVED_INODES = 11  # up to and with lost+found
_FIXED_BLOCKS = 512  # superblock, lost+found, and what a small file system needs at least


@dataclass(frozen=True)
class Size:
    """Of a file system: bytes of a block, KiB in all, number of inodes."""

    block: int
    kib: int
    inodes: int


def size_of(entries: Iterable[Entry], headroom_kib: int) -> Size:
    """Return what a tree needs, and `headroom_kib` of free space with inodes for it."""
    blocks = inodes = 0
    names = dict[bytes, int]()
    for entry in entries:
        folder, _, name = entry.path.rpartition(b"/")
        names[folder] = names.get(folder, 0) + 8 + len(name) + 3
        if not entry.same_as:
            inodes += 1
            blocks += _blocks(entry)
    # A name does not cross the end of a block: of each, up to a name may be lost.
    blocks += sum(-(-length // (_BLOCK - 264)) for length in names.values())
    inodes = round(inodes * 1.05) + 64 + _RESERVED_INODES + headroom_kib // _RATIO_KIB
    blocks = round((blocks + inodes / _INODES_IN_BLOCK) * 1.02) + _FIXED_BLOCKS
    return Size(_BLOCK, blocks * (_BLOCK // 1024) + headroom_kib, inodes)


def _blocks(entry: Entry) -> int:
    """Return what one inode takes: contents, what points to them, attributes, a folder's first."""
    size = entry.size
    if stat.S_ISLNK(entry.mode) and len(entry.target) >= _FAST_LINK:
        size = len(entry.target)
    data = -(-size // _BLOCK)
    indirect, left = 0, data - _DIRECT
    if left > 0:
        indirect = 1 + -(-left // _POINTERS) + -(-left // _POINTERS**2) if left > _POINTERS else 1
    attributes = 1 if entry.xattrs else 0
    return data + indirect + attributes + (1 if stat.S_ISDIR(entry.mode) else 0)
