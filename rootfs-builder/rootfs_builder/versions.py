"""The versions of one root: roots/NAME/ID/, immutable, and the link `current`.

A version is made aside, in a folder whose name begins with a dot, and shown by one rename. What a
crash left behind has such a name too, and goes at the next start.

A version's tree/ is for ever the same folder: machines run from it over NFS, and an overlay that is
mounted on it, or mounted again, knows it by its inode (Documentation/filesystems/overlayfs.rst,
"Changes to underlying filesystems").
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
TREE = "tree"
_MANIFEST = "root.json"  # says what the other files are
_MAKING = ".new-"
_REPLACING = ".replacing-"
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

    Where the same contents are there already, the tree stays, and what was made beside it takes
    the place of what was: it may have been asked for other formats.
    """
    os.sync()  # what is seen after a power cut is whole
    made.chmod(0o755)
    if (root / version / TREE).is_dir():
        replacing = root / f"{_REPLACING}{version}"
        if replacing.exists():
            _delete(root, replacing)
        os.rename(made, replacing)  # from here on a crash does not matter: sweep() goes on
        _replace_beside_tree(root, version)
    else:
        if (root / version).exists():  # somebody deleted its tree
            _delete(root, root / version)
        os.rename(made, root / version)
    _make_current(root, version)


def _replace_beside_tree(root: Path, version: str) -> None:
    """Give a version the files of its replacement; done in part before, it does the rest.

    Files are linked, not moved: the replacement tells until the end which ones there have to be.
    The manifest comes when all that it names is there.
    """
    replacing, place = root / f"{_REPLACING}{version}", root / version
    names = {one.name for one in replacing.iterdir()} - {TREE}
    for name in sorted(names, key=_MANIFEST.__eq__):
        aside = place / f"{_MAKING}{name}"
        aside.unlink(missing_ok=True)
        os.link(replacing / name, aside)
        os.replace(aside, place / name)
        aside.unlink(missing_ok=True)  # rename(2) leaves it where both are one file already
    for left in place.iterdir():
        if left.name not in {TREE, *names}:
            left.unlink()
    _delete(root, replacing)


def _make_current(root: Path, version: str) -> None:
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
    """Delete what a crash left half made or half deleted; finish a replacement. Raises OSError."""
    for replacing in root.glob(f"{_REPLACING}*"):
        version = replacing.name.removeprefix(_REPLACING)
        if (root / version).is_dir():
            _replace_beside_tree(root, version)
            _make_current(root, version)
        else:  # somebody deleted what it was to replace
            _delete(root, replacing)
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
