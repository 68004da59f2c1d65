"""Makes the files that a root is booted from out of its tree: no mount, no loop device, no dd."""

from __future__ import annotations

import hashlib
import os
import shutil
import stat
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Literal

from rootfs_builder import archive, pipes
from rootfs_builder.entries import Entry, TreeError, merged, walk
from rootfs_builder.ext2 import EXT2_UUID, INODE_SIZE, Size, size_of
from rootfs_builder.manifest import FormatManifest

Progress = Callable[[str, int, int], None]  # step, bytes done, bytes in all

INIT_PROGRAM = Path("/usr/lib/rootfs-builder/init")  # from init/init.c
INIT_NOTES = b".bootdrop-init"  # what /init is told; it removes the file
_INSTEAD = b"init"
# gzip's 5: two thirds of the time of 6, and 1 % more than what `gzip -9` makes; 4 is 2 % more.
_LEVELS = {"gzip": 5, "zstd": 3}
_HIGHEST = {"gzip": 9, "zstd": 19}  # above, zstd needs a window that old kernels do not have
_PIECE = 1 << 20  # bytes
_FULL = 1 << 20  # bytes: a disk with less free is why a tool failed, whatever it says
_NODES = ((b"console", 0o600, 5, 1), (b"null", 0o666, 1, 3))  # admin-guide/devices.txt


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

    compression   of the cpio and squashfs: kernels before 5.9 have no zstd. ext2 is always gzip.
    level         of all compressors, as far as each goes; None: what is fast for its size.
    headroom_kib  free space in the ext2 file system.
    init          the program that takes over the machine, if the command line names no other.
    """

    compression: Literal["zstd", "gzip"] = "zstd"
    level: int | None = None
    headroom_kib: int = 65536
    init: str = "/sbin/init"

    def level_of(self, compression: str) -> int:
        """Return a level that this compressor has."""
        if self.level is None:
            return _LEVELS[compression]
        return min(max(1, self.level), _HIGHEST[compression])


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
    try:
        entries = walk(tree)
        made = {}
        for each in dict.fromkeys(formats):
            if each is Format.NFS:
                made[str(each)] = FormatManifest("tree")
            else:
                made[str(each)] = _MAKERS[each](entries, folder, options, progress)
        return made
    except (TreeError, pipes.ToolFailed) as error:
        raise RamdiskError(str(error)) from None
    except OSError as error:
        raise RamdiskError(f"{error.filename or folder}: {error.strerror}") from None


def make_ext2(
    entries: Sequence[Entry], file: Path, options: RamdiskOptions, progress: Progress
) -> Size:
    """Write a gzip-packed ext2 image; return its size. Raises TreeError, ToolFailed, OSError.

    One gzip member, as the kernel silently reads the first alone of an ext2 that has more.
    """
    size = size_of(entries, options.headroom_kib)
    image = file.with_name(f".{file.name}.image")
    # Of the tree alone, not of the day. No entry is newer, so mke2fs changes none of their times.
    environment = {"SOURCE_DATE_EPOCH": str(max(entry.mtime for entry in entries))}
    argv = ["mke2fs", "-q", "-F", "-t", "ext2", "-b", str(size.block), "-m", "0"]
    argv += [
        "-I",
        str(INODE_SIZE),
        "-N",
        str(size.inodes),
        "-O",
        "^resize_inode,^dir_index",
        "-U",
        EXT2_UUID,
    ]
    argv += ["-E", f"hash_seed={EXT2_UUID},root_owner=0:0", "-d", "-"]
    argv += [str(image), f"{size.kib}k"]
    try:
        with _on_a_disk(file):
            # As a file of holes: mke2fs gives other bytes over an older image.
            pipes.feed(argv, _archiving(archive.write_tar, entries, "ext2", progress), environment)
            pipes.pack(_gzip(options), _reading(image, "ext2: gzip", progress), file)
    finally:
        image.unlink(missing_ok=True)
    return size


def _ext2(
    entries: Sequence[Entry], folder: Path, options: RamdiskOptions, progress: Progress
) -> FormatManifest:
    file = folder / "ramdisk.ext2.gz"
    size = make_ext2(entries, file, options, progress)
    return describe(file, size.kib, "gzip")


def _cpio(
    entries: Sequence[Entry], folder: Path, options: RamdiskOptions, progress: Progress
) -> FormatManifest:
    suffix, packer = {"zstd": ("zst", _zstd), "gzip": ("gz", _gzip)}[options.compression]
    file = folder / f"ramdisk.cpio.{suffix}"
    unpacked = 0

    def write(stream: archive.Writer) -> None:
        nonlocal unpacked
        counted = _Counted(stream)
        _archiving(archive.write_cpio, with_init(entries, options.init), "cpio", progress)(counted)
        unpacked = counted.length

    with _on_a_disk(file):
        pipes.pack(packer(options), write, file)
    return describe(file, -(-unpacked // 1024), options.compression)


def _squashfs(
    entries: Sequence[Entry], folder: Path, options: RamdiskOptions, progress: Progress
) -> FormatManifest:
    file = folder / "root.squashfs"
    newest = str(max(entry.mtime for entry in entries))
    level = str(options.level_of(options.compression))
    argv = ["sqfstar", "-quiet", "-no-progress", "-reproducible", "-comp", options.compression]
    argv += ["-Xcompression-level", level, "-mem", "128M"]
    # It does not take them from the archive.
    root = entries[0]
    argv += ["-root-mode", f"{stat.S_IMODE(root.mode):o}", "-root-time", str(root.mtime)]
    argv += ["-root-uid", str(root.uid), "-root-gid", str(root.gid), str(file)]
    environment = {"SOURCE_DATE_EPOCH": newest}
    with _on_a_disk(file):
        pipes.feed(argv, _archiving(archive.write_tar, entries, "squashfs", progress), environment)
    # In memory it takes its own size: the kernel reads it packed.
    return describe(file, -(-file.stat().st_size // 1024), options.compression)


_MAKERS: dict[
    Format, Callable[[Sequence[Entry], Path, RamdiskOptions, Progress], FormatManifest]
] = {Format.EXT2: _ext2, Format.CPIO: _cpio, Format.SQUASHFS: _squashfs}


def with_init(entries: Sequence[Entry], init: str) -> list[Entry]:
    """Return a tree as an initramfs needs it: with /init, a console, and a place for modules.

    A cpio has no extended attributes, file capabilities among them: /init is told which to set.
    A tree's own /init stays, and then nobody sets them.
    """
    newest = max(entry.mtime for entry in entries)
    more = [
        Entry(b"dev/" + name, stat.S_IFCHR | mode, device=os.makedev(major, minor), mtime=newest)
        for name, mode, major, minor in _NODES
    ]
    more += [
        Entry(name, stat.S_IFDIR | 0o755, mtime=newest)
        for name in (b"dev", b"lib", b"proc", b"sys", b"run")
    ]
    if not any(entry.path == _INSTEAD for entry in entries):
        program = INIT_PROGRAM.read_bytes()
        for path, mode, content in (
            (_INSTEAD, 0o755, program),
            (INIT_NOTES, 0o600, notes(entries, init)),
        ):
            more.append(
                Entry(path, stat.S_IFREG | mode, size=len(content), mtime=newest, content=content)
            )
    return merged(entries, more)


def notes(entries: Sequence[Entry], init: str) -> bytes:
    """Return what /init reads, in hexadecimal as names may hold anything.

    Lines are `init PATH` and `xattr PATH NAME VALUE`; paths are relative to the root.
    """
    lines = [f"init {os.fsencode(init).hex()}"]
    for entry in entries:
        if not entry.same_as:
            path = (b"/" + entry.path).hex()
            lines += [f"xattr {path} {n.encode().hex()} {v.hex()}" for n, v in entry.xattrs if v]
    return "".join(f"{line}\n" for line in lines).encode()


def describe(file: Path, uncompressed_kib: int, compression: str) -> FormatManifest:
    """Return a made file's entry in root.json; the file may be read by all."""
    file.chmod(0o644)
    with file.open("rb") as stream:
        digest = hashlib.file_digest(stream, "sha256").hexdigest()
    return FormatManifest(file.name, file.stat().st_size, digest, uncompressed_kib, compression)


def _gzip(options: RamdiskOptions) -> list[str]:
    return ["pigz", "--no-name", f"-{options.level_of('gzip')}"]


def _zstd(options: RamdiskOptions) -> list[str]:
    return ["zstd", "-q", "-T0", f"-{options.level_of('zstd')}"]


def _archiving(
    write: Callable[[Sequence[Entry], archive.Writer, Callable[[int], None]], None],
    entries: Sequence[Entry],
    step: str,
    progress: Progress,
) -> Callable[[archive.Writer], None]:
    """Return what writes an archive into a stream and tells how far it is."""
    total = sum(entry.size for entry in entries if not entry.same_as)
    return lambda stream: write(entries, stream, _telling(step, total, progress))


def _reading(file: Path, step: str, progress: Progress) -> Callable[[archive.Writer], None]:
    """Return what copies a file into a stream and tells how far it is."""

    def writing(stream: archive.Writer) -> None:
        wrote = _telling(step, file.stat().st_size, progress)
        with file.open("rb", buffering=0) as source:
            while piece := source.read(_PIECE):
                stream.write(piece)
                wrote(len(piece))

    return writing


def _telling(step: str, total: int, progress: Progress) -> Callable[[int], None]:
    """Return what hears of bytes and tells of each hundredth."""
    done = told = 0

    def wrote(length: int) -> None:
        nonlocal done, told
        done += length
        if done - told >= total / 100 or done == total:
            told = done
            progress(step, done, total)

    progress(step, 0, total)
    return wrote


@contextmanager
def _on_a_disk(file: Path) -> Iterator[None]:
    """Tell of a full disk, which mke2fs calls an operation that is not permitted."""
    try:
        yield
    except pipes.ToolFailed as error:
        if shutil.disk_usage(file.parent).free < _FULL:
            raise RamdiskError(f"{file}: the disk is full ({error}); make room on it") from None
        raise


class _Counted:
    """A stream that knows how much went through it."""

    def __init__(self, stream: archive.Writer) -> None:
        self._stream, self.length = stream, 0

    def write(self, data: bytes | bytearray) -> int:
        self.length += len(data)
        return self._stream.write(data)

    def flush(self) -> None:
        self._stream.flush()
