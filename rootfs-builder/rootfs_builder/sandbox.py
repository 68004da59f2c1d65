"""Where foreign code runs: scriptlets, package managers that read foreign metadata, `run:`.

A plain `dnf --installroot` lets a scriptlet read and write all that its container has. In here
there is a root of its own: the image's programs (read-only), one tree, and what is bound in by
name. Process, network, IPC, host name and mount namespaces are new and die with the first process;
of the capabilities those that installing needs are left, which mount and make no device.
"""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

TREE = "/tree"

# Installing sets owners, modes and file capabilities, and enters the tree.
CAPABILITIES = (
    "chown",
    "dac_override",
    "fowner",
    "fsetid",
    "setfcap",
    "setgid",
    "setuid",
    "sys_chroot",
)

DEVICES = ("full", "null", "random", "tty", "urandom", "zero")

# What Docker keeps from a container's own /proc, and a new one would show.
_PROC_READ_ONLY = ("bus", "fs", "irq", "sys", "sysrq-trigger")
_PROC_MASKED = ("kcore", "keys", "timer_list")


@dataclass(frozen=True)
class Bind:
    """A folder or a file of the container that is seen inside, at /`target`."""

    source: Path
    target: str
    writable: bool = False


@dataclass(frozen=True)
class Sandbox:
    """One sandbox; `tree` is writable at /tree, with /proc, /sys and /dev for so long.

    `network` gives the container's network instead of none. `rpm_database` is where the target's
    own rpm looks for its database.
    """

    tree: Path
    binds: tuple[Bind, ...] = ()
    network: bool = False
    rpm_database: str = "/var/lib/rpm"

    def command(self, argv: Sequence[str]) -> list[str]:
        """Return the command line that runs another one inside."""
        return [
            "unshare",
            "--mount",
            "--pid",
            "--ipc",
            "--uts",
            "--cgroup",
            *([] if self.network else ["--net"]),
            "--fork",
            "--kill-child",  # ends with the builder, and the namespace with it
            "--propagation=private",
            "sh",
            "-euc",
            _outside(self),
            "sh",
            *argv,
        ]


def _outside(sandbox: Sandbox) -> str:
    """Lay out the new root on a tmpfs and enter it; the script's arguments are the command.

    pivot_root is not in Docker's list of calls that SYS_ADMIN allows; a moved mount is as final.
    """
    lines = [
        "umask 022",
        "mount -t tmpfs -o nosuid,nodev,mode=755,size=16m tmpfs /mnt",
        "cd /mnt",
        "mkdir usr etc proc dev sys tmp run var root tree mnt",
        "ln -s usr/bin bin; ln -s usr/sbin sbin; ln -s usr/lib lib",
        "if [ -e /usr/lib64 ]; then ln -s usr/lib64 lib64; fi",
        *_bind("/usr", "usr", "ro,nosuid,nodev"),
        *_bind("/etc", "etc", "ro,nosuid,nodev,noexec"),
        *(_names() if sandbox.network else ()),
        *_bind("/sys", "sys", "ro,nosuid,nodev,noexec"),
        # Smaller than the container's memory: a full one fails its writer, not the builder.
        "mount -t tmpfs -o nosuid,nodev,mode=1777,size=512m tmpfs tmp",
        "mount -t tmpfs -o nosuid,nodev,mode=755,size=64m tmpfs run",
        "mount -t tmpfs -o nosuid,nodev,mode=755,size=512m tmpfs var",
        "mkdir -p var/tmp var/lib/rpm var/cache root/.config/rpm",
        # rpm's unshare plugin would need SYS_ADMIN for each scriptlet; there is no network anyway.
        # It must not set the modes of what is mounted, as `filesystem` packages ask for.
        f"printf '%s\\n' '%__transaction_unshare %{{nil}}' '%_dbpath {sandbox.rpm_database}'"
        " '%_netsharedpath /proc:/sys:/dev' > root/.config/rpm/macros",
        "mount -t proc -o nosuid,nodev,noexec proc proc",
        # Not every kernel has all of them.
        *[
            f"if [ -e {file} ]; then {'; '.join(_bind(file, file, 'ro'))}; fi"
            for file in (f"proc/{name}" for name in _PROC_READ_ONLY)
        ],
        *[
            f"if [ -e proc/{name} ]; then mount --bind /dev/null proc/{name}; fi"
            for name in _PROC_MASKED
        ],
        "mount -t tmpfs -o nosuid,noexec,mode=755,size=1m tmpfs dev",
        "mkdir dev/pts dev/shm",
        "touch dev/console",
        *[
            f"touch dev/{name}; mount --bind -o nosuid,noexec /dev/{name} dev/{name}"
            for name in DEVICES
        ],
        "ln -s /proc/self/fd dev/fd; ln -s pts/ptmx dev/ptmx",
        "ln -s fd/0 dev/stdin; ln -s fd/1 dev/stdout; ln -s fd/2 dev/stderr",
        *_bind(str(sandbox.tree), "tree", "rw,nodev"),
    ]
    for bind in sandbox.binds:
        target = shlex.quote(bind.target.lstrip("/"))
        lines.append(f"{'mkdir' if bind.source.is_dir() else 'touch'} {target}")
        mode = "rw" if bind.writable else "ro"
        lines += _bind(str(bind.source), bind.target.lstrip("/"), f"{mode},nosuid,nodev")
    lines += [
        # Read-only from here: what can be written has a mount of its own.
        "mount --move . /",
        f'exec chroot . /bin/sh -euc {shlex.quote(_inside())} sh "$@"',
    ]
    return "\n".join(lines)


def _names() -> list[str]:
    """Bind what an engine binds over the image's own files, so that host names are found."""
    files = ("etc/resolv.conf", "etc/hosts")
    return [line for file in files for line in _bind(f"/{file}", file, "ro,nosuid,nodev,noexec")]


def _inside() -> str:
    """Mount what the tree needs and let go of all capabilities but those for installing.

    It runs in the new root, so that a link in the tree (`proc -> /usr`) leads nowhere else.
    """
    return "\n".join(
        [
            "cd /",
            "mkdir -p /tree/proc /tree/sys /tree/dev",
            "mount --rbind /proc /tree/proc",
            "mount --rbind /sys /tree/sys",
            "mount --rbind /dev /tree/dev",
            "hostname localhost",
            "mount -o remount,bind,ro,nosuid,nodev /",
            f"exec setpriv --bounding-set={_kept()} --inh-caps=-all --no-new-privs"
            ' --seccomp-filter=/usr/lib/rootfs-builder/sandbox.bpf -- "$@"',
        ]
    )


def _kept() -> str:
    return ",".join(["-all", *[f"+{name}" for name in CAPABILITIES]])


def _bind(source: str, target: str, options: str) -> list[str]:
    """Bind, then set the options: a bind mount takes its source's until it is mounted again."""
    source, target = shlex.quote(source), shlex.quote(target)
    return [f"mount --bind {source} {target}", f"mount -o remount,bind,{options} {target}"]
