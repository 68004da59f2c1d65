"""Which ramdisks a kernel can boot, by its release and its configuration."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from appliance.catalog.decompress import Compression
from appliance.catalog.model import KernelConfig, PublishedKernel, Ramdisk, RamdiskFormat

# linuxrc and the whole ext2 ramdisk machinery around it left the kernel with 7.0.
_LAST_EXT2_RAMDISK = (6, 99)
# The release that each compression of a ramdisk came with, where there are kernels before it.
_SINCE = {Compression.ZSTD: (5, 9)}


class CannotBoot(Exception):
    """A kernel that cannot boot a root; one line says what it lacks."""


def choose(
    kernel: PublishedKernel, preferred: RamdiskFormat, ramdisks: Mapping[RamdiskFormat, Ramdisk]
) -> RamdiskFormat:
    """Return the form that a kernel boots: the preferred one if it can. Raises CannotBoot."""
    reasons: dict[str, None] = {}
    for form in sorted(ramdisks, key=lambda form: form is not preferred):
        can, lacking = ramdisk_formats(kernel.version, kernel.config, ramdisks[form].compression)
        if form in can:
            return form
        reasons |= dict.fromkeys(_reason(kernel, form, lacking))
    raise CannotBoot("; ".join(reasons))


def _reason(
    kernel: PublishedKernel, form: RamdiskFormat, lacking: tuple[str, ...]
) -> Iterator[str]:
    if kernel.config is None:
        if lacking:
            yield f"it is older than {lacking[0]}: set `compression: gzip` in its recipe"
        else:
            yield f"whether it can boot {form} is not known: drop its config beside it"
    elif lacking:
        yield f"its configuration lacks {' '.join(lacking)}"
    else:
        yield f"{form} ramdisks left Linux with 7.0"


def ramdisk_formats(
    version: str, config: KernelConfig | None, packed: Compression = Compression.GZIP
) -> tuple[frozenset[RamdiskFormat], tuple[str, ...]]:
    """Return the forms of ramdisk that a kernel can boot, and what it lacks for others.

    A kernel whose configuration is not known is taken to unpack a cpio, as nearly all can, if its
    release has the compression at all.
    """
    since = _SINCE.get(packed, (0, 0))
    if config is None and _release(version) < since:
        return frozenset(), (f"{packed}, which came with Linux {since[0]}.{since[1]}",)
    if config is None:
        return frozenset({RamdiskFormat.CPIO}), ()
    needed = ("CONFIG_BLK_DEV_INITRD", f"CONFIG_RD_{packed.upper()}")
    both = [name for name in needed if not config.built_in(name)]
    if both:
        return frozenset(), tuple(f"{name}=y" for name in both)
    lacks_ext2 = [] if config.built_in("CONFIG_BLK_DEV_RAM") else ["CONFIG_BLK_DEV_RAM=y"]
    if not config.built_in("CONFIG_EXT2_FS") and not (
        config.built_in("CONFIG_EXT4_FS") and config.built_in("CONFIG_EXT4_USE_FOR_EXT2")
    ):
        lacks_ext2.append("CONFIG_EXT2_FS=y")
    if lacks_ext2 or _release(version) > _LAST_EXT2_RAMDISK:
        return frozenset({RamdiskFormat.CPIO}), tuple(lacks_ext2)
    return frozenset(RamdiskFormat), ()


def _release(version: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (0, 0)
