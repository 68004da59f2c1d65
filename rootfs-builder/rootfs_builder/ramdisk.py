"""Makes the files that a root is booted from out of its tree: no mount, no loop device, no dd."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from rootfs_builder.manifest import FormatManifest

Progress = Callable[[str, int, int], None]  # step, bytes done, bytes in all


class RamdiskError(Exception):
    """A ramdisk that could not be made: what, where, what to do, in one line."""


class Format(StrEnum):
    """A way to boot a root, by its name in recipes and in root.json."""

    NFS = "nfs"
    EXT2 = "ext2"
    CPIO = "cpio"
    SQUASHFS = "squashfs"


@dataclass(frozen=True)
class RamdiskOptions:
    """What a recipe chooses.

    compression   of the cpio: kernels before 5.9 have no zstd. ext2 is always gzip.
    level         of all compressors, in their own numbers; None: what is fast for its size.
    headroom_kib  free space in the ext2 file system.
    init          the program that takes over the machine, if the command line names no other.
    """

    compression: Literal["zstd", "gzip"] = "zstd"
    level: int | None = None
    headroom_kib: int = 65536
    init: str = "/sbin/init"


def make(
    tree: Path,
    folder: Path,
    formats: Sequence[Format],
    options: RamdiskOptions,
    progress: Progress,
) -> dict[str, FormatManifest]:
    """Write a tree's files for `formats` into an existing folder; return root.json's "formats".

    The same tree gives the same bytes on any day. Raises RamdiskError; what was written until then
    is the caller's to remove.
    """
    raise NotImplementedError((tree, folder, formats, options, progress))
