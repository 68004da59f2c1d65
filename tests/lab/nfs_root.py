"""A small root for tests over NFS: made as the builder makes roots, and what its init can do."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tests.lab.lab import Lab
from tests.lab.machine import Machine

Share = Literal["clone", "rw", "ro"]
Initramfs = Literal["dracut", "initramfs-tools"]

# In the lab's image (nfs-initrds.sh).
FOLDER = "/usr/share/bootdrop-lab/nfs"
INIT = Path(__file__).with_name("nfs-init.sh")

# $1 is /sbin/init; then for each root its name, ID, contents of /content and root.json. As the
# builder does: what has its name is complete.
_MAKE = f"""
set -eu
init=$1; shift
while [ $# -gt 0 ]; do
    root=/roots/$1 id=$2
    mkdir -p "$root/.$id"
    cp -a {FOLDER}/root "$root/.$id/tree"
    printf '%s' "$init" >"$root/.$id/tree/sbin/init"
    chmod 755 "$root/.$id/tree/sbin/init"
    printf '%s\\n' "$3" >"$root/.$id/tree/content"
    printf 'tree\\n' >"$root/.$id/tree/etc/hostname"
    printf '%032d\\n' 7 >"$root/.$id/tree/etc/machine-id"
    printf '%s' "$4" >"$root/.$id/root.json"
    mv "$root/.$id" "$root/$id"
    ln -s "$id" "$root/.current"
    mv -T "$root/.current" "$root/current"
    shift 4
done
"""


@dataclass(frozen=True)
class NfsRoot:
    """One version of a root that is to be booted over NFS alone."""

    name: str = "small"
    id: str = "00112233445566aa"
    share: Share | None = None  # None: as the appliance's setting says
    content: str = "the first version"  # of the file /content

    def manifest(self) -> str:
        """Return its root.json."""
        said = {"name": self.name, "id": self.id, "arch": "x86_64", "init": "/sbin/init"}
        shared = {"share": self.share} if self.share else {}
        return json.dumps(said | shared | {"formats": {"nfs": {"file": "tree"}}})


def add_roots(lab: Lab, roots: Iterable[NfsRoot]) -> None:
    """Leave roots in a lab's volume, each as its name's current version."""
    words = [word for root in roots for word in (root.name, root.id, root.content, root.manifest())]
    _in_roots(lab, ["sh", "-c", _MAKE, "sh", INIT.read_text(), *words])


def remove_roots(lab: Lab, *names: str) -> None:
    """Remove roots with all their versions, as `rm -r` of their folders does."""
    _in_roots(lab, ["rm", "-r", *(f"/roots/{name}" for name in names)])


def fetch_initrd(lab: Lab, folder: Path, kind: Initramfs) -> Path:
    """Copy the initrd of the demo's kernel (Lab.fetch_demo_kernel) that boots a root over NFS."""
    return _fetch(lab, folder, f"{kind}/initrd.img-*")


def fetch_config(lab: Lab, folder: Path) -> Path:
    """Copy the configuration of the demo's kernel, which that has not in itself."""
    return _fetch(lab, folder, "config-*")


def _fetch(lab: Lab, folder: Path, pattern: str) -> Path:
    said = lab.docker.containers.run(
        lab.project.image("lab"),
        ["sh", "-c", f"cd {FOLDER} && cp {pattern} /folder/ && echo {pattern}"],
        volumes={str(folder): {"bind": "/folder", "mode": "rw"}},
        network_mode="none",
        remove=True,
    )
    return folder / Path(said.decode().strip()).name


def _in_roots(lab: Lab, argv: list[str]) -> None:
    # By root, as the builder's trees are.
    lab.docker.containers.run(
        lab.project.image("lab"),
        argv,
        volumes={str(lab.boot / "roots"): {"bind": "/roots", "mode": "rw"}},
        network_mode="none",
        remove=True,
    )


@dataclass(frozen=True)
class Booted:
    """What a machine says of itself once its init runs."""

    source: str  # as the mount table has it: SERVER:PATH, `overlay` for one in memory
    kind: str  # nfs (version 3), nfs4, overlay
    options: dict[str, str]  # of the mount; "" for those without a value
    name: str
    machine_id: str
    content: str  # of the file /content

    @property
    def version(self) -> str:
        """The protocol's version: 3, 4.2."""
        return self.options["vers"]


_ROOT = re.compile(r"NFS: root (\S+) (\S+) (\S+)\n")
_NAME = re.compile(r"NFS: name (\S+) machine-id (.*) content (.*)\n")


class NfsMachine:
    """A machine that boots the tests' root, by what its console says; tests/lab/nfs-init.sh."""

    def __init__(self, machine: Machine) -> None:
        self.machine = machine
        self._commands = 0

    def booted(self, timeout: float) -> Booted:
        """Wait until its init runs. Raises WaitedInVain."""
        source, kind, options = self.machine.expect(_ROOT.pattern, timeout).match.groups()
        name, machine_id, content = self.machine.expect(_NAME.pattern, timeout).match.groups()
        self.machine.expect(r"NFS: init 1\n", timeout)
        pairs = (option.partition("=") for option in options.split(","))
        return Booted(
            source=source.replace("\\040", " "),
            kind=kind,
            options={key: value for key, _, value in pairs},
            name=name,
            machine_id=machine_id,
            content=content,
        )

    def run(self, command: str, timeout: float = 60) -> str:
        """Run a line of shell; return what it printed. AssertionError when its status is not 0."""
        status, said = self.attempt(command, timeout)
        assert status == 0, f"{command}: {status}\n{said}"
        return said

    def attempt(self, command: str, timeout: float = 60) -> tuple[int, str]:
        """Run a line of shell; return its exit status and what it printed, without last newline.

        Lines of `acknowledge` may stand among it. Raises WaitedInVain.
        """
        number = self.begin(command)
        found = self.machine.expect(rf"BEGIN {number}\n((?s:.*?))END {number} (\d+)\n", timeout)
        said, status = found.match.groups()
        return int(status), said.rstrip("\n")

    def begin(self, command: str) -> int:
        """Type a command; return its number without waiting for its end."""
        self._commands += 1
        self.machine.send(command + "\n")
        return self._commands

    def acknowledged(self) -> dict[str, str]:
        """Return what `acknowledge` said so far: each file and its SHA-256."""
        return dict(re.findall(r"^ACK (\S+) ([0-9a-f]{64})$", self.machine.console, re.MULTILINE))
