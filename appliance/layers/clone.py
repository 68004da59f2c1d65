"""Writes into layers, through their mounts, what makes a machine's root its own.

A layer is a machine's: its root may have put a link, a fifo or a device wherever we write.
"""

from __future__ import annotations

import asyncio
import errno
import re
import stat
import tempfile
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from appliance.files import (
    delete_inside,
    mode_of,
    names_in,
    put_file,
    put_folder,
    read_file,
)
from appliance.run import run

_ETC = PurePosixPath("etc")
_HOSTNAME = _ETC / "hostname"
_HOSTS = _ETC / "hosts"
_MACHINE_ID = _ETC / "machine-id"
_DBUS_MACHINE_ID = PurePosixPath("var/lib/dbus/machine-id")
_SSH = _ETC / "ssh"
_SSHD = (_SSH / "sshd_config", PurePosixPath("usr/sbin/sshd"))
_HOST_KEY = re.compile(r"ssh_host_\w+_key(\.pub)?")
_KEY_TYPES = ("ed25519", "ecdsa")  # an RSA key would take a second, and every client knows these

# Of our own; never to be changed: a machine is known by what is derived from it.
_MACHINE_IDS = uuid.UUID("8d0d4c5e-93f7-4a53-8f2c-6f0f6bbd7a35")

# RFC 1123; /etc/hostname holds HOST_NAME_MAX bytes.
_NAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")
# Debian's own place for a machine's name without an address of its own.
_OWN_ADDRESS = "127.0.1.1"
_NO_HOSTS = "127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n"
_LONGEST_HOSTS = 1 << 20  # bytes

# What a root is like, not what the file system refuses: a link or a file where a folder should be.
_UNLIKE_A_ROOT = frozenset({errno.ENOTDIR, errno.ELOOP, errno.EISDIR})

_BOOTDROP = PurePosixPath(".bootdrop")
OVERLAY_INIT = PurePosixPath("/", _BOOTDROP, "overlay-init")  # as a machine names it: init=…


@dataclass(frozen=True)
class Clone:
    """A machine's own layer, and what it is to be called.

    `layer` is where it is mounted, `root_key` PublishedRoot.key, `mac` as in 52:54:00:12:34:56.
    Without a `hostname` the root's own stays.
    """

    layer: Path
    root_key: str
    mac: str
    hostname: str = ""

    def __post_init__(self) -> None:
        if self.hostname and not _NAME.fullmatch(self.hostname):
            raise ValueError(f"{self.hostname!r}: no host name")


async def furnish_clone(clone: Clone, scratch: Path = Path("/run")) -> tuple[str, ...]:
    """Give a new clone its name, machine-id and ssh host keys; return what it did not get.

    That is a line for each part of a tree that is not as a root is. `scratch` is a folder in
    memory. Raises OSError, CommandFailed.
    """
    if not stat.S_ISDIR(mode_of(clone.layer, _ETC)):
        return (f"{clone.layer}: /etc is no folder: no name, machine-id and ssh keys of its own",)
    parts: list[Callable[[], None]] = [lambda: _put_machine_id(clone)]
    if clone.hostname:
        parts.append(lambda: _put_hostname(clone))
    if any(mode_of(clone.layer, each) for each in _SSHD):
        keys = await _make_host_keys(clone, scratch)
        parts.append(lambda: _put_host_keys(clone, keys))
    lines = [await asyncio.to_thread(_passed_over, part) for part in parts]
    return tuple(filter(None, lines))


def _passed_over(put: Callable[[], None]) -> str | None:
    """Do a part; return a line where the tree is not made for it."""
    try:
        put()
    except OSError as error:
        if error.errno not in _UNLIKE_A_ROOT:
            raise
        return f"{error.filename}: {error.strerror}: left as it is"
    return None


def machine_id(root_key: str, mac: str) -> str:
    """Return 32 hex digits for /etc/machine-id: for a machine with a root the same for ever."""
    derived = uuid.uuid5(_MACHINE_IDS, f"{root_key}/{mac.lower()}")
    return uuid.UUID(bytes=derived.bytes, version=4).hex  # machine-id(5): a version 4 UUID


def hosts_with(text: str, hostname: str) -> str:
    """Return an /etc/hosts in which a machine's own name is known."""
    names = " ".join(dict.fromkeys((hostname, hostname.partition(".")[0])))
    lines = [line for line in text.splitlines() if line.split()[:1] != [_OWN_ADDRESS]]
    return "\n".join([*lines, f"{_OWN_ADDRESS}\t{names}", ""])


def _put(clone: Clone, path: PurePosixPath, content: bytes, mode: int = 0o644) -> None:
    # It is put there once: what a power cut left empty would stay so, and no sshd starts with that.
    put_file(clone.layer, path, (content,), mode, durable=True)


def _put_machine_id(clone: Clone) -> None:
    text = f"{machine_id(clone.root_key, clone.mac)}\n".encode()
    _put(clone, _MACHINE_ID, text, 0o444)  # systemd-machine-id-setup's mode
    if stat.S_ISREG(mode_of(clone.layer, _DBUS_MACHINE_ID)):  # a link leads to the other
        _put(clone, _DBUS_MACHINE_ID, text)


def _put_hostname(clone: Clone) -> None:
    _put(clone, _HOSTNAME, f"{clone.hostname}\n".encode())
    hosts = read_file(clone.layer, _HOSTS, _LONGEST_HOSTS)
    text = _NO_HOSTS if hosts is None else hosts.decode("utf-8", "surrogateescape")
    content = hosts_with(text, clone.hostname).encode("utf-8", "surrogateescape")
    _put(clone, _HOSTS, content)


async def _make_host_keys(clone: Clone, scratch: Path) -> dict[str, bytes]:
    """Return new host keys, by file name."""
    with tempfile.TemporaryDirectory(prefix="host-keys-", dir=scratch) as folder:
        files = {each: Path(folder, f"ssh_host_{each}_key") for each in _KEY_TYPES}
        comment = f"root@{clone.hostname or clone.mac}"
        argv = ["ssh-keygen", "-q", "-N", "", "-C", comment]
        await asyncio.gather(
            *(run([*argv, "-t", each, "-f", str(file)]) for each, file in files.items())
        )
        return {file.name: file.read_bytes() for file in Path(folder).iterdir()}


def _put_host_keys(clone: Clone, keys: dict[str, bytes]) -> None:
    """Have these host keys and no others: those of the tree are in every other clone, too."""
    for name in names_in(clone.layer, _SSH):
        if _HOST_KEY.fullmatch(name) and name not in keys:
            delete_inside(clone.layer, _SSH / name)
    for name, key in sorted(keys.items()):
        _put(clone, _SSH / name, key, 0o644 if name.endswith(".pub") else 0o600)


def put_overlay_init(layer: Path, brought: Path) -> None:
    """Have /.bootdrop/overlay-init in a layer that machines mount read-only. Raises OSError.

    `brought` is the image's folder for the root's architecture, with a script and its busybox. The
    machine mounts its memory on the folder beside them.
    """
    put_folder(layer, _BOOTDROP / "memory")
    for program in sorted(brought.iterdir()):
        content = program.read_bytes()
        if read_file(layer, _BOOTDROP / program.name, len(content)) != content:
            put_file(layer, _BOOTDROP / program.name, (content,), 0o755)
