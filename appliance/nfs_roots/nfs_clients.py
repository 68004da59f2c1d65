"""Follows who uses the NFS server: looks at its connections, hears its log, tells of both."""

from __future__ import annotations

import asyncio
import re
import time
from collections.abc import Callable, Mapping
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath

from appliance.bounded import some
from appliance.events.drops import Brevity
from appliance.events.hub import Event, printable
from appliance.events.leases import given_address
from appliance.network import Network
from appliance.nfs import connections, evidence
from appliance.nfs.clients import Change, Client, Clients, Sight
from appliance.nfs.connections import Connection
from appliance.nfs.export import EVERYBODY, Export, NfsService
from appliance.nfs.mount_log import Refused, of_ganesha, of_mountd
from appliance.paths import Paths
from appliance.run import CommandFailed
from appliance.situation import Situation
from appliance.status import ClientStatus

NAME = "nfs"  # whose lines those about mounts are
# Seconds between two looks at the connections, and at least between two at Ganesha's open files,
# which may be many.
_PERIOD = 5.0
_FILES_PERIOD = 15.0

# Whose lines tell of mounts and refusals.
_READERS = {"mountd": of_mountd, "nfsd": of_mountd, "ganesha": of_ganesha}

# What dhcpd logs of a machine whose firmware boots (dhcpd.conf.j2).
_STAGE = re.compile(r"stage=(firmware|loader|ipxe) ")
# A line of ours begins with whom it is about.
_ABOUT = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}(?= )|\d+(\.\d+){3}(?= )")
_MOST_NAMED = 3  # paths in a line


class NfsClients:
    """Knows who has what mounted.

    `tell` gets an event for each mount, each machine that went and each refusal; `changed` is
    called when one came or went; `mounted` gets each path that a machine certainly mounted.
    `recovery` is where Ganesha keeps a folder for each of its NFSv4 clients.
    """

    def __init__(
        self,
        tell: Callable[[Event], None],
        changed: Callable[[], None],
        mounted: Callable[[PurePosixPath], None],
        paths: Paths,
        recovery: Path,
    ) -> None:
        self._tell = tell
        self._changed = changed
        self._mounted = mounted
        self._paths = paths
        self._recovery = recovery
        self._clients = Clients()
        self._brevity = Brevity(self._say, lists="bootdrop clients")
        self._service = NfsService(None)
        self._network: Network | None = None
        self._serves = asyncio.Event()
        self._has_looked = False
        self._files_seen = 0.0  # of the monotonic clock

    def serve(self, situation: Situation) -> None:
        """Take in what is served now."""
        self._network, self._service = situation.network, situation.nfs
        if self._service.server is not None and self._service.exports:
            self._serves.set()
        else:
            self._serves.clear()

    async def follow(self) -> None:
        """Look at the connections now and then, for ever, while something is served."""
        while True:
            await self._serves.wait()
            try:
                found = await connections.established()
            except CommandFailed:
                found = (
                    None  # no process could be started; what TCP counted stands at the next look
                )
            if found is not None:
                await self._look(tuple(each for each in found if not self._is_ours(each.address)))
            await asyncio.sleep(_PERIOD)

    async def _look(self, found: tuple[Connection, ...]) -> None:
        now = time.monotonic()
        looks_at_files = self._clients.is_in_doubt and now - self._files_seen >= _FILES_PERIOD
        if looks_at_files:
            self._files_seen = now
        sight = await asyncio.to_thread(
            see, found, self._service, self._paths.exports, self._recovery, looks_at_files
        )
        changes = self._clients.look(sight)
        self._has_looked = True
        for change in changes:
            self._brevity.say(_change(change))
            if change.what == "mounted" and change.client.certain:
                for path in change.client.paths:
                    self._mounted(path)
        if changes:
            self._changed()

    def _is_ours(self, address: IPv4Address) -> bool:
        """Tell whether it is our own probe that is connected."""
        server = self._network.server if self._network else None
        return address.is_loopback or address == server

    # --- what is heard

    def hear(self, event: Event) -> None:
        """Take in what a daemon said."""
        if event.kind == "dhcp":
            self._hear_dhcp(event)
        elif reader := _READERS.get(event.daemon):
            happening = reader(event.text)
            if happening is None or self._is_ours(happening.address):
                return
            if isinstance(happening, Refused):
                self._brevity.say(self._refusal(happening))
            else:
                self._clients.hear(happening)

    def _hear_dhcp(self, event: Event) -> None:
        if address := given_address(event):
            self._clients.leased(address, event.client)
        elif _STAGE.match(event.text):
            for change in self._clients.boots(event.client):
                self._brevity.say(_change(change))

    def _refusal(self, refused: Refused) -> str:
        """Say who asked for what and why that could not be."""
        asked = f" asked for {printable(refused.path)}" if refused.path else " asked for an export"
        text = f"{refused.address}{asked}: refused"
        network = self._network
        if network is not None and refused.address not in network.subnet:
            return f"{text}: it is outside of {network.subnet}, the only network that is served"
        paths = sorted(str(each.path) for each in self._service.exports)
        if refused.path in paths:
            return f"{text}: the export is not for this machine"
        if not paths:
            return f"{text}: there is no root over NFS"
        return f"{text}: there is no such root; there are {some(paths, _MOST_NAMED)}"

    def _say(self, text: str) -> None:
        about = _ABOUT.match(text)
        self._tell(Event(NAME, text, "nfs", about[0] if about else ""))

    # --- what is known

    def is_busy(self, export: Export) -> bool:
        """Tell whether some machine has an export mounted, or may have. Any thread may ask.

        Before the first look nobody knows, so every one may be: a server that outlived the
        orchestrator has its machines still.
        """
        return not self._has_looked or self._clients.is_busy(export)

    def has_mounted(self, machine: str) -> bool:
        """Tell whether a machine uses the server, by its hardware address or its IPv4 address."""
        return any(
            machine in (each.mac, str(each.address)) and each.state != "gone"
            for each in self._clients.clients()
        )

    def statuses(self, names: Mapping[str, str]) -> tuple[ClientStatus, ...]:
        """Return a line for each machine; `names` has the name of each root by its key."""
        return tuple(_status(client, names, time.time()) for client in self._clients.clients())


def see(
    found: tuple[Connection, ...],
    service: NfsService,
    exports: Path,
    recovery: Path,
    looks_at_files: bool,
) -> Sight:
    """Gather what the server and the kernel show of those who are connected."""
    if not found:
        return Sight(exports=service.exports)
    neighbours = evidence.hardware_addresses(evidence.text(evidence.PROC / "net/arp"))
    if service.server == "kernel":
        mounts = evidence.mounted_exports(evidence.text(evidence.PROC / "self/mountinfo"), exports)
        versions, uses = evidence.kernel_clients(evidence.NFSD, mounts)
        return Sight(found, service.exports, versions, uses, neighbours=neighbours)
    ganesha = evidence.process_named("ganesha.nfsd") if looks_at_files else None
    return Sight(
        found,
        service.exports,
        evidence.ganesha_clients(recovery),
        opened=evidence.ganesha_opens(ganesha, exports) if ganesha else frozenset(),
        neighbours=neighbours,
    )


def _change(change: Change) -> str:
    client = change.client
    who = f"{client.mac} ({client.address})" if client.mac else str(client.address)
    named = ", ".join(map(str, client.paths[:_MOST_NAMED])) or "something"
    if len(client.paths) > _MOST_NAMED:
        named += f" or one of {len(client.paths) - _MOST_NAMED} more"
    if change.what == "gone":
        return f"{who} is gone: {named}; read {client.read} bytes, wrote {client.written}"
    how = f" by NFS {client.version}" if client.version else ""
    doubt = "" if client.certain else "one of " if len(client.paths) > 1 else "probably "
    return f"{who} mounted {doubt}{named}{how}"


def _status(client: Client, names: Mapping[str, str], now: float) -> ClientStatus:
    # /ROOT/VERSION/HOLDER; the kernel's own default path says nothing of the root.
    path = next((each for each in client.paths if len(each.parts) == 4), None)
    key, version, holder = path.parts[1:] if path else ("", "", "")
    return ClientStatus(
        mac=client.mac,
        address=str(client.address),
        root=names.get(key, key),
        version=version,
        share=EVERYBODY.get(holder, "clone") if holder else "",
        paths=tuple(map(str, client.paths)),
        certain=client.certain,
        nfs=client.version,
        since=client.since,
        idle=round(max(0.0, now - client.active), 1),
        read=client.read,
        written=client.written,
        state=client.state,
    )
