"""Finds out, by doing it, whether layers can be made in a folder."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from pathlib import Path

from appliance.layers import mounts, overlay
from appliance.layers.overlay import Place

PROBE = ".probe-"  # folders of this prefix beside layers are ours to delete
_WORDS = b"written by a machine"

_REASONS = {
    errno.EPERM: "the container lacks the capability SYS_ADMIN, or a security module denies mounts",
    errno.EACCES: "a security module (SELinux, AppArmor) denies it",
    errno.EINVAL: "not on this file system, which has no trusted.* attributes or is overlayfs "
    "itself",
    errno.ENODEV: "the kernel has no such file system",
    errno.EOPNOTSUPP: "this file system has no file handles",
    errno.EROFS: "the file system is read-only",
    errno.ENOSPC: "no space is left",
    errno.EDQUOT: "no space is left",
}


# What says nothing of layers: there is no room to try.
FULL = frozenset({errno.ENOSPC, errno.EDQUOT})


def refusal(folder: Path) -> str | None:
    """Return why no layers can be made in a folder; None where they can.

    Raises OSError with a number of `FULL` where that could not be tried.
    """
    try:
        probe = Path(tempfile.mkdtemp(prefix=PROBE, dir=folder))
        try:
            kept = _try(probe)
        finally:
            shutil.rmtree(probe)
    except OSError as error:
        if error.errno in FULL:
            raise
        return reason(error)
    return None if kept else "what was written to a layer was not found in it again"


def reason(error: OSError) -> str:
    """Say why the system refused a layer, and what that means where it is known."""
    said = _REASONS.get(error.errno or 0)
    return f"{error.strerror}: {said}" if said else f"{error.filename}: {error.strerror}"


def _try(probe: Path) -> bool:
    """Make a layer, write to it, mount it again; tell whether it was kept. Raises OSError."""
    tree, layer, point = probe / "tree", probe / "layer", probe / "mounted"
    for folder in (tree, layer, point):
        folder.mkdir()
    (tree / "file").write_bytes(b"as it was built")
    place = Place(layer, tree, point)
    overlay.make(tree, layer)
    overlay.mount(place, "bootdrop-probe")
    try:
        mounts.require_handles(point / "file")
        (point / "file").write_bytes(_WORDS)
        os.mkfifo(point / "fifo")
    finally:
        mounts.unmount(point)
    overlay.mount(place, "bootdrop-probe")
    try:
        kept = (point / "file").read_bytes()
    finally:
        mounts.unmount(point)
    return kept == _WORDS and (tree / "file").read_bytes() != _WORDS
