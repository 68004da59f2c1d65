"""The kernel's NFS server: its threads and what they export, as a program in the foreground."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address
from pathlib import Path

from appliance.daemons.base import Daemon, NotServing, Program, ServesInPart, Silent
from appliance.nfs import rpc
from appliance.nfs.export import NOTHING_TO_SERVE, Export
from appliance.nfs.kernel_server import record_path
from appliance.ports import Port
from appliance.situation import Situation

CONFIGURATION = "etc/nfs.conf"
_EXPORTS = "etc/nfs/exports"
_SCRIPT = "etc/nfs/nfsd.sh"
_PATIENCE = 2.0  # seconds for each call


class Nfsd(Daemon):
    """Threads of the kernel, started and ended by a small script, which also exports."""

    name = "nfsd"
    templates = (CONFIGURATION, _EXPORTS)
    on_change = "HUP"
    vital = False  # machines boot from memory without it

    def idle(self, situation: Situation) -> str | None:
        """Run where the kernel's server is the one that was chosen."""
        return not_by_kernel(situation)

    def program(self, situation: Situation) -> Program:
        """Start the threads on the boot network's address; the script says the rest."""
        assert situation.network is not None
        paths = situation.paths
        record = record_path(paths)
        return Program(
            (
                *("sh", str(paths.templates / _SCRIPT)),
                *(str(paths.run), str(record), str(situation.network.server)),
            ),
            reads=(paths.run / "etc", paths.exports),
            # nfsd's files and the export caches; each process has its own /proc/net.
            writes=(Path("/proc"), folder(situation), record.parent),
            # Threads end when they have done what machines asked for, on a disk that is busy.
            stops_in=20,
        )

    def prepare(self, situation: Situation) -> None:
        """Make where exportfs notes what is exported, and where whose threads these are."""
        make_folders(situation)

    def listens(self, situation: Situation) -> tuple[Port, ...]:
        """Return NFS's port on the boot network."""
        assert situation.network is not None
        return (Port("tcp", situation.network.server, rpc.NFS_PORT),)

    async def probe(self, situation: Situation) -> None:
        """See the root of each export by NFSv4, which leaves no line in a log, and of one by v3."""
        assert situation.network is not None
        server, versions = situation.network.server, _versions(situation)
        exports = situation.nfs.exports
        failed = await asyncio.to_thread(_look, server, versions, exports)
        if failed:
            kind = ServesInPart if len(failed) < len(exports) else NotServing
            raise kind(f"{failed[0]}{f' (and {len(failed) - 1} more)' if failed[1:] else ''}")


def _versions(situation: Situation) -> tuple[int, ...]:
    """Return the major versions that are served, as nfs.conf.j2 has them."""
    wanted = situation.settings.nfs_version
    return (3, 4) if wanted == "auto" else (int(wanted[0]),)


def _look(server: IPv4Address, versions: tuple[int, ...], exports: tuple[Export, ...]) -> list[str]:
    """Return what a client does not get, and why.

    Raises NotServing at the first that is not answered at all.
    """
    failed = []
    for number, export in enumerate(exports):
        try:
            if 4 in versions:
                rpc.look_by_v4(server, export.path, _PATIENCE)
            if 3 in versions and (number == 0 or 4 not in versions):
                rpc.look_by_v3(server, export.path, _PATIENCE)
        except rpc.NotAnswered as error:
            failed.append(f"{export.path}: {error}")
        except TimeoutError as error:
            raise Silent(f"{export.path}: no answer within {_PATIENCE:g} s: {error}") from None
        except OSError as error:
            raise NotServing(f"{export.path}: {error}") from None
    return failed


def not_by_kernel(situation: Situation) -> str | None:
    """Return why the kernel's server and what belongs to it shall not run; None when they shall."""
    if situation.network is None:
        return "no network to boot on"
    if situation.nfs.server is None:
        return situation.nfs.idle
    if situation.nfs.server != "kernel":
        return f"{situation.nfs.server} serves NFS"
    return None if situation.nfs.exports else NOTHING_TO_SERVE


def folder(situation: Situation) -> Path:
    """Return where exportfs and rpc.mountd note what is exported."""
    return situation.paths.run / "nfs"


def make_folders(situation: Situation) -> None:
    """Make what the programs want to find."""
    folder(situation).mkdir(parents=True, exist_ok=True)
    (folder(situation) / "etab").touch()  # exportfs complains of none
    database(situation).mkdir(parents=True, exist_ok=True)
    situation.paths.exports.mkdir(parents=True, exist_ok=True)


def database(situation: Situation) -> Path:
    """Return nfsdcld's folder, on the state volume."""
    return situation.paths.nfs_state / "nfsdcld"
