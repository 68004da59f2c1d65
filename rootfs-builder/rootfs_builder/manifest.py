"""root.json: what was asked for, what is in a root, and which files it can be booted from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any


class ManifestError(Exception):
    """A tree or a manifest that cannot be read: what, where, what to do, in one line."""


@dataclass(frozen=True)
class Package:
    """An installed package, as its own database names it."""

    name: str
    version: str  # with its release and, where it is not 0, its epoch
    arch: str
    licence: str = ""  # "" where the database does not know


@dataclass(frozen=True)
class FormatManifest:
    """One way to boot a root; a folder for NFS has no more than its name.

    `bytes` is the file's length, `uncompressed_kib` what it unpacks to: an ext2 image's is its
    `ramdisk_size`.
    """

    file: str
    bytes: int | None = None
    sha256: str | None = None
    uncompressed_kib: int | None = None
    compression: str | None = None


@dataclass(frozen=True)
class Manifest:
    """Everything that root.json says; `source` is its key "from"."""

    name: str
    id: str
    title: str
    source: str
    release: str
    arch: str = "x86_64"
    default: bool = False
    cmdline: str = ""
    init: str = "/sbin/init"
    recipe: Mapping[str, Any] = field(default_factory=dict)
    packages: tuple[Package, ...] = ()
    files: int = 0
    bytes: int = 0
    formats: Mapping[str, FormatManifest] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


def tree_id(tree: Path) -> str:
    """Return 16 hex digits over all that a tree holds, whenever and wherever it was made."""
    raise NotImplementedError(tree)


def installed(tree: Path) -> tuple[Package, ...]:
    """Return what the tree's own rpm or dpkg database lists, sorted; () without one.

    Raises ManifestError for a database that cannot be read.
    """
    raise NotImplementedError(tree)


def to_json(manifest: Manifest) -> str:
    """Return the text of root.json."""
    raise NotImplementedError(manifest)


def from_json(text: str) -> Manifest:
    """Read root.json; unknown keys are ignored. Raises ManifestError."""
    raise NotImplementedError(text)
