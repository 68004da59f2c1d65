"""Who makes room when there are as many layers as there may be, and when there is none at all."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable
from pathlib import Path

from appliance.layers.layer import Layer

# Seconds that a machine has from its address to its first mount, and that an old version's layer
# stays for one whose menu is from before.
BOOTING = 120.0
_FLOOR, _SHARE = 1 << 30, 0.05  # bytes, and part of the file system, that layers leave free


def candidates(layers: Iterable[Layer], now: float) -> list[Layer]:
    """Return the layers that may hold nothing of a machine's, those seen longest ago first.

    Forged hardware addresses make exactly these. What a machine mounted or wrote to is not among
    them, nor what somebody wants to keep, nor one whose machine may be booting.
    """
    unused = (
        each
        for each in layers
        if not (each.is_shared or each.record.used or each.record.keep)
        and not _is_booting(each, now)
    )
    return sorted(unused, key=lambda each: (each.record.last_seen, each.path))


def _is_booting(layer: Layer, now: float) -> bool:
    # What is seen later than now was seen before the clock was set.
    return 0 <= now - layer.record.last_seen < BOOTING


def lacking(folder: Path) -> tuple[int, int]:
    """Return how many bytes are free where a folder is, and how many shall be."""
    volume = os.statvfs(folder)
    floor = min(_FLOOR, int(volume.f_blocks * volume.f_frsize * _SHARE))
    return volume.f_bavail * volume.f_frsize, floor


def lacking_files(folder: Path) -> tuple[int, int]:
    """Return how many more files can be made where a folder is, and how many shall be.

    ext4 has as many as it was made with; none are counted where there is no such limit.
    """
    volume = os.statvfs(folder)
    return volume.f_favail, int(volume.f_files * _SHARE)


def require_free_space(folder: Path, name: str) -> None:
    """Raise NoRoom where it is so full that machines' writes would fill it; OSError."""
    free, floor = lacking(folder)
    files, fewest = lacking_files(folder)
    said = f"{free >> 20} MiB are free, {floor >> 20} MiB stay free" if free < floor else ""
    if files < fewest:
        said = f"{files} more files can be made, {fewest} stay free"
    if said:
        raise NoRoom(f"{name}: {said}: no new layer is made; delete something")


class NoRoom(Exception):
    """No layer is made now; one line says why and what to do."""


def is_outdated(layer: Layer, wanted: Collection[tuple[str, str, str]], now: float) -> bool:
    """Tell whether no machine will be shown a layer that was never used.

    `wanted` has key, version and share of each root that there is.
    """
    record = layer.record
    share = record.holder if layer.is_shared else "clone"
    return (
        (record.key, record.version, share) not in wanted
        and not (record.used or record.keep or record.also)
        and not _is_booting(layer, now)
    )


def of_old_versions(
    layers: Iterable[Layer],
    versions: Collection[tuple[str, str]],
    who: str | None,
    root: str | None,
) -> list[Layer]:
    """Return the layers that nobody will boot again, of all or of `who`, of all roots or of one.

    `versions` has key and version of each root that there is.
    """
    return [
        each
        for each in layers
        if (each.record.key, each.record.version) not in versions
        and not each.record.keep
        and who in (None, each.who)
        and root in (None, each.record.root)
    ]
