"""Which NFS server is ours to run: the kernel's, Ganesha, or none where the host has its own.

The kernel's server is one for a whole network namespace, with the host's network the host's own;
and rpcbind knows one server for each program, so that a second one takes over the first one's
clients (nfs-ganesha issue 1358). So nothing of ours runs where somebody else serves NFS.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Network
from pathlib import Path
from typing import Literal

from appliance.catalog.model import PublishedRoot
from appliance.nfs import kernel_server
from appliance.nfs.export import fsid
from appliance.nfs.rpc import MOUNT_PROGRAM, NFS_PORT, NFS_PROGRAM
from appliance.paths import Paths
from appliance.run import CommandFailed, run

Wanted = Literal["auto", "kernel", "ganesha", "off"]
Server = Literal["kernel", "ganesha"]

MOUNTD_PORT = 20048  # of IANA's list

# `rpcinfo -p`: program, version, protocol, port, and a name that may be missing.
_REGISTERED = re.compile(r"\s*(?P<program>\d+)\s+\d+\s+tcp\s+(?P<port>\d+)\b")
_LISTENING = re.compile(r"(?P<address>\S+):(?P<port>\d+)$")
_EVERY_ADDRESS = frozenset({"0.0.0.0", "[::]", "*"})


@dataclass(frozen=True)
class Choice:
    """Which server is ours to run, and why."""

    server: Server | None
    why: str  # one line
    by_host: bool = False  # somebody else on this host serves NFS


@dataclass(frozen=True)
class Seen:
    """What the network namespace says of NFS servers."""

    threads: int  # of the kernel's server
    ours: bool  # they were started by this container, or by one before it
    elsewhere: str | None  # a server of NFS, or its mountd, outside of this container
    no_nfsd: str | None  # why the kernel's server cannot be had; None: it can


def decide(wanted: Wanted, seen: Seen) -> Choice:
    """Choose; pure."""
    if wanted == "off":
        return Choice(None, "BOOTDROP_NFS is off")
    if by := _somebody_else(seen):
        return Choice(None, f"the host serves NFS itself ({by}); ours stays off", by_host=True)
    if wanted == "ganesha":
        return Choice("ganesha", "BOOTDROP_NFS is ganesha")
    if seen.no_nfsd is None:
        return Choice("kernel", "the kernel has nfsd, and nobody else uses it")
    why = f"the kernel's nfsd cannot be had: {seen.no_nfsd}"
    if wanted == "kernel":
        return Choice(None, f"{why}; BOOTDROP_NFS=auto takes Ganesha then")
    return Choice("ganesha", why)


def _somebody_else(seen: Seen) -> str | None:
    if seen.threads and not seen.ours:
        return f"{seen.threads} threads of the kernel's nfsd"
    return seen.elsewhere


async def choose(wanted: Wanted, paths: Paths) -> Choice:
    """Look, and choose. Mounts nfsd's control files and pipes when the kernel's server is chosen.

    To be asked after `kernel_server.end_leftovers`, and both again later where there was none: the
    host's server may have ended.
    """
    if wanted == "off":
        return decide(wanted, Seen(0, ours=False, elsewhere=None, no_nfsd=None))
    seen = await look(paths, try_nfsd=wanted != "ganesha")
    return decide(wanted, seen)


async def look(paths: Paths, *, try_nfsd: bool) -> Seen:
    """Find out who serves NFS here; with `try_nfsd`, whether we could by the kernel."""
    threads = kernel_server.threads()
    ours = await kernel_server.are_ours(paths)
    elsewhere = await foreign_server()
    no_nfsd = None
    if try_nfsd and elsewhere is None and (ours or not threads):
        no_nfsd = await _try_nfsd(paths)
    return Seen(threads, ours, elsewhere, no_nfsd)


async def _try_nfsd(paths: Paths) -> str | None:
    try:
        await kernel_server.mount_control()
        await kernel_server.mount_pipes(paths)
    except CommandFailed as failure:
        # What mount(8) says, without the advice behind it.
        return " ".join(failure.output.split()).partition(" dmesg(1)")[0] or str(failure)
    return None


async def foreign_server() -> str | None:
    """Return who serves NFS, or tells what may be mounted, outside of this container.

    Processes of ours are seen with their name and number by `ss`, others' are not; threads of the
    kernel belong to nobody, and kernel_server.threads counts them.
    """
    sockets = await run(["ss", "-Hlntpe"])
    registered = await _registered()
    kernel = kernel_server.threads() > 0
    return foreign(sockets, registered, kernel_serves=kernel)


async def _registered() -> str:
    try:
        return await run(["rpcinfo", "-p", "127.0.0.1"], timeout=5)
    except CommandFailed:  # no rpcbind runs
        return ""


def foreign(sockets: str, registered: str, *, kernel_serves: bool) -> str | None:
    """Find another's NFS server in what `ss -Hlntpe` and `rpcinfo -p` printed.

    What is registered at a port where nobody listens was left by one that was killed.
    """
    listening: dict[int, bool] = {}  # by port: whether a process of this container listens there
    everywhere: set[int] = set()  # ports that somebody else has on every address
    for line in sockets.splitlines():
        words = line.split()
        if len(words) < 4 or not (port := _LISTENING.search(words[3])):
            continue
        number = int(port["port"])
        is_ours = "users:((" in line
        listening[number] = listening.get(number, False) or is_ours
        if port["address"] in _EVERY_ADDRESS and not is_ours:
            everywhere.add(number)
    if NFS_PORT in listening and not listening[NFS_PORT] and not kernel_serves:
        return f"TCP port {NFS_PORT} is taken; `ss -lntp sport = :{NFS_PORT}` there says by whom"
    for line in registered.splitlines():
        match = _REGISTERED.match(line)
        if match is None:
            continue
        program, number = int(match["program"]), int(match["port"])
        if number not in listening or listening[number]:
            continue
        if program == MOUNT_PROGRAM:
            return f"its mountd is registered with rpcbind, on TCP port {number}"
        if program == NFS_PROGRAM and not (kernel_serves and number == NFS_PORT):
            return f"its server is registered with rpcbind, on TCP port {number}"
    if NFS_PORT in everywhere:  # nfsd.sh names one
        return "the kernel's server listens on every address, as ours never does"
    return None


# What the host's own server may offer, where that is what there is.

# mountinfo (proc_pid_mountinfo(5)): id, parent, device, root, mount point, …
_MOUNT = re.compile(r"\d+ \d+ (?P<device>\S+) (?P<root>\S+) (?P<point>\S+) ")


def host_folder(mounts: str, folder: Path) -> str:
    """Return where a volume lies on the host, by /proc/self/mountinfo.

    That is its path when the host has the file system that holds it at `/`; the container cannot
    know where else it is.
    """
    found = (match for line in mounts.splitlines() if (match := _MOUNT.match(line)))
    return next((match["root"] for match in found if match["point"] == str(folder)), "…/boot")


def host_export(volume: str, subnet: IPv4Network, root: PublishedRoot) -> str:
    """Return the line for the host's own /etc/exports with which it serves a root.

    Read-only: the tree is what all machines' layers stand on, and never changes.
    """
    number = fsid(root.key, root.id, "host")
    return (
        f'"{volume}/roots/{root.name}/{root.id}/tree" '
        f"{subnet}(ro,async,no_root_squash,no_subtree_check,fsid={number})"
    )
