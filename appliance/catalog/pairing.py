"""Which file belongs to which kernel: by version or by name, within one folder."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from enum import StrEnum
from pathlib import PurePosixPath


class Role(StrEnum):
    """What a file is to a kernel; for files beside a kernel, by their name."""

    KERNEL = "kernel"
    INITRD = "initrd"
    MODULES = "modules"
    CONFIG = "config"
    MODULES_TAR = "modules-tar"  # what the root builder makes a layer of


_PACKED = r"(?:\.(?:gz|xz|zst))?"
_TAR = rf"\.tar{_PACKED}"
# KEY is a version, the suffix of a kernel's file name, or the whole of it.
_NAMES: tuple[tuple[Role, re.Pattern[str]], ...] = (
    (Role.MODULES, re.compile(rf"(?P<name>.+)\.modules\.cpio{_PACKED}")),
    (Role.MODULES, re.compile(rf"modules-(?P<version>.+)\.cpio{_PACKED}")),
    (Role.MODULES_TAR, re.compile(rf"(?P<name>.+)\.modules{_TAR}")),
    (Role.MODULES_TAR, re.compile(rf"modules-(?P<version>.+){_TAR}")),
    (Role.CONFIG, re.compile(r"(?P<name>.+)\.config")),
    (Role.CONFIG, re.compile(r"config-(?P<version>.+)")),
    (Role.INITRD, re.compile(r"(?P<name>.+)\.initrd(?:\.img)?")),
    (Role.INITRD, re.compile(r"initrd\.img-(?P<version>.+)")),  # Debian
    (Role.INITRD, re.compile(r"init(?:rd|ramfs)-(?P<version>.+)\.img")),  # the article, Fedora
    (Role.INITRD, re.compile(r"init(?:rd|ramfs)-(?P<version>.+)")),  # SUSE
    (Role.INITRD, re.compile(r"(?P<lone>initrd|initrd\.img|initramfs\.img)")),
)
_PLAIN_KERNELS = frozenset({"vmlinuz", "bzImage", "linux", "kernel"})

# How a name ties a file to a kernel, the closest tie first.
_TIES = ("name", "version", "lone")


def _ties(filename: str) -> Iterator[tuple[Role, str, str]]:
    """Yield (role, tie, key) for every reading of a file's name, the likeliest first."""
    for role, pattern in _NAMES:
        match = pattern.fullmatch(filename)
        if match:
            tie, key = next((tie, key) for tie, key in match.groupdict().items())
            yield role, tie, key


def role_of(filename: str) -> Role:
    """Tell from its name what a file is: KERNEL for every name that means nothing else."""
    return next((role for role, _, _ in _ties(filename)), Role.KERNEL)


def partners(
    kernel: PurePosixPath, version: str, kernels: int, beside: Mapping[PurePosixPath, Role]
) -> dict[Role, PurePosixPath]:
    """Return the files that belong to a kernel, one for each role at most.

    `version` is the one in its header, `kernels` how many the folder holds, `beside` the folder's
    other files. A file with the kernel's whole name comes before one with its version, that before
    `initrd` alone, which belongs to a plain `vmlinuz` that is the only kernel of its folder.
    """
    _, _, suffix = kernel.name.partition("-")
    lone = {"initrd", "initrd.img", "initramfs.img"} if kernels == 1 else set()
    keys = {
        "name": {kernel.name},
        "version": {version, suffix} - {""},
        "lone": lone if kernel.name in _PLAIN_KERNELS else set(),
    }
    found: dict[Role, tuple[int, PurePosixPath]] = {}
    for path in sorted(beside):
        for role, tie, key in _ties(path.name):
            rank = _TIES.index(tie)
            if role is beside[path] and key in keys[tie]:
                found[role] = min(found.get(role, (rank, path)), (rank, path))
    return {role: path for role, (_, path) in found.items()}
