"""nfs-ganesha: roots over NFS from user space, where the kernel's server cannot be had."""

from __future__ import annotations

import asyncio
import os
import re
from collections import Counter
from collections.abc import Callable, Iterator
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath

from appliance.daemons.base import (
    ConfigurationRejected,
    Daemon,
    NotServing,
    Program,
    ServesInPart,
    Silent,
)
from appliance.events.hub import Event, printable
from appliance.nfs import rpc
from appliance.nfs.export import NOTHING_TO_SERVE, Export
from appliance.ports import Port
from appliance.situation import Situation

_CONFIGURATION = "etc/ganesha/ganesha.conf"
_MOUNT_PORT = 20048  # MNT_Port of ganesha.conf.j2
_PATIENCE = 2.0  # seconds for each call

# What stands as it is between quotes; export.layer_path makes nothing else. Without quotes it reads
# a `~` as an operator, and with it none of the exports (6.5).
_SAFE_PATH = re.compile(r"(/[A-Za-z0-9._~-]+)+")

_STATEMENT = r'[A-Za-z0-9_]+\s*=\s*([A-Za-z0-9_./:, -]+|"[A-Za-z0-9_./~-]+");'

# `COMPONENT :LEVEL :text`, after a time and a place until it has read how its lines are to look.
_LINE = re.compile(
    r"(?:.*?:)?\s*(?P<component>[A-Z][A-Za-z0-9_ ]*) :"
    r"(?P<level>NULL|FATAL|MAJ|CRIT|WARN|EVENT|INFO|DEBUG|M_DBG|F_DBG) ?:(?P<text>.*)"
)
_BAD = frozenset({"FATAL", "MAJ", "CRIT"})
# Its sockets are IPv6 ones, in which an IPv4 address is ::ffff:192.168.10.10.
_REFUSED = re.compile(
    r"(?:MOUNT: Export entry \S+ does not|Access not|NFS4 not|Client \S+ is not) allow.*"
)
# The list of all exports, which comes with each change, how talkative each part is to be, and that
# a connection was reset (104), as by each of our probes.
_NOISE = re.compile(
    r"Export 0x[0-9a-f]+ |   [A-Z_]+_CLIENT: |Exports (?:before|after) |"
    r"(?:LOG: )?(?:Setting log level|Changing log level|Chang(?:ed|ing custom) RPC_Debug)|"
    r"svc_vc_wait: .* recv errno 104 "
)
_ADDRESS = re.compile(r"[Cc]lient (?:::ffff:)?(?P<client>\d+\.\d+\.\d+\.\d+)\b")


class Ganesha(Daemon):
    """Takes exports up and gives them up without a new start, by SIGHUP."""

    name = "ganesha"
    templates = (_CONFIGURATION,)
    vital = False  # kernels with their root in memory boot without it
    on_change = "HUP"

    def __init__(self) -> None:
        self._proven: dict[Export, None] = {}  # those that a probe saw, longest ago first

    def idle(self, situation: Situation) -> str | None:
        """Run where it is the server that was decided on, once there is something to serve."""
        if situation.network is None:
            return super().idle(situation)
        if situation.nfs.server is None:
            return situation.nfs.idle
        if situation.nfs.server != "ganesha":
            return "the kernel's NFS server runs"
        return None if situation.nfs.exports else NOTHING_TO_SERVE

    def program(self, situation: Situation) -> Program:
        """Stay in the foreground (-F) and log to stderr (-L).

        The pid file's name has what SIGHUP does not change in a server that runs, so that another
        address or version is a new start.
        """
        assert situation.network is not None
        own, server = _own_folder(situation), situation.network.server
        versions = "".join(map(str, _versions(situation)))
        return Program(
            (
                *("ganesha.nfsd", "-F", "-p", str(own / f"{server}-v{versions}.pid")),
                *("-f", str(situation.paths.run / _CONFIGURATION), "-L", "/dev/stderr"),
                *("-N", "WARN"),
            ),
            # What root on a machine does with its files, and to open them by handle. Not SYS_ADMIN.
            capabilities=(
                *("chown", "dac_override", "dac_read_search", "fowner", "fsetid", "mknod"),
                *("net_bind_service", "setfcap", "setgid", "setuid"),
            ),
            unconfined="older kernels' Landlock denies files opened by handle (its erratum 3)",
        )

    def prepare(self, situation: Situation) -> None:
        """Make the folders for its pid, and for the clients that it waits for after a start."""
        for folder in (_own_folder(situation), situation.paths.nfs_state / "ganesha"):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)

    def listens(self, situation: Situation) -> tuple[Port, ...]:
        """Return NFS's port, and mountd's where version 3 is served."""
        assert situation.network is not None
        numbers = (rpc.NFS_PORT, _MOUNT_PORT) if 3 in _versions(situation) else (rpc.NFS_PORT,)
        return tuple(Port("tcp", situation.network.server, number) for number in numbers)

    async def check(self, configuration: Path, situation: Situation) -> None:
        """Look for what would be served and must not be, and for what it could not read.

        It has no checker of its own, and at a syntax error Ganesha 6.5 gives up every export.
        """
        text = (configuration / _CONFIGURATION).read_text(encoding="utf-8")
        if not is_readable(text):
            raise ConfigurationRejected(f"{_CONFIGURATION}: has what Ganesha cannot read")
        faults = await asyncio.to_thread(lambda: list(_faults(situation)))
        if faults:
            raise ConfigurationRejected("; ".join(faults))

    async def probe(self, situation: Situation) -> None:
        """See the root of each export that was not seen yet, and of one that was.

        An export that failed is a line in its log, and its port is open all the same.
        """
        assert situation.network is not None
        server, exports = situation.network.server, situation.nfs.exports
        served = frozenset(exports)
        known = [export for export in self._proven if export in served]
        new = [export for export in exports if export not in self._proven]
        failed = await asyncio.to_thread(_look, server, _versions(situation), (*new, *known[:1]))
        seen = [export for export in (*new, *known[:1]) if export not in failed]
        self._proven = dict.fromkeys([*known[1:], *seen])
        if failed:
            (export, why), *more = failed.items()
            others = f" (and {len(more)} more)" if more else ""
            kind = ServesInPart if self._proven else NotServing
            raise kind(f"{export.path}{others}: {why}")

    def is_noise(self, line: str) -> bool:
        """Pass over what comes with each start and each change."""
        match = _LINE.fullmatch(line)
        return match is not None and bool(_NOISE.match(match["text"]))

    def event(self, line: str) -> Event:
        """Find whom it refused, and what it could not do."""
        match = _LINE.fullmatch(line)
        if match is None:
            return super().event(line)
        text = printable(match["text"].strip())
        client = _ADDRESS.search(match["text"])
        if _REFUSED.match(match["text"].strip()) and client is not None:
            return Event(self.name, f"refused: {text}", "nfs", client["client"])
        if match["level"] in _BAD:
            return Event(self.name, text, "fault")
        return Event(self.name, text)


def is_readable(text: str) -> bool:
    """Tell whether a file is blocks of `NAME { … }` with `name = words;` in them, and no more."""
    statements = re.sub(r"#[^\n]*", "", text)
    while True:
        # From the innermost blocks outwards, until nothing is left of a good file.
        inner = re.sub(rf"[A-Za-z0-9_]+\s*\{{(?:\s*{_STATEMENT})*\s*\}}", "", statements)
        if inner == statements:
            return not statements.strip()
        statements = inner


def _versions(situation: Situation) -> tuple[int, ...]:
    """Return the major versions that are served, as ganesha.conf.j2 has them."""
    wanted = situation.settings.nfs_version
    return (3, 4) if wanted == "auto" else (int(wanted[0]),)


def _own_folder(situation: Situation) -> Path:
    return situation.paths.run / "ganesha"


def _faults(situation: Situation) -> Iterator[str]:
    """Say what is wrong with the exports, as they are mounted at this moment."""
    file_systems: dict[int, tuple[int, PurePosixPath]] = {}
    numbers = Counter(export.number for export in situation.nfs.exports)
    for export in situation.nfs.exports:
        where = situation.nfs.mounted(situation.paths.exports, export)
        if not _SAFE_PATH.fullmatch(str(where)):
            yield f"{export.path}: a path that cannot be written down"
        elif not 0 < export.number < 1 << 16 or numbers[export.number] > 1:
            yield f"{export.path}: has no number of its own, but {export.number}"
        elif not os.path.ismount(where):
            # What lies below would be served: all of the file system of mount points.
            yield f"{export.path}: nothing is mounted at {where}"
        else:
            # Before Linux 6.6 overlays have the number of the file system below; of two with one
            # number Ganesha takes the first for both (FSAL/localfs.c).
            device, number = os.stat(where).st_dev, os.statvfs(where).f_fsid
            other, path = file_systems.setdefault(number, (device, export.path))
            if other != device:
                yield (
                    f"{export.path}: cannot be told from {path} (statfs(2) f_fsid {number:#x}); "
                    "overlays need Linux 6.6, or layers that are file systems of their own"
                )


def _look(
    server: IPv4Address, versions: tuple[int, ...], exports: tuple[Export, ...]
) -> dict[Export, str]:
    """Return those exports that a client does not get, with the reason.

    Raises NotServing for what is not about one of them.
    """
    looks: dict[int, Callable[[IPv4Address, PurePosixPath, float], None]]
    looks = {3: rpc.look_by_v3, 4: rpc.look_by_v4}
    failed = {}
    for export in exports:
        for version in versions:
            try:
                looks[version](server, export.path, _PATIENCE)
            except TimeoutError as error:
                why = f"no answer by NFSv{version} within {_PATIENCE:g} s: {error}"
                raise Silent(f"{export.path}: {why}") from None
            except (OSError, rpc.NotRegistered) as error:
                raise NotServing(f"no answer by NFSv{version}: {error}") from None
            except rpc.NotAnswered as error:
                failed[export] = f"not to be had by NFSv{version}: {error}"
    return failed
