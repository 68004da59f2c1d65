"""What the NFS servers' logs say of mounts and refusals.

rpc.mountd tells of NFSv3's mounts always and of all access with `-l` (nfs-utils 2.8:
utils/mountd/auth.c, support/export/cache.c, v4clients.c). Ganesha 6.5 tells of refusals alone, at
`EXPORT = INFO`; at the level that tells of mounts it has a line for each request.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address
from pathlib import PurePosixPath

from appliance.nfs.connections import ipv4

_MOST_OF_A_PATH = 200  # characters; a stranger chose them


@dataclass(frozen=True)
class Mounted:
    """A machine was given access to an export."""

    address: IPv4Address
    path: PurePosixPath
    version: str = ""  # "" where the line does not tell


@dataclass(frozen=True)
class Unmounted:
    """A machine told that it has an export mounted no more (NFSv3)."""

    address: IPv4Address
    path: PurePosixPath


@dataclass(frozen=True)
class Attached:
    """An NFSv4 client began."""

    address: IPv4Address
    version: str


@dataclass(frozen=True)
class Detached:
    """An NFSv4 client ended, or was given up after its lease."""

    address: IPv4Address


@dataclass(frozen=True)
class Refused:
    """Somebody was not given access; `path` is "" where the line does not tell."""

    address: IPv4Address
    path: str


Happening = Mounted | Unmounted | Attached | Detached | Refused

# A path can hold anything, ` from ` and ` for ` too: what comes before it decides, and the export's
# own path in parentheses is the last thing in the line.
_FROM = r"from (?P<address>[\d.]+)"
_MOUNTD = {
    re.compile(
        rf"authenticated mount request {_FROM}:\d+ for /.* \((?P<path>/[^()]*)\)"
    ): "mounted",
    re.compile(
        rf"authenticated unmount request {_FROM}:\d+ for /.* \((?P<path>/[^()]*)\)"
    ): "unmounted",
    re.compile(
        rf"refused mount request {_FROM} for (?P<path>.*) \([^()]*\): "
        r"(unmatched host|no export entry|not exported|illegal port \d+)"
    ): "refused",
    re.compile(rf'[Bb]ad path in mount request {_FROM}: "(?P<path>.*)"'): "refused",
    re.compile(r"granted access to (?P<path>/.*) for \$?(?P<address>[\d.]+)"): "granted",
    re.compile(r"denied access to (?P<path>/.*) for \$?(?P<address>[\d.]+)"): "refused",
    re.compile(r"denied access to \$?(?P<address>[\d.]+)(?P<path>)"): "refused",
    re.compile(
        r'v4\.(?P<path>\d) client attached: .* from "?(?P<address>[^"\s]+):\d+"?'
    ): "attached",
    re.compile(
        r'v4\.(?P<path>\d) client detached: .* from "?(?P<address>[^"\s]+):\d+"?'
    ): "detached",
}
_GANESHA = (
    re.compile(
        r"MOUNT: Export entry (?P<path>.*) does not "
        r"(allow access|support NFS v3|support TCP|support UDP) for client (?P<address>\S+)"
    ),
    re.compile(
        r"(Access|NFS4|NFS4 over \S+|NFS4 auth) not allowed on Export_Id \d+ (?P<path>.*) "
        r"for client (?P<address>\S+)"
    ),
    re.compile(
        r"Client (?P<address>\S+) is not allowed to access Export_Id \d+ (?P<path>.*), "
        r"vers=\d+, proc=\d+"
    ),
)
_MOUNTD_LABEL = re.compile(r"(rpc\.)?mountd(\[\d+\])?: ")
# `date : epoch … : host : nfs-ganesha-PID[thread] function :COMPONENT :LEVEL :text`
_GANESHA_LABEL = re.compile(r".{0,200}? :[A-Z][A-Z0-9 ]* :[A-Z_]+ :(?P<text>.*)")


def of_mountd(line: str) -> Happening | None:
    """Read a line of rpc.mountd; None when it is of something else."""
    text = line.removeprefix(label[0]) if (label := _MOUNTD_LABEL.match(line)) else line
    for pattern, what in _MOUNTD.items():
        if (match := pattern.fullmatch(text)) and (address := ipv4(match["address"])):
            return _happening(what, address, match["path"])
    return None


def of_ganesha(line: str) -> Happening | None:
    """Read a line of Ganesha; None when it is of something else."""
    text = label["text"] if (label := _GANESHA_LABEL.fullmatch(line)) else line
    text = text.strip().removeprefix("refused: ")  # as daemons/ganesha.py marks such a line
    for pattern in _GANESHA:
        if (match := pattern.fullmatch(text)) and (address := ipv4(match["address"])):
            # A path that is none of ours leads to the root of Ganesha's own tree.
            return Refused(address, match["path"][:_MOST_OF_A_PATH].removesuffix("/"))
    return None


def _happening(what: str, address: IPv4Address, text: str) -> Happening:
    """Make a value of a line; `text` is a path, or the minor version of NFSv4."""
    made: dict[str, Happening] = {
        "mounted": Mounted(address, PurePosixPath(text), "3"),
        "unmounted": Unmounted(address, PurePosixPath(text)),
        "granted": Mounted(address, PurePosixPath(text)),
        "attached": Attached(address, f"4.{text}"),
        "detached": Detached(address),
        "refused": Refused(address, text[:_MOST_OF_A_PATH]),
    }
    return made[what]
