"""The versions of one root: roots/NAME/ID/, immutable, and the link `current`.

A version is made aside, in a folder whose name begins with a dot, and shown by one rename. What a
crash left behind has such a name too, and goes at the next start.
"""

from __future__ import annotations

import errno
import os
import re
import subprocess
import tempfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path

CURRENT = "current"
_MAKING = ".new-"
_GOING = ".old-"
_ID = re.compile(r"[0-9a-f]{16}")


@contextmanager
def aside(root: Path) -> Iterator[Path]:
    """Give a folder beside the versions to make one in; at the end what is left is deleted."""
    root.mkdir(parents=True, exist_ok=True)
    folder = Path(tempfile.mkdtemp(prefix=_MAKING, dir=root))
    try:
        yield folder
    finally:
        _remove(folder)


def show(root: Path, made: Path, version: str) -> None:
    """Make `made` the root's current version. Raises OSError.

    Where the same contents are there already, what was made takes their place: it may have been
    asked for other formats.
    """
    os.sync()  # what is seen after a power cut is whole
    place = root / version
    made.chmod(0o755)
    if place.exists():
        going = Path(tempfile.mkdtemp(prefix=_GOING, dir=root))
        os.rename(place, going / version)
        os.rename(made, place)
        _remove(going)
    else:
        os.rename(made, place)
    link = root / f"{_MAKING}{CURRENT}"
    link.unlink(missing_ok=True)
    link.symlink_to(version)
    os.replace(link, root / CURRENT)


def current(root: Path) -> str | None:
    """Return the ID of the version that is shown, if it is there."""
    try:
        version = os.readlink(root / CURRENT)
    except OSError:
        return None
    return version if _ID.fullmatch(version) and (root / version).is_dir() else None


def prune(root: Path, keep: int, in_use: Collection[str]) -> None:
    """Delete versions but the current one, `keep` replaced ones, and those in use."""
    shown = current(root)
    if shown is None:
        return
    versions = [one for one in root.iterdir() if _ID.fullmatch(one.name) and one.is_dir()]
    versions.sort(key=lambda one: one.stat().st_mtime, reverse=True)
    replaced = [one for one in versions if one.name != shown and one.name not in in_use]
    for version in replaced[keep:]:
        # What belongs to it first: without it nobody would look for that.
        for folder in (*root.glob(f"{version.name}.modules"), version):
            _delete(root, folder)


def sweep(root: Path) -> None:
    """Delete what a crash left half made or half deleted.

    Where it came between the two renames of show(), the current version is aside: it comes back.
    """
    shown = root / os.readlink(root / CURRENT) if (root / CURRENT).is_symlink() else None
    if shown and _ID.fullmatch(shown.name) and not shown.exists():
        for whole in root.glob(f"{_GOING}*/{shown.name}"):
            os.rename(whole, shown)
            break
    for left in (*root.glob(f"{_MAKING}*"), *root.glob(f"{_GOING}*")):
        if left.is_symlink() or not left.is_dir():
            left.unlink()
        else:
            _remove(left)


def _delete(root: Path, folder: Path) -> None:
    """Take a folder out of sight by one rename, then delete it."""
    going = Path(tempfile.mkdtemp(prefix=_GOING, dir=root))
    os.rename(folder, going / folder.name)
    _remove(going)


def _remove(folder: Path) -> None:
    """Delete a folder, however deep a hostile script made it: rmtree has an end there, rm has none.

    Raises OSError.
    """
    argv = ["rm", "--recursive", "--force", "--one-file-system", "--", str(folder)]
    ended = subprocess.run(argv, check=False, capture_output=True, text=True, errors="replace")
    if ended.returncode:
        said = ended.stderr.strip().splitlines() or ["rm says nothing"]
        raise OSError(errno.EIO, said[-1][-200:], str(folder))
