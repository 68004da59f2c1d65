"""What machines may mount: where it lies, and by which number it is known for ever."""

from __future__ import annotations

import re
import uuid
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath
from typing import Literal

from appliance.catalog.model import PublishedRoot
from appliance.settings import Settings

# Of our own; never to be changed: file handles that machines hold name exports by it.
_NAMESPACE = uuid.UUID("0f6cd2a5-3c5b-4b0c-9a68-1f7a3f3f2c11")

FORMAT = "nfs"  # among a root's formats: it has a tree that can be mounted
# Who writes a layer: a machine, by its hardware address as iPXE writes `${mac:hexhyp}`, or all.
EVERYBODY = {"rw": "rw", "ro": "ro"}
_MAC_PATH = re.compile(r"[0-9a-f]{2}(-[0-9a-f]{2}){5}")


@dataclass(frozen=True)
class Export:
    """A mount of its own, so that no file handle leads out of it, as machines see it."""

    path: PurePosixPath  # absolute, as a client names it by NFSv3 and by NFSv4
    fsid: uuid.UUID
    writable: bool = True
    # By which nfs-ganesha's handles name it, 1 to 65534: the same for ever, see export_numbers.
    number: int = 0


@dataclass(frozen=True)
class NfsService:
    """What the NFS server, ours, is to serve at this moment."""

    server: Literal["kernel", "ganesha"] | None  # None: none of ours runs
    idle: str = ""  # why there is none
    exports: tuple[Export, ...] = ()  # sorted by path; each is mounted at Paths.exports / path
    hosts_rpcbind: bool = False  # the host runs rpcbind: none of ours is needed

    def mounted(self, exports: Path, export: Export) -> Path:
        """Return where an export lies in the container."""
        return exports / export.path.relative_to("/")


# Why what was decided on does not run yet: with clones a root alone is nothing to serve.
NOTHING_TO_SERVE = "no layer to serve yet"
# Before anybody looked.
NOT_DECIDED = NfsService(None, "not decided yet")


def layer_path(root_key: str, version: str, holder: str) -> PurePosixPath:
    """Return what machines mount: /ROOT/VERSION/HOLDER.

    `root_key` is PublishedRoot.key, `version` the ID of the tree, `holder` a machine as
    `holder_of` writes it, or `rw` or `ro`.
    """
    return PurePosixPath("/", root_key, version, holder)


def share(settings: Settings, root: PublishedRoot) -> str:
    """Return how machines share a root: clone, rw or ro."""
    return root.share or settings.nfs_share


def default_path(address: IPv4Address) -> PurePosixPath:
    """Return where a kernel looks that is told no path (fs/nfs/nfsroot.c, NFS_ROOT)."""
    return PurePosixPath("/tftpboot", str(address))


def is_default_path(path: PurePosixPath) -> bool:
    """Tell whether a path is one of default_path(). No root's path is: it has three parts."""
    return len(path.parts) == 3


def fsid(root_key: str, version: str, holder: str) -> uuid.UUID:
    """Return the number by which handles of a layer's files name it: the same for ever."""
    return uuid.uuid5(_NAMESPACE, f"{root_key}/{version}/{holder}")


def holder_of(mac: str) -> str:
    """Return a machine's part of paths: 52:54:00:12:34:56 is 52-54-00-12-34-56."""
    holder = mac.lower().replace(":", "-")
    if not _MAC_PATH.fullmatch(holder):
        raise ValueError(f"{mac}: no hardware address")
    return holder
