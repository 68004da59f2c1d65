"""What is told of layers at any time, while somebody changes them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

from appliance.layers.holdings import Holdings
from appliance.layers.layer import Layer, Shelf
from appliance.nfs.export import Export


@dataclass(frozen=True)
class Told:
    """What may be asked for at any time."""

    exports: tuple[Export, ...] = ()
    in_use: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    layers: tuple[Layer, ...] = ()
    notices: tuple[str, ...] = ()


def tell(holdings: Holdings, layer_size: int) -> Told:
    """Read it off what there is; `layer_size` is what a layer may have, in MiB."""
    staying = holdings.layers.keys() - holdings.doomed
    grown = tuple(
        f"{holdings.layers[path]}: larger than {layer_size} MiB, which is "
        "BOOTDROP_NFS_LAYER_SIZE: its machine can only read it until it is reset"
        for path in sorted(holdings.over & staying)
    )
    return Told(
        exports=tuple(map(holdings.export, sorted(holdings.stage.shown))),
        in_use=versions_in_use(holdings.layers.values()),
        layers=tuple(holdings.layers[path] for path in sorted(staying)),
        notices=(*holdings.faults.values(), *holdings.unmade.values(), *grown),
    )


def versions_in_use(layers: Iterable[Layer]) -> dict[str, tuple[str, ...]]:
    """Return the versions that layers are over, by their root's name."""
    versions: dict[str, set[str]] = {}
    for layer in layers:
        versions.setdefault(layer.record.root, set()).add(layer.record.version)
    return {name: tuple(sorted(versions[name])) for name in sorted(versions)}


def versions_on(shelves: Iterable[Shelf]) -> dict[str, tuple[str, ...]]:
    """Return the versions that layers on disk are over, by their root's name."""
    return versions_in_use(layer for shelf in shelves for layer in shelf.scan()[0])
