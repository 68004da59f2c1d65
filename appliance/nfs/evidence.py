"""What can be seen, without a log, of who uses which export by which version.

The kernel's nfsd lists its NFSv4 clients and what each has open (fs/nfsd/nfs4state.c); Ganesha
keeps a folder for each of its NFSv4 clients, and a file of an export open in its own process.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from ipaddress import IPv4Address
from itertools import islice
from pathlib import Path, PurePosixPath

from appliance.nfs.connections import ipv4

NFSD = Path("/proc/fs/nfsd")
PROC = Path("/proc")

# Anybody can be a client as often as he likes: so many are looked at.
_MOST = 4096
_LONGEST_OF_A_CLIENT = 64 * 1024  # bytes
# Linux names itself so (fs/nfs/nfs4proc.c, nfs4_init_uniform_client_string); after `ADDRESS-(`.
_MINOR = re.compile(r"Linux NFSv(?P<version>4\.\d) ")
_GANESHA_CLIENT = re.compile(r"(?P<address>[0-9a-f:.]+)-\(\d+:(?P<name>.*)", re.DOTALL)
_INFO = re.compile(
    r'^(address: "(?P<address>[^"\n]+):\d+"|minor version: (?P<minor>\d+))$', re.MULTILINE
)
# A line of `states` goes on with the file's name, which the machine chose.
_SUPERBLOCK = re.compile(
    r'^- 0x[0-9a-f]+: \{ type: [^"\n]*superblock: "(?P<major>[0-9a-f]+):(?P<minor>[0-9a-f]+):',
    re.MULTILINE,
)
_MAC = re.compile(r"[0-9A-Fa-f]{2}(:[0-9A-Fa-f]{2}){5}")
_MNT_ID = re.compile(r"^mnt_id:\s*(\d+)$", re.MULTILINE)

Versions = Mapping[IPv4Address, str]
Uses = Mapping[IPv4Address, frozenset[PurePosixPath]]


def kernel_clients(
    nfsd: Path, devices: Mapping[str, Iterable[PurePosixPath]]
) -> tuple[Versions, Uses]:
    """Return the kernel's NFSv4 clients by address: the version of each, the exports it uses.

    `devices` has exports by the number of their mount, as `mounted_exports` gives them.
    """
    versions: dict[IPv4Address, str] = {}
    uses: dict[IPv4Address, frozenset[PurePosixPath]] = {}
    for client in _entries(nfsd / "clients"):
        fields: dict[str, str] = {}
        for match in _INFO.finditer(text(client / "info", _LONGEST_OF_A_CLIENT)):
            fields |= {name: value for name, value in match.groupdict().items() if value}
        address = ipv4(fields.get("address", ""))
        if address is None:
            continue
        versions[address] = f"4.{fields.get('minor', '0')}"
        opened = {
            path
            for match in _SUPERBLOCK.finditer(text(client / "states", _LONGEST_OF_A_CLIENT))
            for path in devices.get(f"{int(match['major'], 16)}:{int(match['minor'], 16)}", ())
        }
        uses[address] = uses.get(address, frozenset()) | opened
    return versions, uses


def ganesha_clients(recovery: Path) -> Versions:
    """Return Ganesha's NFSv4 clients from its recovery folder, by address: the version of each."""
    versions: dict[IPv4Address, str] = {}
    for folder in _entries(recovery):
        if (client := _GANESHA_CLIENT.match(folder.name)) and (address := ipv4(client["address"])):
            minor = _MINOR.match(client["name"])
            versions[address] = minor["version"] if minor else "4"
    return versions


def ganesha_opens(process: Path, exports: Path) -> frozenset[PurePosixPath]:
    """Return the exports of which Ganesha's process (/proc/PID) has more open than their root.

    It opens the root of each when it starts; a file that an NFSv3 client read may stay open for
    long after it was read.
    """
    mounts = {number: path for number, _, path in _mounts(text(process / "mountinfo"), exports)}
    opened: Counter[PurePosixPath] = Counter()
    for file in _entries(process / "fdinfo"):
        number = _MNT_ID.search(text(file))
        if number and number[1] in mounts:
            opened[mounts[number[1]]] += 1
    return frozenset(path for path, count in opened.items() if count > 1)


def mounted_exports(mountinfo: str, exports: Path) -> dict[str, list[PurePosixPath]]:
    """Return the exports by the device number of their mounts, from /proc/PID/mountinfo.

    One layer can be mounted at several paths.
    """
    devices: dict[str, list[PurePosixPath]] = {}
    for _, device, path in _mounts(mountinfo, exports):
        devices.setdefault(device, []).append(path)
    return devices


def process_named(name: str, proc: Path = PROC) -> Path | None:
    """Return /proc/PID of the process of that name (at most 15 characters of it), if there is one.

    The container's own processes are a dozen.
    """
    for process in _entries(proc):
        if process.name.isdecimal() and text(process / "comm").rstrip("\n") == name[:15]:
            return process
    return None


def hardware_addresses(arp: str) -> dict[IPv4Address, str]:
    """Read /proc/net/arp: which hardware address the kernel sends to, for each neighbour."""
    found = {}
    for line in arp.splitlines()[1:]:
        words = line.split()
        with suppress(ValueError):
            # ATF_COM: it answered. No Ethernet's address is of another length.
            if len(words) >= 4 and int(words[2], 16) & 2 and _MAC.fullmatch(words[3]):
                found[IPv4Address(words[0])] = words[3].lower()
    return found


def neighbour(address: str) -> str | None:
    """Return the hardware address that the kernel has for a neighbour's IPv4 address."""
    found = ipv4(address)
    known = hardware_addresses(text(PROC / "net/arp"))
    return None if found is None else known.get(found)


def _mounts(mountinfo: str, exports: Path) -> Iterator[tuple[str, str, PurePosixPath]]:
    """Yield mount number, device and path as clients name it, of each mount below `exports`."""
    prefix = f"{exports}/"
    for line in mountinfo.splitlines():
        words = line.split(" ", 5)  # proc(5): number, parent, device, root, mount point, …
        if len(words) == 6 and words[4].startswith(prefix):
            yield words[0], words[2], PurePosixPath("/", words[4].removeprefix(prefix))


def _entries(folder: Path) -> Iterator[Path]:
    with suppress(OSError):  # it is not there, or went: there is nothing to be seen
        yield from islice(folder.iterdir(), _MOST)


def text(path: Path, longest: int = -1) -> str:
    """Return a file of the kernel's, or its first `longest` bytes; "" where it cannot be read."""
    try:
        with path.open("rb") as file:
            return file.read(longest).decode("utf-8", "replace")
    except OSError:  # the client or the file went while it was looked at
        return ""
