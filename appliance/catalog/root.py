"""What the root builder says about roots, builds and layers: read here, believed nowhere.

Whatever is not exactly what it should be is a BrokenRoot with one line that says so. Keys that are
not known are ignored: the builder may be newer.
"""

from __future__ import annotations

import os
import re
from dataclasses import dataclass
from typing import Annotated, Literal, TypeVar

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field, ValidationError

from appliance.catalog.decompress import Compression
from appliance.catalog.model import Arch, RamdiskFormat
from appliance.settings_types import is_plain_cmdline

MANIFEST = "root.json"
LONGEST_MANIFEST = 16 << 20  # bytes: it lists every package
LONGEST_STATUS = 1 << 16

_NAME = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9._ -]{0,63}")
_LONGEST_LINE = 400
_MOST_KIB = 64 << 20  # 64 GiB: more than any machine that boots from memory has
_ARCHES = {
    "x86_64": Arch.X86_64,
    "amd64": Arch.X86_64,
    "i386": Arch.I386,
    "i686": Arch.I386,
    "arm64": Arch.ARM64,
    "aarch64": Arch.ARM64,
}


class BrokenRoot(Exception):
    """A root, status or layer that is not used; one line says why."""


def is_root_name(name: str) -> bool:
    """Tell whether a recipe and its root may have this name: letters, digits, `._-` and spaces."""
    return _NAME.fullmatch(name) is not None and name == name.strip()


def _one_line(value: object) -> object:
    """Make a text of others fit for a terminal and a line."""
    if not isinstance(value, str):
        return value
    return "".join(c if c.isprintable() else " " for c in value)[:_LONGEST_LINE].strip()


def _arch(value: object) -> object:
    return _ARCHES.get(value, value) if isinstance(value, str) else value


def _cmdline(value: str) -> str:
    if not is_plain_cmdline(value):
        raise ValueError("not a command line")
    return value


_Line = Annotated[str, BeforeValidator(_one_line)]
_Id = Annotated[str, Field(pattern=r"^[0-9a-f]{16}$")]
_FileName = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
_Program = Annotated[str, Field(pattern=r"^/[A-Za-z0-9/._+-]{1,200}$")]
_Seconds = Annotated[float, Field(ge=0, le=1e11)]  # since the epoch: some 3,000 years
_Count = Annotated[int, Field(ge=0, lt=1 << 63)]


class _Said(BaseModel):
    model_config = ConfigDict(frozen=True, extra="ignore")


class RamdiskFile(_Said):
    """A ramdisk in a root's folder."""

    file: _FileName
    bytes: int = Field(gt=0)
    sha256: str = Field(pattern=r"^[0-9a-f]{64}$")
    uncompressed_kib: int = Field(gt=0, le=_MOST_KIB)
    compression: Compression


class _AnyFormat(_Said):
    bytes: int | None = Field(default=None, ge=0)


class Formats(_Said):
    """The ways in which a root can be booted."""

    ext2: RamdiskFile | None = None
    cpio: RamdiskFile | None = None
    squashfs: _AnyFormat | None = None
    nfs: _AnyFormat | None = None

    @property
    def names(self) -> tuple[str, ...]:
        """The formats that there are."""
        return tuple(name for name in type(self).model_fields if getattr(self, name) is not None)

    @property
    def size(self) -> int:
        """Bytes of all files."""
        every = (self.ext2, self.cpio, self.squashfs)
        return sum(each.bytes or 0 for each in every if each is not None)

    @property
    def ramdisks(self) -> dict[RamdiskFormat, RamdiskFile]:
        """What a loader can fetch."""
        both = {RamdiskFormat.EXT2: self.ext2, RamdiskFormat.CPIO: self.cpio}
        return {name: each for name, each in both.items() if each is not None}


class RootManifest(_Said):
    """The part of root.json that booting needs."""

    name: str
    id: _Id
    title: _Line = ""
    arch: Annotated[Arch, BeforeValidator(_arch)]
    default: bool = False
    cmdline: Annotated[str, Field(max_length=1024), AfterValidator(_cmdline)] = ""
    init: _Program = "/sbin/init"
    share: Literal["clone", "ro", "rw"] | None = None
    formats: Formats


class LayerManifest(_Said):
    """What manifest.json says about a layer of kernel modules."""

    version: Annotated[str, Field(pattern=r"^[\x21-\x7e]{1,200}$")]
    source: str = ""  # the file in kernels/ that it was made from


class BuildStatus(_Said):
    """What status.json says about the last build of a root."""

    state: Literal["queued", "building", "done", "failed"]
    step: _Line = ""
    done: _Count = 0
    total: _Count = 0
    unit: _Line = ""
    message: _Line = ""
    error: _Line = ""
    log: _Line = ""  # relative to roots/NAME
    started: _Seconds = 0.0
    updated: _Seconds = 0.0
    request: _Seconds = 0.0  # the time in the request that was answered last
    id: Annotated[str, Field(pattern=r"^([0-9a-f]{16})?$")] = ""


_Model = TypeVar("_Model", bound=BaseModel)


def read_json(model: type[_Model], text: bytes) -> _Model:
    """Read what the builder wrote; raises BrokenRoot with the first thing that is wrong."""
    try:
        return model.model_validate_json(text)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        where = ".".join(map(str, first["loc"]))
        raise BrokenRoot(f"{where}: {first['msg']}" if where else str(first["msg"])) from None


def built_at(status: os.stat_result) -> float:
    """Return when a manifest was written, in seconds since the epoch.

    Cut to milliseconds, which survive a float and the way back into a file's time.
    """
    return status.st_mtime_ns // 1_000_000 / 1000


@dataclass(frozen=True)
class BuiltRoot:
    """A root's version in roots/."""

    manifest: RootManifest
    text: bytes  # root.json as it was read
    built_at: float  # seconds since the epoch
    # IDs of the layers of modules that ramdisk.ext2.gz has a variant with.
    variants: tuple[str, ...] = ()


@dataclass(frozen=True)
class BuiltLayer:
    """A layer of kernel modules in roots/.modules/."""

    id: str  # 16 hex digits
    manifest: LayerManifest
    text: bytes
    built_at: float


@dataclass(frozen=True)
class Build:
    """The last build of a root, as the builder tells of it."""

    name: str
    status: BuildStatus


@dataclass(frozen=True)
class BrokenBuild:
    """A root that is there and cannot be used."""

    name: str
    reason: str


@dataclass(frozen=True)
class RootsScan:
    """What one look at roots/ found, sorted by name."""

    roots: tuple[BuiltRoot, ...] = ()
    layers: tuple[BuiltLayer, ...] = ()
    builds: tuple[Build, ...] = ()
    broken: tuple[BrokenBuild, ...] = ()
