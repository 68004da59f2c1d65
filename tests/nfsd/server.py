"""A virtual server: Debian's kernel, whose nfsd is real, with the appliance's own files."""

from __future__ import annotations

import json
import shlex
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count
from pathlib import Path
from typing import Any

import docker
import yaml

from tests.daemons.forge import Refused
from tests.lab.lab import Lab
from tests.lab.machine import Hardware, Machine
from tests.lab.nfs_root import FOLDER as NFS_ROOT
from tests.lab.nfs_root import INIT, NfsRoot
from tests.lab.project import CHECKOUT, Project

ADDRESS = "192.168.10.2"  # of the server (host/init)
# Seconds in which Python has started the daemons alone, and all of the appliance, which are three
# programs one after the other: without KVM and beside others.
START, START_OF_ALL = 60.0, 240.0
HOST = Path(__file__).parent / "host"
ROOT = NfsRoot()  # in the volume of the appliance (host/disk.sh)
FORGE = CHECKOUT / "tests/daemons/forge.py"
_KIT = "/usr/share/bootdrop-lab/server"
_SHARED = "/server"  # the folder with the disk, in the lab's container


def make_disk(folder: Path, project: Project) -> None:
    """Put kernel, initrd and the disk, the appliance's image with a host's files, into a folder."""
    engine = docker.from_env()
    volumes = {str(folder): {"bind": "/out", "mode": "rw"}}
    engine.containers.run(
        project.image("lab"),
        ["sh", "-c", f"cp -r {_KIT} /out/ && cp -a {NFS_ROOT}/root /out/root"],
        volumes=volumes,
        network_mode="none",
        remove=True,
    )
    host = folder / "host"
    shutil.copytree(HOST, host)
    (host / "capabilities").write_text(capabilities())
    (host / "root.json").write_text(ROOT.manifest())
    shutil.copy(INIT, host)
    shutil.copy(FORGE, host)
    engine.containers.run(
        project.image("appliance"),
        ["sh", "/host/disk.sh"],
        volumes=volumes | {str(host): {"bind": "/host", "mode": "ro"}},
        network_mode="none",
        remove=True,
    )


def capabilities() -> str:
    """Return what compose.yaml leaves the appliance, in setpriv's words."""
    service = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())["services"]["appliance"]
    return ",".join(["-all", *(f"+{name.lower()}" for name in service["cap_add"])])


def compose(folder: Path, test_kernels: Path) -> str:
    """Return what a lab's compose.yaml adds, so that QEMU finds the disk and the test kernels."""
    volumes = [f"{folder}:{_SHARED}:ro", f"{test_kernels}:/testkernel:ro"]
    return yaml.safe_dump({"services": {"lab": {"volumes": volumes}}})


class Server:
    """The virtual server; a context manager that switches it on and off."""

    def __init__(self, lab: Lab) -> None:
        kernel = ("-kernel", f"{_SHARED}/server/vmlinuz", "-initrd", f"{_SHARED}/server/initrd.gz")
        self.machine: Machine = lab.machine(
            Hardware(
                option_rom=False,
                qemu=(
                    *kernel,
                    *("-append", "console=ttyS0 loglevel=1 panic=-1 net.ifnames=0"),
                    *("-smp", "2"),
                    # What a test writes goes with it.
                    *("-drive", f"file={_SHARED}/disk.img,format=raw,if=virtio,snapshot=on"),
                ),
            )
        )
        self._numbers = count(1)

    def __enter__(self) -> Server:
        self.machine.power_on()
        self.machine.expect(r"server: up", 60)
        return self

    def __exit__(self, *_: object) -> None:
        self.machine.power_off()

    def run(self, command: str, timeout: float = 30) -> tuple[int, str]:
        """Run a shell command on the host; return its exit status and what it printed.

        One that takes longer than `timeout` seconds is ended, with status 124, as the console is
        for one at a time.
        """
        number = next(self._numbers)
        begin = len(self.machine.console)
        limited = f"timeout {timeout:g} sh -c {shlex.quote(command)}"
        self.machine.send(f"{number} {limited}\n")
        seen = self.machine.expect(rf"\n<{number} exit (\d+)>\n", timeout + 15)
        said = self.machine.console[begin : seen.match.start()]
        return int(seen.match[1]), said.strip("\n")

    def do(self, command: str, timeout: float = 30) -> str:
        """Run a shell command that has to succeed; return what it printed."""
        status, said = self.run(command, timeout)
        assert status == 0, f"{command}: exit status {status}: {said}"
        return said

    # --- the appliance's container, as an engine has it

    def start(self) -> str:
        """Start the container; return what it said by when its daemons serve."""
        self.do("/host/container start /opt/venv/bin/python /host/driver.py")
        return self.until_log_has("^driver: applied")

    def start_appliance(self) -> str:
        """Start the container with all of the appliance; return what it said until dhcpd serves."""
        settings = "BOOTDROP_INTERFACE=eth0 BOOTDROP_NFS_STORE_SIZE=256"
        self.do(f"/host/container start env {settings} bootdrop start")
        # A line for each daemon that proved itself; nfsd runs from the first layer on.
        return self.until_log_has("^dhcpd: serving", START_OF_ALL)

    def until_log_has(self, pattern: str, timeout: float = START) -> str:
        """Wait for a line of the container's, by an expression without quotes; return all lines."""
        log = "/var/log/container"
        status, _ = self.run(f"until grep -q '{pattern}' {log}; do sleep 0.1; done", timeout)
        said = self.do(f"cat {log}")
        assert status == 0, f"no line /{pattern}/ within {timeout:g} s:\n{said}"
        return said

    def export(self, *paths: str) -> None:
        """Have the daemons export these paths and no others."""
        applied = "grep -c '^driver: applied' /var/log/container"
        self.do(
            f"printf '%s\\n' {' '.join(paths)} >/srv/boot/layers; times=$({applied}); "
            f'echo go >/srv/boot/apply; until [ "$({applied})" -gt "$times" ]; do sleep 0.1; done',
            START,
        )

    def inside(self, command: str, timeout: float = 30) -> str:
        """Run a command in the container, that has to succeed; return what it printed."""
        return self.do(f"/host/container exec {command}", timeout)

    def stop(self) -> None:
        """End the container as `docker stop` does."""
        self.do("/host/container stop")

    def kill(self) -> None:
        """End the container as `docker kill` does."""
        self.do("/host/container kill")

    def mount_control(self) -> None:
        """Have nfsd's control files mounted by the host, too, as where nfs-kernel-server is.

        Threads of ours outlive a container that is killed then; else they end with their files.
        """
        self.do("mountpoint -q /proc/fs/nfsd || mount -t nfsd nfsd /proc/fs/nfsd")

    @contextmanager
    def host_serves(self, path: str, nfsd: str, mountd: str = "") -> Iterator[None]:
        """Have the host serve a path itself, by rpc.nfsd and rpc.mountd with these arguments.

        Its control files come first: a mountd that finds no nfsd answers nobody later, either.
        """
        self.mount_control()
        self.do(f"exportfs -o ro,fsid=7 192.168.10.0/24:{path}")
        self.do(f"rpc.mountd {mountd} && rpc.nfsd {nfsd}")
        try:
            yield
        finally:
            self.host_ends()
            self.do(f"exportfs -u 192.168.10.0/24:{path}")

    def host_ends(self) -> None:
        """End the host's server; what it exports stays noted."""
        self.do("rpc.nfsd 0; pkill -x rpc.mountd || :")

    def threads(self) -> int:
        """Return how many threads the kernel's NFS server has."""
        return int(self.do("awk '/^th/ { print $2 }' /proc/net/rpc/nfsd"))

    def forge(self, verb: str, **about: str | int) -> Any:  # noqa: ANN401
        """Have tests/daemons/forge.py do something, on the server itself; return what it said.

        Raises Refused.
        """
        request = {"do": verb, "server": ADDRESS, "source": ADDRESS} | about
        line = shlex.quote(json.dumps(request))
        answer = json.loads(self.do(f"echo {line} | /opt/venv/bin/python /host/forge.py"))
        if "refused" in answer:
            raise Refused(answer["refused"])
        return answer["said"]

    def serves(self, path: str, version: int) -> bool:
        """Tell whether a client that asks now is shown what lies at a path."""
        return self.run(f"nfs-ls 'nfs://{ADDRESS}{path}?version={version}'")[0] == 0
