"""Keeps the module layers of the kernels in step with the archives that lie beside them."""

from __future__ import annotations

import logging
import os
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from rootfs_builder import manifest, modules, versions
from rootfs_builder.build import ROOT_JSON, Places
from rootfs_builder.modules import Layer
from rootfs_builder.ramdisk import Format, RamdiskError, RamdiskOptions
from rootfs_builder.room import require_room

_LOG = logging.getLogger(__name__)

_Stamp = tuple[int, int, int]  # inode, length, modification: another one is another file


@dataclass
class Layers:
    """What was made of which archive; asked for again, it reads only archives that changed."""

    places: Places
    _known: dict[Path, tuple[_Stamp, Layer | None]] = field(default_factory=dict)

    def settle(self) -> None:
        """Make layers and variants that are missing, delete those whose archive is gone.

        A fault is told once for each archive. Raises BuildFailed where the volume is full.
        """
        archives = dict(self._archives())
        for gone in self._known.keys() - archives.keys():
            del self._known[gone]
        for archive, stamp in archives.items():
            if self._known.get(archive, (None,))[0] != stamp:
                require_room(self.places.roots)
                self._known[archive] = (stamp, self._layer(archive))
        layers = {layer.id: layer for _, layer in self._known.values() if layer}
        for root in _roots(self.places):
            self._variants(root, layers)
        folder = self.places.roots / modules.LAYERS
        for left in folder.iterdir() if folder.is_dir() else ():
            if left.name not in layers:
                shutil.rmtree(left)

    def _archives(self) -> Iterator[tuple[Path, _Stamp]]:
        for place, _, names in os.walk(self.places.kernels):
            for name in filter(modules.is_modules_archive, names):
                file = Path(place, name)
                if file.is_file() and not file.is_symlink():
                    told = file.stat()
                    yield file, (told.st_ino, told.st_size, told.st_mtime_ns)

    def _layer(self, archive: Path) -> Layer | None:
        try:
            layer = modules.make_layer(archive, self.places.roots)
        except RamdiskError as error:
            _LOG.error("%s", error)
            return None
        _LOG.info("%s: modules of %s", archive.name, layer.version)
        return layer

    def _variants(self, root: Path, layers: dict[str, Layer]) -> None:
        """Have a variant of the current version's ext2 for each layer, and no other."""
        current = versions.current(root)
        if current is None:
            return
        folder = root / f"{current}.modules"
        for left in folder.iterdir() if folder.is_dir() else ():
            if left.name.removesuffix(".ext2.gz") not in layers:
                left.unlink()
        try:
            told = manifest.from_json((root / current / ROOT_JSON).read_text())
            if Format.EXT2 not in told.formats:
                return
            headroom = int(told.recipe.get("headroom_mib", 64)) * 1024
            for layer in layers.values():
                if not (folder / f"{layer.id}.ext2.gz").exists():
                    require_room(root)
                    options = RamdiskOptions(headroom_kib=headroom, init=told.init)
                    modules.make_variant(root / current, layer, options, lambda *_: None)
                    _LOG.info("%s: ramdisk with the modules of %s", root.name, layer.version)
        except (RamdiskError, manifest.ManifestError) as error:
            _LOG.error("%s: %s", root.name, error)


def _roots(places: Places) -> list[Path]:
    return [one for one in sorted(places.roots.iterdir()) if one.name[0] != "." and one.is_dir()]
