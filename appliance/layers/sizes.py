"""How much is in a folder that a machine writes to.

A machine's root may have folders of any depth, links and fifos in it: du(1) neither follows nor
opens them, and goes deeper than paths can be long (fts(3) with FTS_CWDFD).
"""

from __future__ import annotations

import errno
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.run import CommandFailed, run_here

_PATIENCE = 300.0  # seconds; a machine can make its layer as large as it likes
_AT_ONCE = 500  # folders for one du: far below the limit of a command line


@dataclass(frozen=True)
class Size:
    """What a layer has of its own."""

    files: int  # and folders, links, …
    bytes: int  # on the disk


def du_marks(folders: Sequence[Path]) -> tuple[str, ...]:
    """Return entries and newest change of each folder's, as text to be compared. Raises OSError."""
    found = _du(folders, ("--inodes", "--time=ctime", "--time-style=+%s.%N"), values=2)
    return tuple(found.get(str(each), "").replace("\t", " ") for each in folders)


def du_sizes(folders: Sequence[Path]) -> tuple[Size | None, ...]:
    """Return entries and bytes of each folder's. Raises OSError."""
    files = _du(folders, ("--inodes",))
    sizes = _du(folders, ("--block-size=1",))
    return tuple(
        Size(int(files[name]), int(sizes[name])) if name in files and name in sizes else None
        for name in map(str, folders)
    )


def _du(folders: Sequence[Path], options: Sequence[str], values: int = 1) -> dict[str, str]:
    """Return what du says of each folder that there is, so many values, by its path."""
    found: dict[str, str] = {}
    for first in range(0, len(folders), _AT_ONCE):
        argv = ["du", "--summarize", "--one-file-system", "--count-links", "--null", *options, "--"]
        argv += map(str, folders[first : first + _AT_ONCE])
        try:
            # 1: something went away meanwhile, as machines write on.
            said = run_here(argv, accepted=(0, 1), timeout=_PATIENCE)
        except CommandFailed as failed:
            raise OSError(errno.EIO, str(failed)[-200:], str(folders[first])) from None
        lines = (line.split("\t", values) for line in said.split("\0") if line)
        found |= {path: "\t".join(value) for *value, path in lines}
    return found
