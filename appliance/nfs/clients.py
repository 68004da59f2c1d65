"""Which machine has which export mounted, since when, and how much it read and wrote.

Values in, values out: what was seen comes by `look`, what was logged by `hear`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from ipaddress import IPv4Address
from pathlib import PurePosixPath
from typing import Literal

from appliance.bounded import put
from appliance.nfs.connections import Connection
from appliance.nfs.evidence import Uses, Versions
from appliance.nfs.export import EVERYBODY, Export, default_path, holder_of
from appliance.nfs.mount_log import Attached, Detached, Happening, Mounted, Unmounted

_MOST_CLIENTS = 4096  # whoever comes when so many are there is not counted
_MOST_ADDRESSES = 4096  # of machines that dhcpd gave one; anybody can make them up
_MOST_MOUNTS = 64  # of one machine
_FORGOTTEN_AFTER = 24 * 3600.0  # seconds

# Seconds without a connection until a machine is gone. A server that is started anew, or a switch,
# is back within that.
_GONE_AFTER = 60.0
# Linux closes the connection of an NFSv3 mount that nobody used for 300 s, and makes another when
# somebody does (net/sunrpc/xprtsock.c, XS_IDLE_DISC_TO): such a machine has its root all the same.
# A little less, as only more bytes than _RENEWAL count as use.
_CLOSED_BY_ITSELF_AFTER = 240.0
# An NFSv4 client renews its lease every few seconds, in a few hundred bytes; between two looks that
# is no use of the root.
_RENEWAL = 2048
# Seconds that the clock may differ from one that nobody sets until it was set.
_SET = 1.0
# Looks until it is said what a machine may have mounted, where it cannot be known.
_PATIENCE = 3

# mounted: it has a connection; idle: its own NFSv3 client closed that, the mount may well be there
State = Literal["mounted", "idle", "gone"]


@dataclass(frozen=True)
class Client:
    """One machine that has, or had, exports mounted. Times are seconds since the epoch."""

    address: IPv4Address
    mac: str  # "" where nobody knows it
    paths: tuple[PurePosixPath, ...]  # sorted
    certain: bool  # False: it has one of `paths` mounted, or several
    version: str  # of NFS: 3, 4.0, 4.1, 4.2; "" while it is not known
    since: float
    seen: float  # last time with a connection
    active: float  # last time that it used what it mounted
    read: int  # bytes that TCP carried to it, NFS's own included
    written: int  # bytes that TCP carried from it
    state: State


@dataclass(frozen=True)
class Change:
    """A machine that came with what it mounted, or went."""

    client: Client
    what: Literal["mounted", "gone"]


@dataclass(frozen=True)
class Sight:
    """What can be seen at one moment."""

    connections: tuple[Connection, ...] = ()
    exports: tuple[Export, ...] = ()
    versions: Versions | None = None  # of NFSv4 clients; None: the server does not tell
    uses: Uses = field(default_factory=dict)  # what each has open, where that can be seen
    opened: frozenset[PurePosixPath] = frozenset()  # what somebody has open
    neighbours: Mapping[IPv4Address, str] = field(default_factory=dict)  # hardware addresses


@dataclass
class _Session:
    """A machine from its mount until it boots anew or is gone."""

    address: IPv4Address
    since: float
    seen: float
    active: float
    mac: str = ""
    version: str = ""
    read: int = 0
    written: int = 0
    state: State = "mounted"
    looks: int = 0
    logged: set[PurePosixPath] = field(default_factory=set)
    used: set[PurePosixPath] = field(default_factory=set)
    # What it may have mounted and somebody had open: a look that does not see that takes nothing
    # back, so that of several the same ones are named until more is known.
    opened: set[PurePosixPath] = field(default_factory=set)
    paths: tuple[PurePosixPath, ...] = ()
    certain: bool = False
    told: set[PurePosixPath] = field(default_factory=set)  # what was said that it may have mounted
    told_certain: set[PurePosixPath] = field(default_factory=set)  # and that it has


class _Exports:
    """What machines may mount at one moment, by whose it is: there may be thousands of both."""

    def __init__(self, exports: Iterable[Export]) -> None:
        self.paths = frozenset(each.path for each in exports)
        self._by_holder: dict[str, set[PurePosixPath]] = {}
        for path in self.paths:
            self._by_holder.setdefault(path.name, set()).add(path)
        self.shared = self._of(*EVERYBODY)

    def own(self, session: _Session) -> set[PurePosixPath]:
        """Return the paths that are a machine's own."""
        default = default_path(session.address)
        own = self._of(holder_of(session.mac)) if session.mac else set()
        return own | {default} if default in self.paths else own

    def _of(self, *holders: str) -> set[PurePosixPath]:
        return {path for each in holders for path in self._by_holder.get(each, ())}


@dataclass(frozen=True)
class _Busy:
    """What machines have mounted, or may have."""

    paths: frozenset[PurePosixPath] = frozenset()
    holders: frozenset[str] = frozenset()  # any of whose layers may be: a default path shows one


class Clients:
    """Everybody who has something mounted, and for a day who had.

    `clock` gives epoch seconds, `steady` seconds that nobody sets.
    """

    def __init__(
        self,
        clock: Callable[[], float] = time.time,
        steady: Callable[[], float] = time.monotonic,
    ) -> None:
        self._clock, self._steady = clock, steady
        self._ahead = clock() - steady()
        self._sessions: dict[IPv4Address, _Session] = {}
        self._machines: dict[IPv4Address, str] = {}  # hardware addresses, by dhcpd
        # Bytes received and sent when last looked, by the kernel's number for the socket.
        self._counted: dict[str, tuple[int, int]] = {}
        # Sockets of machines that booted since, as it seems: what is left of an earlier life. With
        # the bytes that came by each until the first look after that.
        self._stale: dict[str, int | None] = {}
        self._sockets: dict[IPv4Address, set[str]] = {}
        self._busy = _Busy()

    # --- what is heard

    def leased(self, address: IPv4Address, mac: str) -> None:
        """Take in that dhcpd gave an address to a machine."""
        put(self._machines, address, mac, _MOST_ADDRESSES)

    def boots(self, mac: str) -> list[Change]:
        """Take in that a machine's firmware asked for an address: what it had mounted is over."""
        changes = [
            change
            for session in self._present()
            if session.mac == mac
            for change in self._end(session)
        ]
        self._note_busy()
        return changes

    def hear(self, happening: Happening) -> None:
        """Take in what a server logged; what follows from it is told at the next look."""
        session = self._sessions.get(happening.address)
        if session is not None and session.state == "gone":
            session = None
        if isinstance(happening, Unmounted):
            if session is not None:
                session.logged.discard(happening.path)
        elif isinstance(happening, Mounted):
            session = session or self._begin(happening.address)
            if session is not None and len(session.logged) < _MOST_MOUNTS:
                session.logged.add(happening.path)
                session.version = happening.version or session.version
        elif isinstance(happening, Attached):
            if session is not None:
                session.version = happening.version
        elif isinstance(happening, Detached) and session is not None:
            session.used.clear()

    # --- what is seen

    def look(self, sight: Sight) -> list[Change]:
        """Take in what is seen now; return who came and who went."""
        now = self._now()
        self._count(sight.connections, now)
        exports, changes = _Exports(sight.exports), list[Change]()
        for session in list(self._sessions.values()):
            if session.state == "gone":
                if now - session.seen > _FORGOTTEN_AFTER:
                    del self._sessions[session.address]
                continue
            self._recognise(session, sight, exports)
            changes += self._told(session)
            changes += self._without_connection(session, now)
        self._note_busy()
        return changes

    def _count(self, connections: Iterable[Connection], now: float) -> None:
        """Add what went over each connection since the last look to its machine's totals."""
        counted: dict[str, tuple[int, int]] = {}
        sockets: dict[IPv4Address, set[str]] = {}
        moved: dict[IPv4Address, int] = {}
        for each in connections:
            counted[each.cookie] = each.received, each.sent
            sockets.setdefault(each.address, set()).add(each.cookie)
            if each.cookie in self._stale:
                heard = self._stale[each.cookie]
                if heard is None or each.received == heard:
                    self._stale[each.cookie] = each.received
                    continue
                # Anybody can ask for an address in its name; who speaks on has not booted anew.
                del self._stale[each.cookie]
            session = self._sessions.get(each.address)
            if session is None or session.state == "gone":
                session = self._begin(each.address)
            if session is None:
                continue
            received, sent = self._counted.get(each.cookie, (0, 0))
            session.written += each.received - received
            session.read += each.sent - sent
            bytes_ = each.received - received + each.sent - sent
            moved[each.address] = moved.get(each.address, 0) + bytes_
            session.seen, session.state = now, "mounted"
        for address, bytes_ in moved.items():
            if bytes_ > _RENEWAL:
                self._sessions[address].active = now
        self._counted, self._sockets = counted, sockets
        self._stale = {each: heard for each, heard in self._stale.items() if each in counted}

    def _now(self) -> float:
        """Return the time; what is known moves along where the clock was set."""
        now = self._clock()
        moved = now - self._steady() - self._ahead
        if abs(moved) > _SET:
            self._ahead += moved
            for session in self._sessions.values():
                session.since += moved
                session.seen += moved
                session.active += moved
        return now

    def _begin(self, address: IPv4Address) -> _Session | None:
        """Begin a machine's session; the oldest that is gone makes room for it."""
        now = self._now()
        if address not in self._sessions and len(self._sessions) >= _MOST_CLIENTS:
            gone = [each for each in self._sessions.values() if each.state == "gone"]
            if not gone:
                return None
            del self._sessions[min(gone, key=lambda each: each.seen).address]
        session = _Session(address, since=now, seen=now, active=now)
        self._sessions[address] = session
        return session

    def _end(self, session: _Session) -> Iterator[Change]:
        self._stale |= dict.fromkeys(self._sockets.get(session.address, set()))
        session.state = "gone"
        if session.told or session.told_certain:
            yield Change(_client(session), "gone")

    def _recognise(self, session: _Session, sight: Sight, exports: _Exports) -> None:
        """Find out who a machine is, what it mounted and by which version."""
        address = session.address
        session.looks += 1
        session.mac = self._machines.get(address, sight.neighbours.get(address, session.mac))
        if sight.versions is not None and session.state == "mounted":
            if address in sight.versions:
                session.version = sight.versions[address]
            elif session.looks > 1:
                session.version = session.version or "3"
        session.used |= sight.uses.get(address, frozenset())
        session.paths, session.certain = _mounted(session, sight, exports)

    @staticmethod
    def _told(session: _Session) -> Iterator[Change]:
        """Tell what a machine mounted once it is known, or was looked at often enough: once."""
        is_due = session.certain or session.looks >= _PATIENCE
        told = session.told_certain if session.certain else session.told | session.told_certain
        if is_due and not told.issuperset(session.paths):
            (session.told_certain if session.certain else session.told).update(session.paths)
            yield Change(_client(session), "mounted")

    def _without_connection(self, session: _Session, now: float) -> Iterator[Change]:
        if now - session.seen <= _GONE_AFTER:
            return
        is_v4 = session.version.startswith("4")
        if not is_v4 and session.seen - session.active > _CLOSED_BY_ITSELF_AFTER:
            session.state = "idle"
            if now - session.seen <= _FORGOTTEN_AFTER:
                return
        yield from self._end(session)

    # --- what is known

    def clients(self) -> tuple[Client, ...]:
        """Return all: who is there first, in the order of their addresses."""
        return tuple(
            _client(session)
            for session in sorted(
                self._sessions.values(), key=lambda each: (each.state == "gone", each.address)
            )
        )

    @property
    def is_in_doubt(self) -> bool:
        """Tell whether `opened` at the next look could tell what somebody mounted."""
        return any(not session.certain for session in self._present())

    def is_busy(self, export: Export) -> bool:
        """Tell whether a machine has an export mounted, or may have. Any thread may ask.

        The kernel's default path shows one of the machine's own layers, so that all of them may be.
        """
        busy = self._busy
        return export.path in busy.paths or export.path.name in busy.holders

    def _note_busy(self) -> None:
        present = self._present()
        self._busy = _Busy(
            frozenset(path for session in present for path in session.paths),
            frozenset(
                holder_of(session.mac)
                for session in present
                if session.mac and default_path(session.address) in session.paths
            ),
        )

    def _present(self) -> list[_Session]:
        return [each for each in self._sessions.values() if each.state != "gone"]


def _mounted(
    session: _Session, sight: Sight, exports: _Exports
) -> tuple[tuple[PurePosixPath, ...], bool]:
    """Return what a machine has mounted, and whether that is certain.

    What was logged and what it has open itself is, and stays so; else it is one of those that it
    may mount, of which some may be open.
    """
    certain = (session.logged | session.used) & exports.paths
    if certain:
        return tuple(sorted(certain)), True
    if session.certain and exports.paths.issuperset(session.paths):
        return session.paths, True
    own, shared = exports.own(session), exports.shared
    session.opened |= (own | shared) & sight.opened
    opened = session.opened & (own | shared)
    likely = own & opened or opened or own or shared
    is_certain = len(likely) == 1 and (likely <= own & opened or likely == own | shared)
    return tuple(sorted(likely)), is_certain


def _client(session: _Session) -> Client:
    return Client(
        session.address,
        session.mac,
        session.paths,
        session.certain,
        session.version,
        session.since,
        session.seen,
        session.active,
        session.read,
        session.written,
        session.state,
    )
