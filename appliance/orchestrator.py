"""The one process that knows everything: hears the volume, the network and the daemons, and acts.

Each thing that changes leads to the same step: look, plan, render, reconcile.
"""

from __future__ import annotations

import asyncio
from typing import BinaryIO

from appliance import network, settings, settings_load
from appliance.alarm import Alarm
from appliance.cards import Cards
from appliance.catalog.model import Catalog
from appliance.control import ControlServer
from appliance.daemons import ALL
from appliance.daemons.base import ASKING_MAC, PROBE_MAC, Daemon
from appliance.daemons.containment import landlock_works
from appliance.daemons.nginx import Nginx
from appliance.daemons.tftpd import Tftpd
from appliance.events import listener, syslog
from appliance.events.drops import Brevity
from appliance.events.hub import Event, Hub, printable
from appliance.health import Health
from appliance.kernels import Kernels
from appliance.menu import entries, menu
from appliance.neighbours import Neighbours
from appliance.nfs_roots.layer_commands import Commands
from appliance.nfs_roots.nfs_roots import NfsRoots
from appliance.paths import Paths
from appliance.reconcile import publish_boot_files, published_path, reconcile, still_offered
from appliance.render import Renderer
from appliance.roots import Roots
from appliance.run import CommandFailed
from appliance.silence import SilenceWatch
from appliance.situation import Situation, base_url
from appliance.status import KernelStatus, RefusedFile, Status, kernel_nfs
from appliance.supervision import NotSupervised, Supervision
from appliance.volume import VOLUME_LOOK, refusal

NAME = "bootdrop"  # whose lines the orchestrator's own are
# Seconds until an interface or a port that cannot be used yet is tried again.
_NETWORK_LOOK = 2.0
# Seconds in which more machines may tell their network cards before they are written down.
_CARDS_PAUSE = 1.0


async def serve(paths: Paths) -> None:
    """Run until the process is ended. Standard input and output belong to supervisord."""
    pipe = listener.take_stdout()
    orchestrator = Orchestrator(settings_load.load(paths.settings), paths, Hub())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(orchestrator.hear_supervisord(pipe))
        tasks.create_task(orchestrator.run())


class Orchestrator:
    """Holds what is known and what is under way."""

    def __init__(self, chosen: settings.Settings, paths: Paths, hub: Hub) -> None:
        self._settings = chosen
        self._paths = paths
        self._hub = hub
        self._daemons: dict[str, Daemon] = {daemon.name: daemon for daemon in ALL}
        self._renderer = Renderer(paths.templates)
        self._supervision = Supervision(paths.supervisor)
        self._nfs = NfsRoots(
            chosen,
            paths,
            tell=self._tell_nfs,
            changed=self._exports_changed,
            progressed=self._progressed,
            say=self._say,
            fault=self._fault,
        )
        self._control = ControlServer(
            hub, self.status, Commands(self._nfs.layers, self._nfs.layers_changed)
        )
        self._health = Health(self._supervision, hub, self._control.status_changed)
        self._brevity = Brevity(self._say)
        self._due = asyncio.Event()  # something changed: reconcile
        self._again = Alarm(self._due.set)  # something may work by then: reconcile
        self._kernels = Kernels(
            paths,
            keep=chosen.keep,
            looked=self._looked_at_kernels,
            say=self._brevity.say,
            fault=lambda reason: self._fault("volume", reason),
            replaced=self._serve_new_published,
        )
        self._roots = Roots(
            paths,
            also_in_use=self._nfs.in_use,
            changed=self._due.set,
            progressed=self._control.status_changed,
            say=self._brevity.say,
            fault=lambda error: self._fault("roots", refusal(paths, error) if error else None),
        )
        self._neighbours = Neighbours(chosen, self._fault, self._due.set)
        self._silence = SilenceWatch(
            chosen.http_port, self._silence_changed, self._nfs.clients.has_mounted
        )
        self._cards = Cards(paths.state)
        self._new_cards = Alarm(self._save_cards)
        self._offered = Catalog()  # what the menu that machines get was made from
        self._situation = Situation(chosen, paths, entries.Menu())
        self._notices: frozenset[str] = frozenset()  # of the menu, that were told
        self._faults: dict[str, str] = {}  # by what they are about
        self._landlock = True

    async def run(self) -> None:
        """Start everything that listens, then keep what runs as it should be."""
        self._landlock = await landlock_works()
        if not self._landlock:
            self._say(
                "this kernel or container engine has no Landlock (Linux 5.13): users and modes "
                "alone keep daemons from other files"
            )
        log = await syslog.open_socket(self._hear_syslog)
        server = await self._control.serve(self._paths.control)
        if Tftpd.name in await self._supervision.states():
            # We were started anew: in.tftpd, chrooted, would not find the new socket for its log.
            await self._supervision.restart(Tftpd.name)
        await self._nfs.open(await self._supervision.states())
        links = network.watch_interfaces(self._due.set)
        try:
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(self._kernels.follow())
                tasks.create_task(self._roots.follow())
                tasks.create_task(self._nfs.follow())
                tasks.create_task(self._keep_current())
        finally:
            links.close()
            server.close()
            log.close()

    def status(self) -> Status:
        """Return the state of everything."""
        catalog = self._kernels.catalog or Catalog()
        plan, network_now = self._situation.menu, self._situation.network
        state, reasons = self._health.summary(tuple(dict.fromkeys(self._faults.values())))
        cards = self._cards.seen
        titles = {entry.key: entry.title for entry in plan.entries} | {entries.LOCAL: "local disk"}
        return Status(
            state="starting" if self._kernels.catalog is None and not reasons else state,
            reasons=reasons,
            daemons=self._health.statuses(),
            address=str(network_now.server) if network_now else "",
            kernels=tuple(
                KernelStatus(
                    *(each.name, each.version, each.arch, each.id),
                    kernel_nfs(each, self._settings, cards),
                )
                for each in self._offered.kernels
            ),
            default=titles.get(plan.default or "", ""),
            roots=self._roots.statuses,
            nfs=self._nfs.status,
            clients=self._nfs.clients.statuses(
                {root.key: root.name for root in self._roots.catalog.roots}
            ),
            machines=self._nfs.layer_statuses,
            notices=plan.notices + self._roots.notices + self._nfs.notices + self._silence.notices,
            refused=tuple(RefusedFile(str(each.path), each.reason) for each in catalog.refused),
            pending=tuple(map(str, catalog.pending)),
        )

    # --- what is heard

    async def hear_supervisord(self, pipe: BinaryIO) -> None:
        """Pass on what daemons print and what becomes of their processes."""
        source = await listener.standard_input()
        async for notification in listener.notifications(source, pipe):
            daemon = self._daemons.get(notification.program)
            if daemon is None:
                continue
            if isinstance(notification, listener.LogLine):
                self._hear_output(daemon, notification.text)
            else:
                self._health.process_state(daemon, notification.state)
        raise SystemExit("supervisord is gone")

    def _hear_output(self, daemon: Daemon, text: str) -> None:
        if daemon.output_is_forgeable:
            self._health.last_line(daemon, printable(text))  # why it ended, if it does
        else:
            self._hear_line(daemon, text)

    def _hear_syslog(self, tag: str, text: str) -> None:
        # dhcpd logs here too, each line for the second time.
        for daemon in ALL:
            if daemon.syslog_tag == tag:
                self._hear_line(daemon, text)

    def _hear_line(self, daemon: Daemon, text: str) -> None:
        if daemon.is_noise(text):
            return
        event = daemon.event(text)
        self._health.last_line(daemon, event.text)
        if not self._is_of_a_probe(event):
            if event.kind != "nfs":  # what that comes to is told by nfs_clients, in plain words
                self._hub.tell(event)
            self._silence.hear(event)
            self._nfs.hear(event)
            if self._cards.hear(event):
                self._new_cards.within(_CARDS_PAUSE)

    def _save_cards(self) -> None:
        """Remember new cards, and say what they mean for kernels."""
        try:
            self._cards.save()
            self._fault("cards", None)
        except OSError as error:
            self._fault("cards", f"{error.filename}: {error.strerror}; it is tried again")
            self._new_cards.within(VOLUME_LOOK)
        self._control.status_changed()

    def _is_of_a_probe(self, event: Event) -> bool:
        """Tell whether an event is about our own health checks, which are no news."""
        network_now = self._situation.network
        own = {PROBE_MAC, ASKING_MAC, "127.0.0.1", str(network_now.server) if network_now else ""}
        return event.client != "" and event.client in own

    def _silence_changed(self, said: str | None) -> None:
        if said is not None:
            self._hub.tell(Event(NAME, said, "fault"))
        self._control.status_changed()

    def _tell_nfs(self, event: Event) -> None:
        self._hub.tell(event)
        self._silence.hear(event)

    def _progressed(self) -> None:
        self._control.status_changed()

    def _exports_changed(self) -> None:
        self._roots.note_in_use()
        self._due.set()

    def _say(self, text: str) -> None:
        self._hub.tell(Event(NAME, printable(text), "boot"))

    def _fault(self, about: str, reason: str | None) -> None:
        """Record or clear what is wrong; a new reason is said once."""
        if reason is None:
            if self._faults.pop(about, None) is not None:
                self._control.status_changed()
        elif self._faults.get(about) != (reason := printable(reason)):  # machines name files, too
            known = reason in self._faults.values()  # one full volume hinders more than one thing
            self._faults[about] = reason
            if not known:
                self._hub.tell(Event(NAME, reason, "fault"))
                self._control.status_changed()

    # --- the volume

    def _looked_at_kernels(self, changed: bool) -> None:
        if changed or self._is_menu_gone():
            self._due.set()

    def _is_menu_gone(self) -> bool:
        """Tell whether somebody deleted a menu."""
        names = self._renderer.boot_file_names(self._situation)
        return not all(published_path(self._situation, name).exists() for name in names)

    def _serve_new_published(self) -> None:
        """Start what serves published/ anew, now that the folder itself is another one.

        in.tftpd has it as its root, nginx by its Landlock rule: both hold the folder, not the name.
        """
        for name in (Nginx.name, Tftpd.name):
            self._say(f"{self._paths.published} is another folder now; {name} is started anew")
            self._health.start_anew(self._daemons[name])

    # --- the step

    async def _keep_current(self) -> None:
        while True:
            await self._due.wait()
            self._due.clear()
            catalog, rescue = self._kernels.catalog, self._kernels.rescue
            if catalog is None or rescue is None:
                continue  # the first scan ends with another call
            try:
                self._situation = await self._look(catalog, rescue)
                self._nfs.want(self._situation.menu, catalog, self._roots.catalog)
                if publish_boot_files(self._situation, self._renderer):
                    self._tell_menu(self._situation.menu)
                self._offered = catalog
                self._fault("published", None)
            except OSError as error:
                self._offered = still_offered(self._paths, catalog)
                self._fault("published", refusal(self._paths, error))
                self._again.within(VOLUME_LOOK)
            try:
                outcomes = await reconcile(self._situation, ALL, self._renderer, self._supervision)
            except NotSupervised as refused:  # supervisord itself is being stopped
                self._say(str(refused))
                continue
            for outcome in outcomes:
                fault = outcome.fault and f"{outcome.daemon}: {outcome.fault}"
                self._fault(f"reconcile {outcome.daemon}", fault)
                self._health.reconciled(self._daemons[outcome.daemon], outcome, self._situation)
                if outcome.again:
                    self._again.within(_NETWORK_LOOK)
            self._nfs.reconciled(self._situation)
            self._control.status_changed()

    async def _look(self, catalog: Catalog, rescue: tuple[entries.RescueRoot, ...]) -> Situation:
        """Put together what is known now."""
        try:
            found = network.resolve(self._settings, await network.read_interfaces())
            self._fault("network", None)
        except network.NoNetwork as reason:
            found = None
            self._fault("network", str(reason))
        except (CommandFailed, ValueError) as error:
            # The links changed while they were listed, or no process could be started; what was
            # known is good for now.
            found = self._situation.network
            self._again.within(_NETWORK_LOOK)
            self._fault("network", f"the interfaces cannot be listed: {error}")
        url = base_url(self._settings, found)
        help_url = url and f"{url}/help.txt"
        nfs_server = found.server if found and self._nfs.serves else None
        roots = self._nfs.bootable(self._roots.catalog)
        plan = menu.plan(self._settings, catalog, rescue, help_url, roots, nfs_server=nfs_server)
        return Situation(
            self._settings,
            self._paths,
            plan,
            found,
            self._neighbours.other_router(found),
            self._neighbours.other_dhcp_servers(found),
            nfs=self._nfs.service,
            machines=self._nfs.machines,
            landlock=self._landlock,
        )

    def _tell_menu(self, plan: entries.Menu) -> None:
        for notice in plan.notices:
            if notice not in self._notices:
                self._brevity.say(notice)
        self._notices = frozenset(plan.notices)
        default = next((each.title for each in plan.entries if each.key == plan.default), None)
        self._say(f"menu of {len(plan.entries)} entries, default: {default or plan.default}")
