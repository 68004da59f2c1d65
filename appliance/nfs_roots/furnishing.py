"""What a layer is given before a machine sees it, and later: modules of kernels that boot it."""

from __future__ import annotations

import asyncio
import errno
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path, PurePosixPath

from appliance.bounded import put
from appliance.catalog.model import ModulesLayer, PublishedRoot
from appliance.events.hub import Event
from appliance.events.leases import given_address
from appliance.hosts import name_of
from appliance.layers.clone import Clone, furnish_clone, put_overlay_init
from appliance.layers.commands import CannotDo
from appliance.layers.layer import Layer
from appliance.layers.layers import Layers
from appliance.layers.modules import ModulesNotPut, put_modules
from appliance.layers.room import NoRoom
from appliance.menu.entries import FETCHED_OVER_NFS
from appliance.nfs.export import EVERYBODY
from appliance.paths import Paths
from appliance.run import CommandFailed

Put = Callable[[Layer, Path], None]


@dataclass(frozen=True)
class Offered:
    """What machines may boot: modules by their kernel's path, roots, and what boots by default."""

    modules: Mapping[PurePosixPath, ModulesLayer]
    roots: tuple[PublishedRoot, ...] = ()
    default_kernel: PurePosixPath | None = None
    default_root: str | None = None  # its key


@dataclass(frozen=True)
class Fetched:
    """A machine took a kernel, with which it is going to mount a root."""

    mac: str
    root: str  # its key
    kernel: PurePosixPath  # relative to published/


class Furnishing:
    """Knows what is to be in which layer; `say` gets a line for what a layer did not get.

    `furnish` and what `due` yields are called in threads, all else in the event loop, where `tell`
    says what they found. `neighbour` tells the hardware address of a machine that another DHCP
    server gave its own, if the kernel knows it.
    """

    def __init__(
        self,
        paths: Paths,
        say: Callable[[str], None],
        neighbour: Callable[[str], str | None] = lambda _: None,
    ) -> None:
        self._paths, self._say, self._neighbour = paths, say, neighbour
        self._offered = Offered({})
        self._addresses: dict[str, str] = {}  # of machines, by which HTTP and TFTP know them
        self._fetched: dict[tuple[str, str], PurePosixPath] = {}  # by machine and root
        # The ID of the modules that a layer has, by its path, when it was made, and their version.
        self._done: dict[tuple[PurePosixPath, float, str], str] = {}
        self._unsaid: deque[str] = deque()

    def offers(self, offered: Offered) -> bool:
        """Take in what machines are offered from now on; tell whether that is something else."""
        before, self._offered = self._offered, offered
        return before != offered

    def hear(self, event: Event) -> Fetched | None:
        """Take in what a machine asked for; return what it will mount, where that tells it."""
        if (address := given_address(event)) is not None:
            put(self._addresses, str(address), event.client)
        match = FETCHED_OVER_NFS.search(event.text) if event.kind in ("http", "tftp") else None
        if match is None or match["root"] not in {root.key for root in self._offered.roots}:
            return None
        mac = self._addresses.get(event.client) or self._neighbour(event.client)
        if mac is None:
            return None
        fetched = Fetched(mac, match["root"], PurePosixPath(match["kernel"]))
        put(self._fetched, (mac, fetched.root), fetched.kernel)
        return fetched

    def tell(self) -> None:
        """Say what was found in threads."""
        while self._unsaid:
            self._say(self._unsaid.popleft())

    # --- a new layer

    def furnish(self, layer: Layer, mounted: Path) -> None:
        """Put into a layer what it needs before it is shown. Raises OSError."""
        record = layer.record
        if record.holder == EVERYBODY["ro"]:
            self._put_overlay_init(layer, mounted)
        elif not layer.is_shared:
            clone = Clone(mounted, record.key, layer.mac, name_of(layer.mac))
            try:
                for line in asyncio.run(furnish_clone(clone)):
                    self._unsaid.append(f"{layer}: {line}")
            except CommandFailed as failure:
                raise OSError(errno.EIO, str(failure), str(mounted)) from None

    def _put_overlay_init(self, layer: Layer, mounted: Path) -> None:
        roots = {root.key: root for root in self._offered.roots}
        root = roots.get(layer.record.key)
        if root is None:
            return
        brought = self._paths.provisions / "overlay-init" / root.arch
        if brought.exists():
            put_overlay_init(mounted, brought)
        else:
            why = f"there is none for {root.arch}"
            self._unsaid.append(f"{layer}: no overlay in the machines' memory: {why}")

    # --- modules

    async def refurnish(self, layers: Layers, is_awaited: Callable[[], bool]) -> str | None:
        """Put into layers what is due, until a machine waits for its own.

        Returns why one did not take it, if one did not: it is tried again with the next call.
        """
        shown = {each.path for each in layers.exports()}
        # What the system does not let us mount is told of, and may be mounted later.
        mounted = [
            each
            for each in layers.layers()
            if shown.intersection((each.path, *map(PurePosixPath, each.record.also)))
        ]
        refused = None
        for layer, put_in in self.due(mounted):
            try:
                await asyncio.to_thread(layers.refurnish, layer.path, put_in)
            except CannotDo:  # somebody reset it meanwhile
                self._again(layer)
            except NoRoom as reason:
                self._again(layer)
                refused = str(reason)
                break
            except OSError as error:
                self._again(layer)
                refused = f"{layer}: no modules: {error.filename}: {error.strerror}"
            self.tell()
            if is_awaited():
                break
        return refused

    def due(self, layers: Iterable[Layer]) -> Iterator[tuple[Layer, Put]]:
        """Yield what is still to be put into layers, which are all that there are."""
        layers = tuple(layers)
        # Forged hardware addresses make layers that come and go.
        there = {(each.path, each.record.made_at) for each in layers}
        self._done = {done: id_ for done, id_ in self._done.items() if done[:2] in there}
        booted: dict[str, dict[PurePosixPath, None]] = {}  # by all who share a root, by its key
        for (_, root), kernel in self._fetched.items():
            put(booted.setdefault(root, {}), kernel, None)
        for layer in layers:
            for modules in self._modules_of(layer, booted.get(layer.record.key, {})):
                done = (layer.path, layer.record.made_at, modules.version)
                if self._done.get(done) != modules.id:
                    self._done[done] = modules.id
                    yield layer, partial(self._put_modules, modules)

    def _again(self, layer: Layer) -> None:
        """Have due() yield a layer again, which could not be given what it needs."""
        self._done = {done: id_ for done, id_ in self._done.items() if done[0] != layer.path}

    def _modules_of(self, layer: Layer, booted: Iterable[PurePosixPath]) -> Iterable[ModulesLayer]:
        """Return the modules of the kernels that machines boot with a layer, as far as known.

        `booted` is what was fetched for its root, by whomever, the last one at the end. Kernels of
        one version share a folder, which is that of the last one's.
        """
        key, offered = layer.record.key, self._offered
        kernels: list[PurePosixPath | None] = []
        if key == offered.default_root:
            kernels.append(offered.default_kernel)  # so that it is there before it is asked for
        if layer.is_shared:
            kernels += booted
        else:
            kernels.append(self._fetched.get((layer.mac, key)))
        found = (offered.modules.get(kernel) for kernel in kernels if kernel is not None)
        return {modules.version: modules for modules in found if modules is not None}.values()

    def _put_modules(self, modules: ModulesLayer, layer: Layer, mounted: Path) -> None:
        # Of the published copy, which outlives what the builder has.
        archive = self._paths.published / modules.path
        try:
            if put_modules(mounted, archive, modules.version):
                self._unsaid.append(f"{layer}: it has the modules of {modules.version} now")
        except ModulesNotPut as reason:
            self._unsaid.append(f"{layer}: no modules of {modules.version}: {reason}")
