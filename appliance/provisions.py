"""What the image brings into published/: the loaders of each firmware and the rescue root."""

from __future__ import annotations

import filecmp
import hashlib
import json
import os
import shutil
from pathlib import Path, PurePosixPath

from appliance.menu import RescueRoot
from appliance.paths import Paths

_RESCUE = PurePosixPath("rescue")


def publish_loaders(paths: Paths) -> None:
    """Copy the loaders that differ from what is published, each by rename."""
    # Readable by in.tftpd and nginx, whatever the umask of who made it.
    paths.published.mkdir(parents=True, exist_ok=True)
    paths.published.chmod(0o755)
    for source in sorted((paths.provisions / "loaders").iterdir()):
        target = paths.published / source.name
        if not (target.is_file() and filecmp.cmp(source, target, shallow=False)):
            _copy(source, target)


def publish_rescue_root(paths: Paths) -> RescueRoot:
    """Copy the rescue root to a folder of its version, and return where it is."""
    root = rescue_root(paths.provisions / "rescue")
    for source, path in ((root.cpio, "rescue.cpio.gz"), (root.ext2, "rescue.ext2.gz")):
        target = paths.published / source
        if not target.is_file():
            target.parent.mkdir(parents=True, exist_ok=True)
            _copy(paths.provisions / "rescue" / path, target)
    return root


def rescue_root(folder: Path) -> RescueRoot:
    """Return where the rescue root of a folder is published; its version is its contents'."""
    description = (folder / "rescue.json").read_bytes()
    version = _RESCUE / hashlib.sha256(description).hexdigest()[:16]
    return RescueRoot(
        cpio=version / "rescue.cpio.gz",
        ext2=version / "rescue.ext2.gz",
        ramdisk_size=int(json.loads(description)["ramdisk_size"]),
    )


def _copy(source: Path, target: Path) -> None:
    aside = target.with_name(f".{target.name}.new")
    shutil.copyfile(source, aside)
    aside.chmod(0o644)
    os.replace(aside, target)
