"""Puts a kernel's modules into a layer, through its mount; never into a root's version."""

from __future__ import annotations

import gzip
import secrets
import stat
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

from appliance.files import (
    delete_inside,
    link_at,
    names_in,
    put_file,
    put_folder,
    read_file,
    rename_inside,
)
from appliance.layers import mounts
from appliance.layers.newc import BrokenArchive, Member, members

_ARCHIVED = PurePosixPath("lib/modules")  # where the builder's archive has them
_USR_MERGED = ("usr/lib", "/usr/lib")  # what /lib is a link to where it is one
_MARK = ".bootdrop"  # which archive a folder was made from
_ASIDE = ".bootdrop-new-"
_LARGEST = 4 << 30  # bytes unpacked: a distribution's have half of one
_MOST_FILES = 100_000


class ModulesNotPut(Exception):
    """Modules that a layer does not get; one line says which and why."""


def put_modules(layer: Path, archive: Path, version: str) -> bool:
    """Have the modules of the kernel `version` in lib/modules of a mounted layer.

    `archive` is modules.cpio.gz in the folder that has its ID for a name, as the root builder makes
    it. Returns whether they were put there now; if they are there already it reads one file. They
    appear by one rename, in place of others of that version. Raises ModulesNotPut, OSError.
    """
    if PurePosixPath(version).parts != (version,) or version in ("/", ".."):
        raise ModulesNotPut(f"{archive}: {version!r} is no version of a kernel")
    place = _modules_folder(layer)
    mark = archive.parent.name.encode()
    if read_file(layer, place / version / _MARK, len(mark)) == mark:
        return False
    _sweep(layer, place)
    aside = place / f"{_ASIDE}{secrets.token_hex(8)}"
    try:
        with _one_line(archive):
            _unpack(layer, aside, archive, version)
        put_file(layer, aside / _MARK, (mark,))
        mounts.sync(layer)  # what has the mark is whole after a power cut, too
        # Not renamed away: overlayfs refuses that for a folder of the lower tree (EXDEV).
        delete_inside(layer, place / version)
        rename_inside(layer, aside, place / version)
    except BaseException:
        delete_inside(layer, aside)
        raise
    return True


def _modules_folder(layer: Path) -> PurePosixPath:
    """Return lib/modules, inside; one link is followed, and only to where it leads everywhere."""
    if link_at(layer, PurePosixPath("lib")) in _USR_MERGED:
        return PurePosixPath("usr/lib/modules")
    return _ARCHIVED


def _sweep(layer: Path, place: PurePosixPath) -> None:
    """Delete what a crash left half unpacked."""
    for name in names_in(layer, place):
        if name.startswith(_ASIDE):
            delete_inside(layer, place / name)


def _unpack(layer: Path, aside: PurePosixPath, archive: Path, version: str) -> None:
    size = files = 0
    for member, path in _read(archive, version):
        size, files = size + member.size, files + 1
        if size > _LARGEST or files > _MOST_FILES:
            raise BrokenArchive("holds more than a kernel's modules can be")
        if stat.S_ISDIR(member.mode):
            put_folder(layer, aside / path)
        else:
            put_file(layer, aside / path, member.pieces)
    if not files:
        raise BrokenArchive(f"has no {_ARCHIVED}/{version}")


def _read(archive: Path, version: str) -> Iterator[tuple[Member, PurePosixPath]]:
    """Yield what an archive has, each with its path in lib/modules/VERSION."""
    home = _ARCHIVED / version
    with archive.open("rb") as packed, gzip.GzipFile(fileobj=packed) as stream:
        for member in members(stream):
            path = PurePosixPath(member.name)
            is_folder = stat.S_ISDIR(member.mode) and not member.size
            is_file = stat.S_ISREG(member.mode) and member.links == 1
            if ".." in path.parts or str(path) != member.name:
                raise BrokenArchive(f"{member.name!r} is no plain path")
            if not is_folder and not is_file:
                raise BrokenArchive(f"{member.name!r} is no file and no folder")
            if path.is_relative_to(home):
                yield member, path.relative_to(home)
            elif path not in home.parents:
                raise BrokenArchive(f"{member.name!r} is not in {home}")
        if stream.read(1):  # which at the end checks the sum over all
            raise BrokenArchive("goes on behind its end")


@contextmanager
def _one_line(archive: Path) -> Iterator[None]:
    """Turn what can be wrong with an archive into ModulesNotPut."""
    try:
        yield
    except (BrokenArchive, gzip.BadGzipFile, zlib.error, EOFError) as error:
        raise ModulesNotPut(f"{archive}: {error}") from None
