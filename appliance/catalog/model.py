"""The values that the catalog is made of."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from pathlib import PurePosixPath
from typing import Literal

from appliance.catalog.decompress import Compression

# Bytes at a file's start that tell what it is: a bzImage's version string lies at most
# 0xFFFF + 0x200 bytes into it.
HEAD_LENGTH = 0x11000

UNKNOWN_VERSION = "unknown"


class Arch(StrEnum):
    """A processor architecture, by the name that the kernel's own tree gives it (arch/…)."""

    X86_64 = "x86_64"
    I386 = "i386"
    ARM64 = "arm64"


class RamdiskFormat(StrEnum):
    """How a root file system in memory is packed."""

    CPIO = "cpio"  # an initramfs: unpacked into rootfs by the kernel
    EXT2 = "ext2"  # the article's: a file system image in /dev/ram0


@dataclass(frozen=True)
class KernelImage:
    """What a kernel says about itself."""

    version: str  # "6.1.192-labtest", from the version string; never empty
    arch: Arch
    length: int | None  # bytes that the file has at least when it is whole; None: it does not say
    efi_stub: bool  # has a PE header, so UEFI firmware can start it
    packed: Compression | None = None  # an Image inside; it is published unpacked

    def boots_like(self, other: KernelImage) -> bool:
        """Tell whether it is the same kernel, packed or not."""
        mine = (self.version, self.arch, self.efi_stub)
        return mine == (other.version, other.arch, other.efi_stub)


@dataclass(frozen=True)
class NotAKernel:
    """A file that no kernel format fits."""

    reason: str  # what it is instead, in plain words, and what to drop


@dataclass(frozen=True)
class CutShort:
    """A kernel whose file ends before its header says; both in bytes."""

    have: int
    need: int | None  # None: more, but nobody knows how much

    @property
    def reason(self) -> str:
        """One line for a person."""
        if self.need is None:
            return f"cut short: its packed data go on after the {self.have} bytes; copy it again"
        return f"cut short: {self.have} of at least {self.need} bytes are there; copy it again"


class InitrdMaker(StrEnum):
    """What made an initramfs, which decides how it is told its root."""

    DRACUT = "dracut"
    INITRAMFS_TOOLS = "initramfs-tools"


@dataclass(frozen=True)
class Initrd:
    """An initrd that came with a kernel."""

    format: RamdiskFormat
    ramdisk_size: int | None = None  # KiB uncompressed; only for ext2, for `ramdisk_size=`
    made_by: InitrdMaker | None = None  # None: somebody else, or not known
    # What it has to mount a root over NFS; None: not known, as its contents could not be read.
    nfs_mount: bool | None = None  # the program and its script
    nfs_module: bool | None = None  # the kernel's module


@dataclass(frozen=True)
class KernelSet:
    """A kernel in the drop folder with the files that belong to it; paths relative to kernels/."""

    name: str  # the kernel's path relative to kernels/, with "/": "os_images/fc6/vmlinuz"
    image: KernelImage
    kernel: PurePosixPath
    initrd: PurePosixPath | None = None
    modules: PurePosixPath | None = None  # a cpio layer with lib/modules/VERSION
    config: PurePosixPath | None = None  # the text of its .config


@dataclass(frozen=True)
class Refused:
    """A file that is not served, and why."""

    path: PurePosixPath  # relative to kernels/
    reason: str  # one line for a person: what is wrong, what to do


@dataclass(frozen=True)
class Scan:
    """What one walk over the drop folder found. Everything sorted by path."""

    sets: tuple[KernelSet, ...] = ()
    refused: tuple[Refused, ...] = ()
    pending: tuple[PurePosixPath, ...] = ()  # still being written: looked at again soon
    # Seconds until a pending file can be whole without a sign of it; None: nothing is pending.
    look_in: float | None = field(default=None, compare=False)


@dataclass(frozen=True)
class KernelConfig:
    """The part of a kernel's .config that is set: {"CONFIG_BLK_DEV_RAM": "y", …}."""

    options: frozenset[tuple[str, str]]

    def value(self, option: str) -> str | None:
        """Return "y", "m", a number or a quoted string; None where the option is not set."""
        return next((value for name, value in self.options if name == option), None)

    def built_in(self, option: str) -> bool:
        """Tell whether the option is `=y`: there before any module can be loaded."""
        return (option, "y") in self.options


@dataclass(frozen=True)
class PublishedKernel:
    """An immutable copy of a kernel set under published/; file paths are relative to published/."""

    name: str  # as KernelSet.name
    id: str  # 16 hex digits, from the contents of the set
    version: str
    arch: Arch
    efi_stub: bool
    kernel: PurePosixPath
    initrd: PurePosixPath | None
    initrd_format: Initrd | None
    modules: PurePosixPath | None
    config: KernelConfig | None  # None: not known (yet)
    dropped_at: float  # seconds since the epoch: newest ctime among the set's files
    config_awaited: bool = False  # it is being looked for: not known yet


@dataclass(frozen=True)
class Ramdisk:
    """A published root file system in memory."""

    path: PurePosixPath  # relative to published/
    compression: Compression
    ramdisk_size: int  # KiB uncompressed


@dataclass(frozen=True)
class PublishedRoot:
    """Immutable copies of a built root's ramdisks."""

    name: str
    id: str  # 16 hex digits, from the contents of the tree
    key: str  # its name as every path, URL and menu takes it
    title: str
    arch: Arch
    is_default: bool  # its recipe says so
    cmdline: str  # words for every kernel that boots it
    init: str
    share: Literal["clone", "ro", "rw"] | None  # over NFS; None: its recipe does not say
    formats: tuple[str, ...]  # all that were built, also those that are not for memory
    size: int  # bytes of all its files
    built_at: float  # seconds since the epoch
    ramdisks: Mapping[RamdiskFormat, Ramdisk]
    variants: Mapping[str, Ramdisk]  # ext2 with a layer of modules in it, by the layer's ID


@dataclass(frozen=True)
class ModulesLayer:
    """A published cpio (gzip) of kernel modules, to be unpacked over any root."""

    id: str  # 16 hex digits
    version: str  # of the kernel that they are for
    source: str  # the file in kernels/ that it was made from
    path: PurePosixPath  # relative to published/
    built_at: float  # seconds since the epoch


@dataclass(frozen=True)
class RootCatalog:
    """What kernels can be booted with, beside what lies beside them."""

    roots: tuple[PublishedRoot, ...] = ()  # newest first
    layers: tuple[ModulesLayer, ...] = ()  # newest first


@dataclass(frozen=True)
class Catalog:
    """What can be booted and what cannot, with the reason."""

    kernels: tuple[PublishedKernel, ...] = ()  # newest first
    refused: tuple[Refused, ...] = ()
    pending: tuple[PurePosixPath, ...] = ()
