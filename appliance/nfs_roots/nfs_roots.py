"""Roots over NFS as a whole: which server is ours to run, whose layers there are, who uses them.

A machine that gets its address is given its layers; what is to be exported changes, and the
orchestrator has the server take that up; then what the server has dropped is unmounted.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable, Collection, Coroutine, Mapping
from contextlib import suppress
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath
from typing import Any
from uuid import UUID

from appliance.alarm import Alarm
from appliance.catalog.model import Catalog, PublishedRoot, RootCatalog
from appliance.daemons.rpcbind import hosts_ended, somebody_elses_answers
from appliance.events.hub import Event
from appliance.events.leases import given_address
from appliance.layers.layers import Layers
from appliance.layers.sizes import Size
from appliance.layers.storage import storage_of
from appliance.layers.told import versions_on
from appliance.menu.entries import Menu
from appliance.menu.menu import modules_of
from appliance.menu.nfs_boot import over_nfs_without
from appliance.network import Network
from appliance.nfs import choice, evidence, export_numbers, kernel_server
from appliance.nfs.choice import Choice, Server
from appliance.nfs.export import EVERYBODY, FORMAT, Export, NfsService, layer_path, share
from appliance.nfs_roots.furnishing import Furnishing, Offered
from appliance.nfs_roots.nfs_clients import NfsClients
from appliance.paths import Paths
from appliance.run import CommandFailed
from appliance.settings import Settings
from appliance.situation import Situation
from appliance.status import MachineStatus, NfsStatus, layer_status
from appliance.supervision import ALIVE
from appliance.volume import refusal

_MOUNTS = Path("/proc/self/mountinfo")
_SERVERS: Mapping[str, Server] = {"nfsd": "kernel", "ganesha": "ganesha"}  # by their programs

# Seconds. The host's own server may end, a volume come to take layers; the store to have more room.
_ANOTHER_CHOICE, _ANOTHER_TRY = 30.0, 300.0
# Seconds until what a server still held is unmounted; Ganesha drops exports within some hundredths.
_ANOTHER_SETTLING = 0.5
# Seconds until the same once more, where it is held for longer: by files that a machine has open.
_HELD = 5.0
# Seconds between two looks at how large the layers are, and how many times what the last one took.
_MEASURE, _MEASURE_SHARE = 60.0, 50


class NfsRoots:
    """Serves roots over NFS; `changed` is called when the menu or the exports may have to change.

    `tell` gets events, `progressed` is called when somebody came or went, `fault` gets what is
    wrong by what it is about, None when it is not any more.
    """

    def __init__(  # noqa: PLR0913
        self,
        chosen: Settings,
        paths: Paths,
        *,
        tell: Callable[[Event], None],
        changed: Callable[[], None],
        progressed: Callable[[], None],
        say: Callable[[str], None],
        fault: Callable[[str, str | None], None],
    ) -> None:
        self._settings, self._paths = chosen, paths
        self._changed, self._say, self._fault = changed, say, fault
        self._progressed = progressed
        self.clients = NfsClients(
            tell, progressed, self._mounted, paths, paths.nfs_state / "ganesha/v4recov"
        )
        self._furnishing = Furnishing(paths, say, evidence.neighbour)
        self._storage = storage_of(chosen, paths)
        self.layers = Layers(
            paths, chosen, self._furnishing.furnish, self.clients.is_busy, storage=self._storage
        )
        self._choice = Choice(None, "not decided yet")
        self._undecided = False  # what serves could not be found out yet
        self._runs: Server | None = None  # what ran already when we were started
        self._hosts_rpcbind = False
        self._network: Network | None = None
        self._exports: tuple[Export, ...] = ()
        self._numbers = export_numbers.ExportNumbers(paths.nfs_state)
        self._served: dict[PurePosixPath, UUID] = {}  # what the server was told last
        self._in_use: Mapping[str, tuple[str, ...]] = {}  # as the builder was told last
        self._has_read = False  # `layers` knows those that are there
        self._sizes: Mapping[PurePosixPath, Size] = {}
        self._roots: RootCatalog | None = None  # None: not told yet
        self._refused: frozenset[tuple[str, str]] = frozenset()  # versions that cannot be served
        self._default: str | None = None
        # What is to be done, one after the other.
        self._due = asyncio.Event()
        self._gone = asyncio.Event()  # layers may have files to be deleted
        self._seen: dict[str, IPv4Address] = {}  # machines to be given their layers
        self._booting: set[tuple[str, str]] = set()  # machines, with the key of the root
        self._newly_mounted: set[PurePosixPath] = set()
        self._wanted = False  # what there should be has changed
        self._wanting: asyncio.Task[None] | None = None  # a version is copied, as long as it takes
        self._unsettled = False  # exports that are gone are still mounted
        self._settling = Alarm(self._due.set)
        self._choosing = Alarm(self._choose_again)

    # --- the start

    async def open(self, programs: Mapping[str, str]) -> None:
        """Decide what serves, and mount what machines may still run from.

        `programs` are supervisord's, with their states: those that run are ours.
        """
        if self._settings.nfs == "off":
            self._choice = Choice(None, "BOOTDROP_NFS=off")
            return
        self._runs = next((_SERVERS[p] for p in _SERVERS if programs.get(p) in ALIVE), None)
        if programs.get("rpcbind") not in ALIVE:
            self._hosts_rpcbind = await somebody_elses_answers()
        self._undecided = True
        try:
            await self._choose()
        except CommandFailed as error:
            await self._cannot(f"it cannot be found out what serves NFS here: {error}")
        except OSError as error:
            await self._cannot(refusal(self._paths, error))

    async def _choose(self) -> None:
        """Find out what serves, and end what was left behind."""
        if self._runs != "kernel":
            elsewhere = await choice.foreign_server() is not None
            if await kernel_server.end_leftovers(self._paths, elsewhere=elsewhere):
                self._say("threads of nfsd that a killed container of ours left are ended")
        await self._take(await choice.choose(self._settings.nfs, self._paths))
        self._undecided = False

    async def _take(self, chosen: Choice) -> None:
        """Have the layers that are there served by what was chosen. Raises OSError."""
        if chosen.server is not None:
            await asyncio.to_thread(self.layers.start)
            self._has_read = self._storage.is_open
            if not self.layers.works:
                chosen = Choice(None, self.layers.said)
            self._exports = self._numbered()
            self._wanted = self._unsettled = True
            self._due.set()
        if chosen != self._choice:
            self._choice = chosen
            server = {"kernel": "the kernel's nfsd", "ganesha": "nfs-ganesha"}
            by = server.get(chosen.server or "", "nothing")
            self._say(f"roots over NFS are served by {by}: {chosen.why}")
        if chosen.server is None:
            self._choosing.within(_ANOTHER_CHOICE)
        explicit = self._settings.nfs in ("kernel", "ganesha")
        self._fault("nfs", f"NFS: {chosen.why}" if chosen.server is None and explicit else None)

    def _choose_again(self) -> None:
        self._wanted = True
        self._due.set()

    async def _cannot(self, why: str) -> None:
        """Tell what hinders a choice, and try again; what runs goes on, as machines run from it."""
        self._choice = Choice(self._runs, why)
        if self._runs is not None:
            with suppress(OSError):  # `why` has it already, or the next try will
                await self._take(self._choice)
        self._fault("nfs", why)
        self._choosing.within(_ANOTHER_CHOICE)

    # --- what is asked for

    @property
    def serves(self) -> bool:
        """Tell whether machines can be sent here for their roots."""
        return self._choice.server is not None

    @property
    def service(self) -> NfsService:
        """Return what the NFS server is to serve now."""
        if self._choice.server is None:
            return NfsService(None, self._choice.why)
        return NfsService(self._choice.server, "", self._served_next, self._hosts_rpcbind)

    @property
    def _served_next(self) -> tuple[Export, ...]:
        """Return the exports but those whose path is another's still: it goes first.

        nfs-ganesha, told both at once, has the new one and finds no way to it by NFSv4.
        """
        return tuple(
            each for each in self._exports if self._served.get(each.path, each.fsid) == each.fsid
        )

    @property
    def machines(self) -> tuple[str, ...]:
        """Return the hardware addresses of machines that have layers, sorted."""
        return tuple(sorted({each.mac for each in self.layers.layers() if not each.is_shared}))

    def bootable(self, roots: RootCatalog) -> RootCatalog:
        """Return roots as the menu may offer them: over NFS only those that can be served."""
        return over_nfs_without(self._refused, roots)

    def in_use(self) -> Mapping[str, tuple[str, ...]]:
        """Return the versions in roots/ that layers need, by their root's name, served or not.

        Raises OSError where the layers cannot be read, as the builder deletes what none needs.
        """
        if not self._storage.needs_versions:
            return {}
        return self.layers.in_use() if self._has_read else versions_on(self._storage.shelves)

    @property
    def notices(self) -> tuple[str, ...]:
        """Return what is wrong with layers, and what the host's own server may offer, in lines."""
        return self.layers.notices + self._hosts_exports

    @property
    def _hosts_exports(self) -> tuple[str, ...]:
        """Return what the admin may add to the host's exports, where its server is the one."""
        if not self._choice.by_host or self._network is None:
            return ()
        volume = choice.host_folder(_MOUNTS.read_text("utf-8", "replace"), self._paths.boot)
        return tuple(
            f"for the host's /etc/exports: {choice.host_export(volume, self._network.subnet, root)}"
            for root in (self._roots.roots if self._roots else ())
            if FORMAT in root.formats
        )

    def hear(self, event: Event) -> None:
        """Take in what a daemon said of a machine."""
        self.clients.hear(event)
        if self.serves and (address := given_address(event)):
            self._seen[event.client] = address
            self._due.set()
        if (fetched := self._furnishing.hear(event)) is not None and self.serves:
            self._booting.add((fetched.mac, fetched.root))
            self._due.set()

    def want(self, plan: Menu, catalog: Catalog, roots: RootCatalog) -> None:
        """Say what the menu offers; the default root is that of its root-path."""
        path = plan.root_path.partition(":")[2]
        default = PurePosixPath(path).parts[1] if path else None
        modules = {each.kernel: modules_of(each, roots.layers) for each in catalog.kernels}
        kernels = {entry.key: entry.kernel for entry in plan.entries}
        offered = Offered(
            {kernel: layer for kernel, layer in modules.items() if layer is not None},
            roots.roots,
            kernels.get(plan.default or ""),
            default,
        )
        if self._furnishing.offers(offered):
            self._due.set()
        if (roots, default) != (self._roots, self._default):
            self._roots, self._default = roots, default
            self._wanted = True
            self._due.set()

    def reconciled(self, situation: Situation) -> None:
        """Unmount what the server has been told to drop."""
        self.clients.serve(situation)
        self._network = situation.network
        waited = self.serves and self._served_next != self._exports
        self._served = {each.path: each.fsid for each in situation.nfs.exports}
        if waited:
            self._changed()
        if self._unsettled and situation.nfs.exports == self._exports:
            self._settling.within(_ANOTHER_SETTLING)

    def _mounted(self, path: PurePosixPath) -> None:
        self._newly_mounted.add(path)
        self._due.set()

    # --- what is done

    async def follow(self) -> None:
        """Make, show and measure layers, for ever."""
        async with asyncio.TaskGroup() as tasks:
            tasks.create_task(self.clients.follow())
            tasks.create_task(self._measure())
            tasks.create_task(self._sweep())
            tasks.create_task(self._follow_rpcbind())
            while True:
                await self._due.wait()
                self._due.clear()
                await self._try("layers", self._work())
                if self._wants_now:
                    self._wanting = tasks.create_task(self._try("nfs roots", self._want()))
                    self._wanting.add_done_callback(self._wanted_once)

    async def _follow_rpcbind(self) -> None:
        if self._hosts_rpcbind:
            await hosts_ended()
            self._hosts_rpcbind = False
            self._changed()

    async def _try(self, about: str, work: Coroutine[Any, Any, None]) -> None:
        try:
            await work
            self._fault(about, None)
        except CommandFailed as error:
            self._again_later(about, f"roots over NFS: {error}")
        except OSError as error:
            self._again_later(about, self._refusal(error))

    def _refusal(self, error: OSError) -> str:
        if self._paths.store in Path(error.filename or "/").parents:
            return f"{self._storage.name}: {error.strerror}"
        return refusal(self._paths, error)

    def _again_later(self, about: str, why: str) -> None:
        self._fault(about, why)
        self._settling.within(_ANOTHER_CHOICE)

    async def _want(self) -> None:
        """Have what there should be, while machines that are seen get their layers."""
        assert self._roots is not None
        self._wanted = False
        self._progressed()
        loop = asyncio.get_running_loop()

        def prepared() -> None:
            loop.call_soon_threadsafe(self._prepared)

        await asyncio.to_thread(self.layers.want, self._roots.roots, self._default, prepared)
        self._prepared()
        shown = {each.path for each in self.layers.exports()}
        wanted = (each for each in self._roots.roots if FORMAT in each.formats)
        if any(self._is_missing(each, shown) for each in wanted):
            self._choosing.within(_ANOTHER_TRY if self._storage.is_open else _ANOTHER_CHOICE)
        self._progressed()

    def _is_missing(self, root: PublishedRoot, shown: Collection[PurePosixPath]) -> bool:
        """Tell whether a root that is to be served is not; why is among the notices."""
        if shared := EVERYBODY.get(share(self._settings, root)):
            return layer_path(root.key, root.id, shared) not in shown
        return not os.path.exists(self._storage.tree(root.name, root.id))

    def _prepared(self) -> None:
        """Offer the roots that can be served now, and no others."""
        self._publish()
        refused, self._refused = self._refused, self.layers.refused
        if refused != self._refused:
            self._changed()

    @property
    def _wants_now(self) -> bool:
        """Tell whether layers are to be told which there should be.

        Before it is known which roots there are, every layer would be of one that is gone.
        """
        known = self._roots is not None
        return self.serves and known and self._wanted and self._wanting is None

    def _wanted_once(self, _: asyncio.Task[None]) -> None:
        self._wanting = None
        self._due.set()

    async def _work(self) -> None:
        if self._settings.nfs == "off":
            return
        if self._undecided or self._choice.server is None:
            await self._choose()
            if self.serves:
                self._changed()
        if self._choice.server is None:
            self._seen.clear()
            self._booting.clear()
            return
        # Machines first: the others have time, but not for ever, as addresses can be asked for
        # faster than layers are made.
        for _ in range(len(self._seen)):
            mac = next(iter(self._seen))
            await asyncio.to_thread(self.layers.machine_seen, mac, self._seen.pop(mac))
            self._publish()
        for _ in range(len(self._booting)):
            mac, root = self._booting.pop()
            await asyncio.to_thread(self.layers.machine_boots, mac, root)
            self._publish()
        if self._unsettled:
            self._unsettled = not await asyncio.to_thread(self.layers.settle)
            self._gone.set()
            self._publish()
            if self._unsettled:
                self._settling.within(_HELD)
        # After what makes room: on a full disk it cannot be noted, and is tried again.
        for path in tuple(self._newly_mounted):
            await asyncio.to_thread(self.layers.mounted, path)
            self._newly_mounted.discard(path)
        self._publish()  # what has got no number yet
        await self._refurnish()

    async def _refurnish(self) -> None:
        """Put into layers what is due, as long as no machine waits for its own."""
        refused = await self._furnishing.refurnish(
            self.layers, lambda: bool(self._seen or self._booting)
        )
        self._fault("modules", refused)
        if refused:
            self._settling.within(_ANOTHER_CHOICE)

    def _publish(self) -> None:
        """Have the server take up what there is now, and tell what was found meanwhile."""
        self._furnishing.tell()
        exports, in_use = self._numbered(), self.in_use()
        is_other_use, self._in_use = in_use != self._in_use, in_use
        if exports != self._exports or is_other_use:
            # What is exported no more is unmounted once the server has dropped it.
            self._unsettled |= not set(self._exports) <= set(exports)
            self._exports = exports
            self._changed()

    def _numbered(self) -> tuple[Export, ...]:
        """Return what is to be served: where new numbers cannot be noted, what has one already."""
        exports, folder = self.layers.exports(), self._paths.nfs_state
        try:
            numbered = self._numbers.numbered(exports)
        except (OSError, ValueError) as error:
            said = error.strerror if isinstance(error, OSError) else error
            self._fault("numbers", f"{folder}: no new root over NFS is served: {said}")
            self._settling.within(_ANOTHER_CHOICE)
            return self._numbers.known_ones(exports)
        self._fault("numbers", None)
        return numbered

    async def _measure(self) -> None:
        loop = asyncio.get_running_loop()
        pause, told = _MEASURE, self.notices
        while True:
            await asyncio.sleep(pause)
            if not self.layers.layers():
                continue
            begun = loop.time()
            try:
                self._sizes = await asyncio.to_thread(self.layers.sizes)
                self._publish()
                self._fault("sizes", None)
            except OSError as error:
                self._fault("sizes", f"{self._storage.name}: not measured: {error}")
            if self.notices != told:
                told = self.notices
                self._progressed()
            pause = max(_MEASURE, _MEASURE_SHARE * (loop.time() - begun))

    async def _sweep(self) -> None:
        """Delete layers' files, for ever: of a large one for minutes, in which machines boot."""
        while True:
            await self._gone.wait()
            self._gone.clear()
            try:
                has_more = await asyncio.to_thread(self.layers.sweep)
                if has_more and self.layers.refused:  # there may be room for them now
                    self._wanted = True
                    self._due.set()
                self._fault("sweep", None)
            except OSError as error:
                self._fault("sweep", f"{error.filename}: not deleted: {error.strerror}")

    def layers_changed(self) -> None:
        """Take up what somebody did with layers: to be called after it."""
        self._unsettled = True
        self._publish()
        self._due.set()
        self._progressed()

    # --- what is told

    @property
    def status(self) -> NfsStatus:
        """Return what serves roots, or why nothing does."""
        way = self.layers.said if self.serves else ""
        return NfsStatus(self._choice.server, self._choice.why, way, len(self._exports))

    @property
    def layer_statuses(self) -> tuple[MachineStatus, ...]:
        """Return a line for each layer, sorted by holder and root."""
        exports = {each.path: each for each in self._exports}
        roots = self._roots.roots if self._roots else ()
        current = {(root.key, root.id) for root in roots}
        statuses = (
            layer_status(
                each,
                self._sizes.get(each.path),
                limit=self._settings.nfs_layer_size << 20,
                is_current=(each.record.key, each.record.version) in current,
                is_writable=each.path in exports and exports[each.path].writable,
                is_busy=each.path in exports and self.clients.is_busy(exports[each.path]),
            )
            for each in self.layers.layers()
        )
        return tuple(sorted(statuses, key=lambda each: (each.holder, each.root)))
