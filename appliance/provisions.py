"""What the image brings into published/: the loaders of each firmware and the rescue roots."""

from __future__ import annotations

import filecmp
import hashlib
import json
from pathlib import Path, PurePosixPath

from appliance.catalog.model import Arch
from appliance.files import replace_file
from appliance.menu.entries import RescueRoot
from appliance.paths import Paths

_RESCUE = PurePosixPath("rescue")


def publish_loaders(paths: Paths) -> None:
    """Copy the loaders that differ from what is published, each by rename."""
    # Readable by in.tftpd and nginx, whatever the umask of who made it.
    paths.published.mkdir(parents=True, exist_ok=True)
    if paths.published.stat().st_mode & 0o777 != 0o755:  # a read-only volume may be right already
        paths.published.chmod(0o755)
    for source in sorted((paths.provisions / "loaders").iterdir()):
        _publish(source, paths.published, PurePosixPath(source.name))


def publish_rescue_roots(paths: Paths) -> tuple[RescueRoot, ...]:
    """Copy each architecture's rescue root to a folder of its version; return where they are."""
    roots = rescue_roots(paths.provisions / "rescue")
    for root in roots:
        brought = paths.provisions / "rescue" / root.arch
        for path in (root.cpio, root.ext2):
            _publish(brought / path.name, paths.published, path)
    return roots


def rescue_roots(folder: Path) -> tuple[RescueRoot, ...]:
    """Return where the rescue roots of a folder are published, one for each architecture in it."""
    return tuple(_rescue_root(folder / arch) for arch in Arch if (folder / arch).is_dir())


def _rescue_root(folder: Path) -> RescueRoot:
    description = (folder / "rescue.json").read_bytes()
    # The version is that of the contents, which the description has the checksums of.
    version = _RESCUE / folder.name / hashlib.sha256(description).hexdigest()[:16]
    return RescueRoot(
        arch=Arch(folder.name),
        cpio=version / "rescue.cpio.gz",
        ext2=version / "rescue.ext2.gz",
        ramdisk_size=int(json.loads(description)["ramdisk_size"]),
    )


def _publish(source: Path, folder: Path, path: PurePosixPath) -> None:
    target = folder / path
    is_ours = target.is_file() and target.resolve() == folder.resolve() / path  # behind no link
    # Compared in full once, then by size and time alone, as it is asked after each change.
    if not (is_ours and filecmp.cmp(source, target, shallow=False)):
        replace_file(folder, path, source.read_bytes())
