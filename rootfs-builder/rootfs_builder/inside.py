"""Runs in the sandbox, as `python3 -m rootfs_builder.inside configure|clean|list`.

All changes but the copying of files happen after chroot into the tree, so that no link in it,
however made, leads anywhere else.
"""

from __future__ import annotations

import json
import os
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from rootfs_builder.managers.base import CONFIG, TREE
from rootfs_builder.manifest import ManifestError, installed

SPEC = "customise.json"  # below CONFIG
FILES = "/files"  # what is laid over the tree
OUTPUT = "/output"  # where `list` writes
LISTED = "packages.json"

# What package managers leave in a tree, and nobody boots for.
_LITTER = (
    "cache",
    "var/log/dnf*",
    "var/log/hawkey.log",
    "var/log/zypp*",
    "var/log/bootstrap.log",
    "var/log/dpkg.log",
    "var/log/alternatives.log",
    "var/log/apt/*",
    "var/lib/dnf/*",
    "var/cache/dnf/*",
    "var/cache/libdnf5",
    "var/cache/zypp/*",
    "var/cache/apt/archives/*.deb",
    "var/cache/apt/*.bin",
    "var/cache/ldconfig/aux-cache",
    "var/cache/debconf/*-old",
    "var/lib/apt/lists/*",
    "var/lib/dpkg/*-old",
    "debootstrap",
    "etc/machine-id.*",
    "run/*",
    "tmp/*",
    "tmp/.[!.]*",
    "var/tmp/*",
)


class CannotCustomise(Exception):
    """What a recipe asks for cannot be done in this tree."""


@dataclass(frozen=True)
class Customisation:
    """What a recipe changes in an installed tree."""

    hostname: str
    root_password: str
    ssh_keys: tuple[str, ...]
    serial_login: str
    services: tuple[str, ...]
    files: bool

    def to_json(self) -> str:
        """Return what from_json reads."""
        return json.dumps(asdict(self))


def main() -> int:
    """Do what the argument names; a failure is one line on standard error, and status 1."""
    try:
        if sys.argv[1] == "configure":
            configure(Customisation(**json.loads(Path(CONFIG, SPEC).read_text())))
        elif sys.argv[1] == "clean":
            clean()
        else:
            packages = [asdict(package) for package in installed(Path(TREE))]
            Path(OUTPUT, LISTED).write_text(json.dumps(packages))
    except (CannotCustomise, ManifestError) as error:
        print(error, file=sys.stderr)
        return 1
    except OSError as error:
        print(f"{error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    return 0


def configure(wanted: Customisation) -> None:
    """Lay the recipe's files over the tree, then set what it names."""
    if wanted.files:
        _lay_over()
    _enter()
    _replace(Path("/etc/hostname"), f"{wanted.hostname}\n")
    if Path("/etc/machine-id").is_file():
        _replace(Path("/etc/machine-id"), "")  # systemd makes one for each machine
    if wanted.root_password:
        _set_password(wanted.root_password)
    if wanted.ssh_keys:
        folder = Path("/root/.ssh")
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _replace(folder / "authorized_keys", "".join(f"{key}\n" for key in wanted.ssh_keys), 0o600)
    for service in wanted.services:
        _enable(service)
    if wanted.serial_login:
        _serial_login(wanted.serial_login)


def clean() -> None:
    """Remove what package managers left, and close rpm's database."""
    _enter()
    for litter in _litter():
        if litter.is_dir() and not litter.is_symlink():
            shutil.rmtree(litter)
        else:
            litter.unlink()
    resolver = Path("/etc/resolv.conf")
    if resolver.is_file() and not resolver.is_symlink() and not resolver.stat().st_size:
        resolver.unlink()  # debootstrap's copy of the sandbox's, which has no network
    for database in ("/var/lib/rpm/rpmdb.sqlite", "/usr/lib/sysimage/rpm/rpmdb.sqlite"):
        if Path(database).is_file():
            connection = sqlite3.connect(database)
            connection.execute("PRAGMA journal_mode=DELETE")  # ends its -wal and -shm files
            connection.close()


def _litter() -> Iterator[Path]:
    for pattern in _LITTER:
        yield from Path("/").glob(pattern)


def _enter() -> None:
    os.chroot(TREE)
    os.chdir("/")


def _lay_over() -> None:
    """Copy what lies in FILES; a folder that is a link in the tree (`bin`) stays one."""
    copied = subprocess.run(
        [
            "cp",
            "--recursive",
            "--no-dereference",
            "--preserve=mode,links,timestamps",
            "--keep-directory-symlink",
            "--remove-destination",
            f"{FILES}/.",
            f"{TREE}/",
        ],
        check=False,
        capture_output=True,
        text=True,
    )
    if copied.returncode:
        raise CannotCustomise(f"files: {copied.stderr.strip().splitlines()[0]}")


def _replace(file: Path, text: str, mode: int = 0o644) -> None:
    """Write a file anew; what it was, a link too, is gone. A file that exists keeps its mode."""
    file.parent.mkdir(parents=True, exist_ok=True)
    if file.is_file() and not file.is_symlink():
        mode = file.stat().st_mode & 0o7777
    aside = file.with_name(f".{file.name}.new")
    aside.unlink(missing_ok=True)
    aside.write_text(text)
    aside.chmod(mode)
    aside.replace(file)


def _set_password(hashed: str) -> None:
    passwd, shadow = Path("/etc/passwd"), Path("/etc/shadow")
    if not passwd.is_file() or not _field(passwd.read_text(), "root"):
        raise CannotCustomise("root_password: the tree has no user root in /etc/passwd")
    _replace(passwd, _with_password(passwd.read_text(), "x"))
    known = shadow.read_text() if shadow.is_file() else ""
    if not _field(known, "root"):
        known += "root:*:19000:0:99999:7:::\n"
    _replace(shadow, _with_password(known, hashed), 0o600)


def _field(text: str, user: str) -> bool:
    return any(line.startswith(f"{user}:") for line in text.splitlines())


def _with_password(text: str, hashed: str) -> str:
    lines = []
    for line in text.splitlines():
        user, colon, rest = line.partition(":")
        if user == "root" and colon:
            lines.append(f"root:{hashed}:{rest.partition(':')[2]}\n")
        else:
            lines.append(f"{line}\n")
    return "".join(lines)


def _has_systemd() -> bool:
    return Path("/usr/bin/systemctl").exists() or Path("/bin/systemctl").exists()


def _enable(service: str) -> None:
    if _has_systemd():
        argv = ["systemctl", "enable", service]
    elif Path("/etc/init.d", service).exists() and Path("/usr/sbin/update-rc.d").exists():
        argv = ["update-rc.d", service, "enable"]
    else:
        raise CannotCustomise(f"services: {service}: the tree has no systemd and no such script")
    ended = subprocess.run(
        argv,
        check=False,
        capture_output=True,
        text=True,
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "SYSTEMD_OFFLINE": "1"},
    )
    if ended.returncode:
        said = (ended.stderr or ended.stdout).strip().splitlines() or ["it said nothing"]
        raise CannotCustomise(f"services: {service}: {said[-1]}")


def _serial_login(tty: str) -> None:
    inittab = Path("/etc/inittab")
    if _has_systemd():
        _enable(f"serial-getty@{tty}.service")
    elif inittab.is_file():
        init = Path("/sbin/init")
        busybox = init.is_symlink() and "busybox" in os.readlink(init)
        entry = (
            f"{tty}::respawn:/sbin/getty -L 115200 {tty} vt100"
            if busybox
            else f"{tty[-3:]}:2345:respawn:/sbin/getty -L {tty} 115200 vt100"
        )
        _replace(inittab, f"{inittab.read_text().rstrip()}\n{entry}\n")
    else:
        raise CannotCustomise("serial_login: the tree has neither systemd nor /etc/inittab")


if __name__ == "__main__":
    sys.exit(main())
