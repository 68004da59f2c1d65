"""Finds out, by doing it, how layers can be made on the volume."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.nfs import mounts
from appliance.nfs.image import Image
from appliance.nfs.overlay import Overlay
from appliance.nfs.way import NoWay, Place, Way

PROBE = ".probe-"  # folders of this prefix in machines/ are ours to delete
_WORDS = b"written by a machine"

_REASONS = {
    errno.EPERM: "the container lacks the capability SYS_ADMIN, or a security module denies mounts",
    errno.EACCES: "a security module (SELinux, AppArmor) denies it",
    errno.EINVAL: "not on this file system, which has no trusted.* attributes or is overlayfs "
    "itself",
    errno.ENODEV: "the kernel has no such file system",
    errno.EOPNOTSUPP: "this file system has no file handles",
    errno.EROFS: "the volume is read-only",
    errno.ENOSPC: "no space is left on the volume",
}
# The container's /dev: tmpfs elsewhere in it is mounted nodev.
DEVICES = Path("/dev/bootdrop")
_LOOP_RULES = (
    "device_cgroup_rules: ['c 10:237 rmw', 'b 7:* rmw'] in compose.yaml gives the container loop "
    "devices"
)


@dataclass(frozen=True)
class Ways:
    """The ways that work; none: NFS cannot be offered. `said` is one line about it."""

    every: tuple[Way, ...]  # the one that new layers are made by first
    said: str

    @property
    def best(self) -> Way | None:
        """How new layers are made."""
        return self.every[0] if self.every else None

    def named(self, name: str) -> Way | None:
        """Return how the layers of layer.json's `way` are mounted."""
        return next((way for way in self.every if way.name == name), None)


def find(machines: Path, layer_size: int, devices: Path = DEVICES) -> Ways:
    """Try each way in a folder of its own in machines/; `layer_size` is in bytes.

    `devices` is for device files. Image files are tried where overlayfs fails, or where layers of
    that kind are there.
    """
    try:
        kind = mounts.file_system(machines)
    except OSError as error:
        return Ways((), f"roots over NFS: boot/machines: {error.strerror}")
    overlay = Overlay()
    refused = _refusal(overlay, machines)
    if refused is None:
        every: tuple[Way, ...] = (overlay,)
        if (machines / ".bases").exists():
            image = Image(machines, devices, layer_size)
            every += (image,) if _refusal(image, machines) is None else ()
        return Ways(every, f"machines' layers: overlayfs on {kind}")
    image = Image(machines, devices, layer_size)
    no_image = _refusal(image, machines)
    if no_image is None:
        shared = "sharing blocks" if kind in ("xfs", "btrfs", "bcachefs") else "copied whole"
        return Ways(
            (image,),
            f"machines' layers: image files, {shared}, as overlayfs cannot be exported from "
            f"boot/machines ({kind}): {refused}",
        )
    return Ways(
        (),
        f"roots over NFS: no way to make machines' layers in boot/machines ({kind}): overlayfs: "
        f"{refused}; image files: {no_image}: put boot/ on ext4, xfs or btrfs",
    )


def _refusal(way: Overlay | Image, machines: Path) -> str | None:
    """Return why a way does not work; None where it does."""
    try:
        with _probe(machines) as probe:
            _try(way.for_probe(probe) if isinstance(way, Image) else way, probe)
    except NoWay as error:
        return str(error)
    except OSError as error:
        return reason(way, error)
    return None


def reason(way: Way, error: OSError) -> str:
    """Say why the system refused a layer, and what to do where that is known."""
    if isinstance(way, Image) and error.errno in (errno.EPERM, errno.ENXIO, errno.ENOENT):
        return f"no loop device ({error.strerror}): {_LOOP_RULES}"
    said = _REASONS.get(error.errno or 0)
    return f"{error.strerror}: {said}" if said else f"{error.filename}: {error.strerror}"


@contextmanager
def _probe(machines: Path) -> Iterator[Path]:
    folder = Path(tempfile.mkdtemp(prefix=PROBE, dir=machines))
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


def _try(way: Way, probe: Path) -> None:
    """Make a layer, write to it, mount it again and read it. Raises OSError, NoWay."""
    tree, layer, point = probe / "0123456789abcdef" / "tree", probe / "layer", probe / "mounted"
    for folder in (tree, layer, point):
        folder.mkdir(parents=True)
    (tree / "file").write_bytes(b"as it was built")
    place = Place(layer, tree, point)
    way.make(tree, layer)
    way.mount(place, "bootdrop-probe")
    try:
        mounts.require_handles(point / "file")
        (point / "file").write_bytes(_WORDS)
        os.mkfifo(point / "fifo")
    finally:
        mounts.unmount(point)
    way.mount(place, "bootdrop-probe")
    try:
        kept = (point / "file").read_bytes()
    finally:
        mounts.unmount(point)
    if kept != _WORDS or (tree / "file").read_bytes() == _WORDS:
        raise NoWay("what was written to a layer was not found in it again")
