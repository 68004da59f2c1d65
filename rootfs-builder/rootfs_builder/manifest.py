"""root.json: what was asked for, what is in a root, and which files it can be booted from."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from rootfs_builder import pipes
from rootfs_builder.entries import Entry, TreeError, resolve, walk

_RPM_DATABASES = ("usr/lib/sysimage/rpm", "var/lib/rpm")  # modern, older
_RPM_FILES = ("rpmdb.sqlite", "Packages.db", "Packages")  # by rpm's backends
_RPM_LINE = "%{NAME}\\t%|EPOCH?{%{EPOCH}:}|%{VERSION}-%{RELEASE}\\t%{ARCH}\\t%{LICENSE}\\n"
_NO_PACKAGE = "gpg-pubkey"  # rpm keeps keys among packages
_LONGEST_COPYRIGHT = 1 << 20  # bytes
_Kind = TypeVar("_Kind")
_RENAMED = {"source": "from"}  # what is a keyword in Python


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
    share: str | None = None
    recipe: Mapping[str, Any] = field(default_factory=dict)
    packages: tuple[Package, ...] = ()
    files: int = 0
    bytes: int = 0
    formats: Mapping[str, FormatManifest] = field(default_factory=dict)
    seconds: Mapping[str, float] = field(default_factory=dict)


def tree_id(tree: Path) -> str:
    """Return 16 hex digits over all that a tree holds, whenever and wherever it was made.

    Names, types, modes, owners, contents, links and extended attributes count; times do not, as a
    tree that is built again from the same packages is the same root. Raises ManifestError.
    """
    whole = hashlib.sha256()
    try:
        for entry in walk(tree):
            for part in _identity(entry):
                whole.update(len(part).to_bytes(8, "big") + part)
    except TreeError as error:
        raise ManifestError(str(error)) from None
    except OSError as error:
        raise ManifestError(f"{error.filename}: {error.strerror}") from None
    return whole.hexdigest()[:16]


def _identity(entry: Entry) -> Iterator[bytes]:
    """Yield what tells an entry from another; each part is told apart by its length."""
    yield entry.path
    yield f"{entry.mode:o} {entry.uid} {entry.gid} {entry.device} {len(entry.xattrs)}".encode()
    yield entry.target
    yield entry.same_as or b""
    if entry.source and not entry.same_as:
        with entry.source.open("rb") as file:
            yield hashlib.file_digest(file, "sha256").digest()
    for name, value in entry.xattrs:
        yield os.fsencode(name)
        yield value


def installed(tree: Path) -> tuple[Package, ...]:
    """Return what the tree's own rpm or dpkg database lists, sorted; () without one.

    Raises ManifestError for a database that cannot be read.
    """
    found: list[Package] = []
    try:
        for folder in _RPM_DATABASES:
            place = resolve(tree, folder)
            if any((place / name).exists() for name in _RPM_FILES):
                found += _rpm(tree, folder)
                break
        status = resolve(tree, "var/lib/dpkg/status")
        if status.is_file():
            found += _dpkg(tree, status.read_text("utf-8", "replace"))
    except (TreeError, pipes.ToolFailed) as error:
        raise ManifestError(f"{tree}: its package database: {error}") from None
    return tuple(sorted(set(found), key=lambda each: (each.name, each.version, each.arch)))


def _rpm(tree: Path, folder: str) -> Iterator[Package]:
    argv = ["rpm", "--root", str(tree), "--define", f"_dbpath /{folder}"]
    for line in pipes.run([*argv, "-qa", "--qf", _RPM_LINE]).splitlines():
        name, version, arch, licence = (*line.split("\t"), "", "", "")[:4]
        if name != _NO_PACKAGE:
            yield Package(name, version, arch, licence)


def _dpkg(tree: Path, status: str) -> Iterator[Package]:
    """Read /var/lib/dpkg/status (deb-control(5)): paragraphs of fields."""
    for paragraph in status.split("\n\n"):
        fields = dict(
            line.split(": ", 1)
            for line in paragraph.splitlines()
            if ": " in line and not line.startswith((" ", "\t"))
        )
        if fields.get("Status", "").endswith(" installed"):
            name = fields["Package"]
            yield Package(name, fields["Version"], fields["Architecture"], _licence(tree, name))


def _licence(tree: Path, package: str) -> str:
    """Return the short names in a machine-readable copyright file (DEP 5), "" without one."""
    if "/" in package:
        return ""
    file = resolve(tree, f"usr/share/doc/{package}/copyright")
    if not file.is_file():
        return ""
    with file.open("rb") as stream:
        text = stream.read(_LONGEST_COPYRIGHT).decode("utf-8", "replace")
    names = re.findall(r"^License:[ \t]*(\S.*?)[ \t]*$", text, re.MULTILINE)
    return " AND ".join(sorted({name if " or " not in name else f"({name})" for name in names}))


def to_json(manifest: Manifest) -> str:
    """Return the text of root.json."""
    told = {_RENAMED.get(key, key): value for key, value in asdict(manifest).items()}
    told["formats"] = {
        name: {key: value for key, value in each.items() if value is not None}
        for name, each in told["formats"].items()
    }
    return json.dumps(told, indent=2, ensure_ascii=False) + "\n"


def from_json(text: str) -> Manifest:
    """Read root.json; unknown keys are ignored. Raises ManifestError."""
    try:
        told = json.loads(text)
        values = {key: told[_RENAMED.get(key, key)] for key in _known(Manifest, told)}
        values["packages"] = tuple(_read(Package, each) for each in values.get("packages", ()))
        values["formats"] = {
            name: _read(FormatManifest, each) for name, each in values.get("formats", {}).items()
        }
        return Manifest(**values)
    except (ValueError, TypeError, AttributeError, KeyError) as error:
        raise ManifestError(f"root.json: not what a builder writes ({error})") from None


def _known(kind: type[Any], told: Mapping[str, Any]) -> list[str]:
    return [key for key in kind.__dataclass_fields__ if _RENAMED.get(key, key) in told]


def _read(kind: type[_Kind], told: Mapping[str, Any]) -> _Kind:
    return kind(**{key: told[key] for key in _known(kind, told)})
