"""A layer as overlayfs: the version's tree below, what a machine writes above; made in no time."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from appliance.layers import mounts
from appliance.layers.sizes import Size, du_marks, du_sizes

_UPPER, _WORK = "upper", "work"

# Documentation/filesystems/overlayfs.rst:
#   nfs_export  files have handles that outlive a new mount; needs index, and no metacopy.
#   index       one upper belongs to one mount, and to the lower that it began with.
#   redirect_dir  a folder of the version can be renamed, as dpkg and rpm do; EXDEV otherwise. Is
#               good with nfs_export where there is an upper (xfstests overlay/052 to 055).
#   xino        a tree is on another file system than most layers: else its files have that one's
#               device number, and nfs-ganesha answers NFS3ERR_XDEV. `on`, as `auto` is off where
#               inode numbers may be of 64 bits.
# Not: volatile, which answers fsync at once; userxattr, with which a machine could write, by the
# user.* attributes that NFS 4.2 has, what overlayfs believes.
_OPTIONS = "index=on,nfs_export=on,metacopy=off,redirect_dir=on,xino=on"


@dataclass(frozen=True)
class Place:
    """Where a layer is: its own folder, the version's tree below it, and the mount."""

    folder: Path
    tree: Path
    point: Path


def make(tree: Path, folder: Path) -> None:
    """Make what a layer consists of in an empty folder. Raises OSError."""
    with mounts.by_descriptor(tree):  # it is there, and no link
        (folder / _UPPER).mkdir()
    # The root of the mount is this folder: its owner and mode are those of the machine's /.
    status = tree.stat()
    (folder / _UPPER).chmod(status.st_mode & 0o7777)
    (folder / _WORK).mkdir(mode=0o700)


def mount(place: Place, source: str) -> None:
    """Mount a layer. Raises OSError: ESTALE over another tree than it was made over.

    EBUSY while another mount has it, of which nobody can see: a dead container's, that the
    kernel's NFS server still remembers.
    """
    below = (place.tree, place.folder / _UPPER, place.folder / _WORK)
    with mounts.by_descriptor(*below) as (lower, upper, work):
        layers = f"lowerdir={lower},upperdir={upper},workdir={work}"
        mounts.mount(source, place.point, "overlay", f"{_OPTIONS},{layers}")
    try:
        # Where a file system below has no handles, overlayfs goes without and mounts all the
        # same.
        mounts.require_handles(place.point)
    except OSError:
        mounts.unmount(place.point)
        raise


def marks(places: Sequence[Place]) -> tuple[str, ...]:
    """Return for each layer what changes when somebody writes to it. Raises OSError."""
    return du_marks([place.folder / _UPPER for place in places])


def sizes(places: Sequence[Place]) -> tuple[Size | None, ...]:
    """Return what each layer has of its own. Raises OSError."""
    return du_sizes([place.folder / _UPPER for place in places])
