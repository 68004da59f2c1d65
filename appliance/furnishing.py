"""What a layer is given before a machine sees it, and later: modules of kernels that boot it."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from appliance.catalog.model import ModulesLayer, PublishedRoot
from appliance.catalog.roots import LAYER, MODULES
from appliance.events.hub import Event
from appliance.events.leases import given_address
from appliance.hosts import name_of
from appliance.nfs.contents import Clone, furnish_clone, put_overlay_init
from appliance.nfs.layer import Layer
from appliance.nfs.modules import ModulesNotPut, put_modules
from appliance.paths import Paths
from appliance.run import CommandFailed

_FETCHED = re.compile(r"\b(?P<kernel>kernels/[^/\s]+/[0-9a-f]{16}/kernel)\b")
# A machine with more layers gets modules where it is known to need them, not in each.
_FEW_LAYERS = 4
_MOST_MACHINES = 4096  # anybody can ask for an address

Put = Callable[[Layer, Path], None]


@dataclass(frozen=True)
class Offered:
    """What machines may boot: modules by their kernel's path, roots, and what boots by default."""

    modules: Mapping[PurePosixPath, ModulesLayer]
    roots: tuple[PublishedRoot, ...] = ()
    default_kernel: PurePosixPath | None = None
    default_root: str | None = None  # its key


class Furnishing:
    """Knows what is to be in which layer; `say` gets a line for what a layer did not get.

    `furnish` and what `due` yields are called in threads.
    """

    def __init__(self, paths: Paths, say: Callable[[str], None]) -> None:
        self._paths, self._say = paths, say
        self._offered = Offered({})
        self._addresses: dict[str, str] = {}  # of machines, by which HTTP and TFTP know them
        self._fetched: dict[str, PurePosixPath] = {}  # the kernel that a machine took last
        self._done: set[tuple[PurePosixPath, float, str]] = set()

    def offers(self, offered: Offered) -> bool:
        """Take in what machines are offered from now on; tell whether that is something else."""
        before, self._offered = self._offered, offered
        return before != offered

    def hear(self, event: Event) -> bool:
        """Take in what a machine asked for; tell whether a layer may want more for it."""
        if event.kind == "dhcp":
            if (address := given_address(event)) is not None:
                _put(self._addresses, str(address), event.client)
            return False
        fetched = _FETCHED.search(event.text)
        mac = self._addresses.get(event.client)
        if fetched is None or mac is None:
            return False
        kernel = PurePosixPath(fetched["kernel"])
        _put(self._fetched, mac, kernel)
        return kernel in self._offered.modules

    # --- a new layer

    def furnish(self, layer: Layer, mounted: Path) -> None:
        """Put into a layer what it needs before it is shown. Raises OSError."""
        record = layer.record
        if record.holder == "ro":
            root = next((each for each in self._offered.roots if each.key == record.key), None)
            if root is not None:
                put_overlay_init(mounted, self._paths.provisions / "overlay-init" / root.arch)
        elif not layer.is_shared:
            clone = Clone(mounted, record.key, layer.mac, name_of(layer.mac))
            try:
                for line in asyncio.run(furnish_clone(clone)):
                    self._say(f"{layer}: {line}")
            except CommandFailed as failure:
                raise OSError(0, str(failure), str(mounted)) from None

    # --- modules

    def due(
        self, layers: Iterable[Layer], mounted: Iterable[PurePosixPath]
    ) -> Iterator[tuple[Layer, Put]]:
        """Yield what is still to be put into layers; `mounted` are those that machines have."""
        layers, mounted = tuple(layers), frozenset(mounted)
        for layer in layers:
            for kernel in self._kernels_of(layer, layers, mounted):
                modules = self._offered.modules.get(kernel)
                if modules is None:
                    continue
                key = (layer.path, layer.record.made_at, modules.id)
                if key not in self._done:
                    self._done.add(key)
                    yield layer, partial(self._put_modules, modules)

    def _kernels_of(
        self, layer: Layer, layers: tuple[Layer, ...], mounted: frozenset[PurePosixPath]
    ) -> set[PurePosixPath]:
        """Return the kernels that machines boot with a layer, as far as that is known."""
        offered = self._offered
        is_default = layer.record.key == offered.default_root
        kernels = {offered.default_kernel} if is_default and offered.default_kernel else set()
        if layer.is_shared:
            return kernels | (
                set(self._fetched.values()) if is_default or layer.path in mounted else set()
            )
        own = [each for each in layers if each.record.holder == layer.record.holder]
        fetched = self._fetched.get(layer.mac)
        if fetched and (is_default or len(own) <= _FEW_LAYERS or layer.path in mounted):
            kernels.add(fetched)
        return kernels

    def _put_modules(self, modules: ModulesLayer, layer: Layer, mounted: Path) -> None:
        archive = self._paths.roots / MODULES / modules.id / LAYER
        try:
            if put_modules(mounted, archive, modules.version):
                self._say(f"{layer}: it has the modules of {modules.version} now")
        except ModulesNotPut as reason:
            self._say(f"{layer}: no modules of {modules.version}: {reason}")


def _put(table: dict[str, PurePosixPath] | dict[str, str], key: str, value: object) -> None:
    table.pop(key, None)
    table[key] = value  # type: ignore[assignment]
    if len(table) > _MOST_MACHINES:
        del table[next(iter(table))]
