"""One look at roots/: what was built, what is being built, and what cannot be used and why.

The builder alone writes there; no link in it is followed but `current`, which has to be the bare
name of a version beside it.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from appliance.catalog.openat import Fingerprint
from appliance.catalog.root import (
    LONGEST_MANIFEST,
    LONGEST_STATUS,
    MANIFEST,
    BrokenBuild,
    BrokenRoot,
    Build,
    BuildStatus,
    BuiltLayer,
    BuiltRoot,
    LayerManifest,
    RootManifest,
    RootsScan,
    built_at,
    is_root_name,
    read_json,
)
from appliance.files import open_file, read_file

MODULES = ".modules"  # layers of kernel modules: roots/.modules/ID/
LAYER = "modules.cpio.gz"
LAYER_MANIFEST = "manifest.json"

_CURRENT = "current"
_STATUS = "status.json"
_ID = re.compile(r"[0-9a-f]{16}")
_VARIANT = re.compile(r"([0-9a-f]{16})\.ext2\.gz")
_MOST = 1000  # roots, layers, variants: what is beyond is not looked at


@dataclass
class SeenRoots:
    """Versions that were read; they never change. The caller keeps it from scan to scan."""

    manifests: dict[PurePosixPath, tuple[Fingerprint, BuiltRoot]] = field(default_factory=dict)


def variant_file(manifest: RootManifest, layer: str) -> PurePosixPath:
    """Return where the ext2 ramdisk of a root with a layer of modules lies, relative to roots/."""
    return PurePosixPath(manifest.name, f"{manifest.id}.modules", f"{layer}.ext2.gz")


def is_watched(name: str) -> bool:
    """Tell whether a change of a file or folder of this name can matter."""
    return not name.startswith(".") or name == MODULES


def scan_roots(folder: Path, seen: SeenRoots) -> RootsScan:
    """Look at roots/; a missing folder is empty."""
    roots: list[BuiltRoot] = []
    builds: list[Build] = []
    broken: list[BrokenBuild] = []
    names = [name for name in _names(folder) if not name.startswith(".")]
    for name in names:
        if not is_root_name(name):
            shown = ascii(name)[1:-1]  # what is in it goes to logs and terminals
            broken.append(
                BrokenBuild(shown, "a name with other than letters, digits, ._- and spaces")
            )
            continue
        try:
            if status := _status(folder, name):
                builds.append(Build(name, status))
        except BrokenRoot as error:
            broken.append(BrokenBuild(name, f"{_STATUS}: {error}"))
        try:
            if root := _root(folder, name, seen):
                roots.append(root)
        except BrokenRoot as error:
            broken.append(BrokenBuild(name, f"{_CURRENT}/{MANIFEST}: {error}"))
    known = {PurePosixPath(root.manifest.name, root.manifest.id) for root in roots}
    seen.manifests = {path: each for path, each in seen.manifests.items() if path in known}
    return RootsScan(tuple(roots), tuple(_layers(folder)), tuple(builds), tuple(broken))


def _names(folder: Path) -> list[str]:
    try:
        with os.scandir(folder) as entries:
            names = sorted(each.name for each in entries if each.is_dir(follow_symlinks=False))
    except (FileNotFoundError, NotADirectoryError):
        return []
    return names[:_MOST]


def _status(folder: Path, name: str) -> BuildStatus | None:
    text = read_file(folder, PurePosixPath(name, _STATUS), LONGEST_STATUS)
    return None if text is None else read_json(BuildStatus, text)


def _root(folder: Path, name: str, seen: SeenRoots) -> BuiltRoot | None:
    """Return a root's current version; None where it has none yet."""
    try:
        version = os.readlink(folder / name / _CURRENT)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise BrokenRoot(f"{error.strerror}: it has to be a link") from None
    if not _ID.fullmatch(version):
        raise BrokenRoot("a link to other than a version beside it")
    path = PurePosixPath(name, version)
    root = _read(folder, path, seen)
    if (root.manifest.name, root.manifest.id) != (name, version):
        raise BrokenRoot("of another root")
    return replace(root, variants=_variants(folder, path))


def _read(folder: Path, path: PurePosixPath, seen: SeenRoots) -> BuiltRoot:
    try:
        with open_file(folder, path / MANIFEST) as file:
            status = os.fstat(file.fileno())
            known = seen.manifests.get(path)
            if known is not None and known[0] == Fingerprint.of(status):
                return known[1]
            if status.st_size > LONGEST_MANIFEST:
                raise BrokenRoot(f"longer than {LONGEST_MANIFEST} bytes")
            text = file.read(LONGEST_MANIFEST)
    except OSError as error:
        raise BrokenRoot(error.strerror or str(error)) from None
    root = BuiltRoot(read_json(RootManifest, text), text, built_at(status))
    seen.manifests[path] = (Fingerprint.of(status), root)
    return root


def _variants(folder: Path, path: PurePosixPath) -> tuple[str, ...]:
    try:
        names = sorted(os.listdir(folder / f"{path}.modules"))
    except OSError:  # none were made
        return ()
    matches = map(_VARIANT.fullmatch, names[:_MOST])
    return tuple(match[1] for match in matches if match is not None)


def _layers(folder: Path) -> Iterator[BuiltLayer]:
    for name in _names(folder / MODULES):
        if not _ID.fullmatch(name):
            continue
        path = PurePosixPath(MODULES, name, LAYER_MANIFEST)
        try:
            with open_file(folder, path) as file:
                text = file.read(LONGEST_STATUS)
                written = built_at(os.fstat(file.fileno()))
            yield BuiltLayer(name, read_json(LayerManifest, text), text, written)
        except (OSError, BrokenRoot):  # not there yet, or none of ours: kernels boot without it
            continue
