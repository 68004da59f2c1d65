"""The manifest of a published version: what was copied from where."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import PurePosixPath
from typing import Any

from appliance.catalog.model import Arch, Initrd, InitrdMaker, RamdiskFormat
from appliance.catalog.openat import Fingerprint
from appliance.catalog.pairing import Role

COPIED = (Role.KERNEL, Role.INITRD, Role.MODULES)  # in this order: the ID depends on it


class BrokenManifest(Exception):
    """A manifest that does not say what it has to; the version is made again."""


@dataclass(frozen=True)
class Source:
    """A file of the drop folder at the moment when it was copied."""

    path: PurePosixPath  # relative to kernels/
    fingerprint: Fingerprint


@dataclass(frozen=True)
class Manifest:
    """What a version's folder says about itself."""

    name: str
    id: str
    version: str
    arch: Arch
    efi_stub: bool
    initrd: Initrd | None
    dropped_at: float  # seconds since the epoch
    sources: dict[Role, Source]  # what each file was copied from
    sizes: dict[Role, int]  # bytes of each copy; a packed kernel's is larger than what was dropped


def to_json(manifest: Manifest) -> str:
    """Write a manifest as JSON."""
    return json.dumps(asdict(manifest), default=str, indent=1) + "\n"


def from_json(text: str) -> Manifest:
    """Read a manifest; raises BrokenManifest for whatever is not exactly one."""
    try:
        raw: dict[str, Any] = json.loads(text)
        manifest = Manifest(
            name=_text(raw["name"]),
            id=_text(raw["id"]),
            version=_text(raw["version"]),
            arch=Arch(raw["arch"]),
            efi_stub=raw["efi_stub"] is True,
            initrd=_initrd(raw["initrd"]),
            dropped_at=float(raw["dropped_at"]),
            sources={Role(role): _source(source) for role, source in raw["sources"].items()},
            sizes={Role(role): int(size) for role, size in raw["sizes"].items()},
        )
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise BrokenManifest(repr(error)) from None
    if Role.KERNEL not in manifest.sources or not manifest.sources.keys() <= set(COPIED):
        raise BrokenManifest("wrong set of files")
    if manifest.sizes.keys() != manifest.sources.keys():
        raise BrokenManifest("sizes of other files")
    if (Role.INITRD in manifest.sources) is (manifest.initrd is None):
        raise BrokenManifest("initrd without its format, or the other way round")
    return manifest


def _text(raw: object) -> str:
    if not isinstance(raw, str) or not raw:
        raise BrokenManifest(f"no text: {raw!r}")
    return raw


def _initrd(raw: dict[str, Any] | None) -> Initrd | None:
    if raw is None:
        return None
    size = raw["ramdisk_size"]
    maker = raw.get("made_by")  # not in manifests of before roots over NFS
    return Initrd(
        RamdiskFormat(raw["format"]),
        ramdisk_size=None if size is None else int(size),
        made_by=None if maker is None else InitrdMaker(maker),
        nfs_mount=_known(raw.get("nfs_mount")),
        nfs_module=_known(raw.get("nfs_module")),
    )


def _known(raw: object) -> bool | None:
    return raw if isinstance(raw, bool) else None


def _source(raw: dict[str, Any]) -> Source:
    numbers = raw["fingerprint"]
    return Source(
        PurePosixPath(_text(raw["path"])),
        Fingerprint(
            size=int(numbers["size"]),
            mtime_ns=int(numbers["mtime_ns"]),
            ctime_ns=int(numbers["ctime_ns"]),
            inode=int(numbers["inode"]),
        ),
    )
