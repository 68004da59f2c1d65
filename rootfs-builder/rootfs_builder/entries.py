"""What a tree holds, in an order of its own: what every archive and the tree's ID are made from."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

_MOST_LINKS = 40  # as the kernel: MAXSYMLINKS in include/linux/namei.h
LATEST = 2**32 - 1  # the last second that a cpio can name
# Holes and empty files, which a script makes in no time, would take the builder days, or all of its
# memory: an entry has some 600 bytes. The largest installations have half a million.
_MOST_ENTRIES = 1_000_000
_LARGEST = 256 << 30  # bytes of all files together
_MOST_XATTRS = 64 << 20  # bytes, too
_LABEL = "security.selinux"  # the machine's that builds, not the tree's


class TreeError(Exception):
    """A tree that cannot be read, or changed meanwhile: what, where, in one line."""


@dataclass(frozen=True, slots=True)
class Entry:
    """One name in a tree.

    path     relative to the root, as bytes; b"" is the root itself.
    mode     type and permissions, as st_mode.
    mtime    seconds since the epoch.
    device   number of a device node, else 0.
    target   what a symbolic link says, else b"".
    source   the file with the contents; None for what is no regular file, or one that is `content`.
    same_as  the path of an earlier hard link to the same file, whose contents it shares.
    links    how many names the file has in this tree.
    """

    path: bytes
    mode: int
    uid: int = 0
    gid: int = 0
    size: int = 0
    mtime: int = 0
    device: int = 0
    target: bytes = b""
    source: Path | None = None
    content: bytes = b""
    same_as: bytes | None = None
    links: int = 1
    xattrs: tuple[tuple[str, bytes], ...] = ()


def walk(tree: Path) -> list[Entry]:
    """Return a tree's root and all below it, each folder before what it holds, sorted by bytes.

    Sockets are left out: no archive has them, and whoever listens makes them. Raises TreeError,
    also for a tree that is too large to be meant.
    """
    try:
        return _joined(_bounded(_names(tree)))
    except OSError as error:
        raise TreeError(f"{_shown(os.fsdecode(error.filename))}: {error.strerror}") from None


def _shown(path: str) -> str:
    return path if len(path) < 300 else f"…{path[-100:]}"


def _names(tree: Path) -> Iterator[tuple[Entry, tuple[int, int]]]:
    todo = [(tree, b"")]
    while todo:
        file, path = todo.pop()
        mode = file.lstat().st_mode
        if stat.S_ISSOCK(mode):
            continue
        yield _entry(file, path)
        if stat.S_ISDIR(mode):
            prefix = path + b"/" if path else b""
            below = sorted(os.listdir(os.fsencode(file)), reverse=True)
            todo += [(file / os.fsdecode(name), prefix + name) for name in below]


def _bounded(
    names: Iterable[tuple[Entry, tuple[int, int]]],
) -> Iterator[tuple[Entry, tuple[int, int]]]:
    """Pass names on until there are more than a machine can boot."""
    size = xattrs = 0
    for number, (entry, inode) in enumerate(names, 1):
        size += entry.size // entry.links
        xattrs += sum(len(value) for _, value in entry.xattrs)
        shown = _shown(os.fsdecode(entry.path))
        if size > _LARGEST:
            raise TreeError(
                f"{shown}: with it the files are longer than {_LARGEST >> 30} GiB (holes count);"
                " delete it by `run:`"
            )
        if number > _MOST_ENTRIES:
            raise TreeError(f"{shown}: with it there are more than {_MOST_ENTRIES} files")
        if xattrs > _MOST_XATTRS:
            raise TreeError(
                f"{shown}: with it extended attributes are longer than {_MOST_XATTRS >> 20} MiB"
            )
        yield entry, inode


def _entry(file: Path, path: bytes) -> tuple[Entry, tuple[int, int]]:
    """Return a name, and what tells its file from others."""
    found = file.lstat()
    is_file, is_link = stat.S_ISREG(found.st_mode), stat.S_ISLNK(found.st_mode)
    is_device = stat.S_ISCHR(found.st_mode) or stat.S_ISBLK(found.st_mode)
    entry = Entry(
        path=path,
        mode=found.st_mode,
        uid=found.st_uid,
        gid=found.st_gid,
        size=found.st_size if is_file else 0,
        mtime=min(max(0, int(found.st_mtime)), LATEST),
        device=found.st_rdev if is_device else 0,
        target=os.readlink(os.fsencode(file)) if is_link else b"",
        source=file if is_file else None,
        links=found.st_nlink if is_file else 1,
        xattrs=_xattrs(file),
    )
    return entry, (found.st_dev, found.st_ino)


def _xattrs(file: Path) -> tuple[tuple[str, bytes], ...]:
    try:
        names = os.listxattr(file, follow_symlinks=False)
    except OSError as error:
        if error.errno == errno.ENOTSUP:  # the volume's file system has none
            return ()
        raise
    return tuple(
        (name, os.getxattr(file, name, follow_symlinks=False))
        for name in sorted(names)
        if name != _LABEL
    )


def _joined(names: Iterable[tuple[Entry, tuple[int, int]]]) -> list[Entry]:
    """Tie hard links together; a link from outside of the tree does not count."""
    entries, places = list[Entry](), dict[tuple[int, int], list[int]]()
    for place, (entry, inode) in enumerate(names):
        entries.append(entry)
        if entry.links > 1:
            places.setdefault(inode, []).append(place)
    for linked in places.values():
        first = entries[linked[0]].path
        for place in linked:
            same_as = None if place == linked[0] else first
            entries[place] = replace(entries[place], same_as=same_as, links=len(linked))
    return entries


def merged(entries: Iterable[Entry], more: Iterable[Entry]) -> list[Entry]:
    """Return a tree with more names: what the tree has already stays, folders before contents."""
    found = {entry.path: entry for entry in more}
    found |= {entry.path: entry for entry in entries}
    return sorted(found.values(), key=lambda entry: entry.path.split(b"/") if entry.path else [])


def resolve(tree: Path, path: str) -> Path:
    """Return where a path leads for a process whose root is the tree: never out of it.

    What does not exist is kept as it is. Raises TreeError for links in a circle.
    """
    todo, done, links = path.split("/"), list[str](), 0
    while todo:
        name = todo.pop(0)
        if name == "..":
            done = done[:-1]
        elif name not in ("", "."):
            here = tree.joinpath(*done, name)
            if not here.is_symlink():
                done.append(name)
                continue
            links += 1
            if links > _MOST_LINKS:
                raise TreeError(f"{path}: links in a circle")
            target = os.readlink(here)
            done = [] if target.startswith("/") else done
            todo = target.split("/") + todo
    return tree.joinpath(*done)


def settle_times(tree: Path, newest: int) -> None:
    """Give what was changed after `newest` (seconds since the epoch) that time.

    What scriptlets write has the time of the build; without this, no build is like another.
    """
    for entry in walk(tree):
        if entry.mtime > newest:
            file = os.path.join(os.fsencode(tree), entry.path)
            os.utime(file, (newest, newest), follow_symlinks=False)
