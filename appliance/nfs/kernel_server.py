"""Whose the threads of the kernel's NFS server are, and the end of ours that were left behind.

A container that is killed takes its processes and mounts with it, not the threads: they go on
serving, and hold the layers, which cannot be mounted again meanwhile (overlayfs with index=on:
EBUSY).
"""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from appliance.files import read_file
from appliance.nfs.rpc import NFS_PORT
from appliance.paths import Paths
from appliance.run import run

_RECORD = PurePosixPath("server")
_BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
_NETWORK = Path("/proc/self/ns/net")
_THREADS = Path("/proc/net/rpc/nfsd")
CONTROL = Path("/proc/fs/nfsd")
# Kernel caches of who may mount what; each refers to the file systems it knows of.
_CACHES = ("auth.unix.ip", "auth.unix.gid", "nfsd.fh", "nfsd.export")


@dataclass(frozen=True)
class Place:
    """Where the kernel's NFS server is one: in a network namespace of one boot."""

    boot_id: str
    network: int  # inode of the network namespace


@dataclass(frozen=True)
class Record:
    """What tells threads of ours from a server that the host started later in the same place.

    Its socket has another inode than ours, which ended. Where it took over threads of ours, there
    are more or fewer now, or its mountd is seen (choice.foreign_server).
    """

    place: Place
    socket: str  # a word of ss(8)'s line: `ino:71`; while it is being opened `192.168.10.1:2049`
    threads: int | None  # None: they are being started

    def tells_of(self, place: Place, number: int, sockets: str) -> bool:
        """Tell whether `number` threads that listen so, by `ss -Hlnte`, are those recorded."""
        listening = sockets.splitlines()
        return (
            self.place == place
            and self.threads in (None, number)
            and all(self.socket in line.split() for line in listening)
            and bool(listening)
        )


def record_path(paths: Paths) -> Path:
    """Return where config/etc/nfs/nfsd.sh writes which threads are ours."""
    return paths.nfs_state / _RECORD


def here() -> Place:
    """Return where this process is."""
    return Place(_BOOT_ID.read_text(encoding="ascii").strip(), os.stat(_NETWORK).st_ino)


def recorded(paths: Paths) -> Record | None:
    """Return what was recorded last; None when nothing was, or nothing that can be understood."""
    words = (read_file(paths.nfs_state, _RECORD) or b"").decode("ascii", "replace").split()
    match words:
        case [boot_id, network, socket, number] if network.isdecimal():
            if number == "starting" or number.isdecimal():
                threads = int(number) if number.isdecimal() else None
                return Record(Place(boot_id, int(network)), socket, threads)
    return None


async def are_ours(paths: Paths) -> bool:
    """Tell whether threads run that this container started, or one before it.

    Raises CommandFailed.
    """
    number, record = threads(), recorded(paths)
    if not number or record is None:
        return False
    sockets = await run(["ss", "-Hlnte", f"sport = :{NFS_PORT}"])
    return record.tells_of(here(), number, sockets)


def threads() -> int:
    """Return how many threads the kernel's NFS server has; 0 where there is none."""
    try:
        return running(_THREADS.read_text(encoding="ascii"))
    except OSError:  # the module is not loaded, or there is none
        return 0


def running(statistics: str) -> int:
    """Read the number of threads out of /proc/net/rpc/nfsd: `th 8 0 0.000 …`."""
    for line in statistics.splitlines():
        words = line.split()
        if words[:1] == ["th"]:
            return int(words[1])
    return 0


async def end_leftovers(paths: Paths, *, elsewhere: bool) -> bool:
    """End the threads that a killed container of ours left; return whether there were any.

    To be called while no server of ours runs, before anything is mounted. `elsewhere`: an NFS
    server outside of this container uses the same threads by now (choice.foreign_server), so that
    they stay, and are its own from then on. Raises CommandFailed.
    """
    were_ours = not elsewhere and await are_ours(paths)
    if were_ours:
        await mount_control()
        await run(["rpc.nfsd", "0"], timeout=30)  # ends the clients' state with them
    if not (threads() or elsewhere):
        _flush_caches()  # also of one that was killed between its threads' end and its exports'
    record_path(paths).unlink(missing_ok=True)
    return were_ours


async def mount_control() -> None:
    """Mount nfsd's control files, which loads the kernel's module; a second time does nothing.

    Raises CommandFailed with mount's reason where kernel or container have no nfsd.
    """
    if not (CONTROL / "threads").exists():
        await run(["mount", "-t", "nfsd", "nfsd", str(CONTROL)])


async def mount_pipes(paths: Paths) -> None:
    """Mount the pipes by which nfsd asks nfsdcld; a second time does nothing.

    Raises CommandFailed.
    """
    pipes = paths.run / "rpc_pipefs"
    if not (pipes / "nfsd").exists():
        pipes.mkdir(parents=True, exist_ok=True)
        await run(["mount", "-t", "rpc_pipefs", "sunrpc", str(pipes)])


def _flush_caches() -> None:
    """Empty them: nobody's are in use, and mountd fills them again."""
    for cache in _CACHES:
        flush = Path("/proc/net/rpc", cache, "flush")
        if flush.exists():  # not before nfsd is there
            # Any time from now on empties it (net/sunrpc/cache.c, write_flush).
            flush.write_text(f"{int(time.time())}\n", encoding="ascii")
