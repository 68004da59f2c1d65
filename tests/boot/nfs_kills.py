"""An appliance that serves roots over NFS and is killed, and machines that start without PXE."""

from __future__ import annotations

import io
import re
import tarfile
import time
from collections.abc import Callable
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from typing import Literal

from appliance.nfs.export import layer_path
from tests.lab.lab import Lab
from tests.lab.machine import Hardware
from tests.lab.nfs_root import NfsMachine, NfsRoot
from tests.lab.project import SERVER

Version = Literal["3", "4.0", "4.1", "4.2"]

BOOT = 150  # seconds; five machines on two cores
# Seconds until a machine goes on: the start, Grace_Period of ganesha.conf.j2, and up to 15 more in
# which a Linux client that was told to wait does not ask again (NFS4_POLL_RETRY_MAX).
GRACE = 90
# On a machine: how often its kernel told of something that it has no more.
LOSSES = "dmesg | grep -ci 'stale\\|reclaim\\|lost .* lock' || true"

_PROGRAMS = {  # by its name: what its command line begins with
    "ganesha": "ganesha.nfsd ",
    "rpcbind": "rpcbind ",
    "orchestrator": "/opt/venv/bin/python -m appliance.cli serve",
}
_KILL = """
for process in /proc/[0-9]*; do
    case $(tr '\\0' ' ' <"$process/cmdline") in
        "$1"*) kill -KILL "${process#/proc/}" && exit ;;
    esac
done 2>/dev/null
exit 1
"""


def put_kernel(lab: Lab, kernel: Path) -> None:
    """Copy a kernel to where QEMU runs."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        archive.add(kernel, "kernel")
    lab.network.put_archive("/run", packed.getvalue())


def export_of(root: NfsRoot, hardware: Hardware) -> str:
    """Return the path that a machine mounts of a root."""
    return str(layer_path(root.name, root.id, root.share or hardware.mac.replace(":", "-")))


def direct(root: NfsRoot, version: Version) -> Hardware:
    """Return a new machine that has its kernel (put_kernel) in it, and asks DHCP itself."""
    hardware = Hardware(memory="256M", option_rom=False)
    options = f"vers={version},tcp,rsize=1048576,wsize=1048576"
    words = f"root=/dev/nfs rw nfsroot={SERVER}:{export_of(root, hardware)},{options} ip=dhcp"
    kernel = ("-kernel", "/run/kernel", "-append", f"console=ttyS0 panic=-1 {words}")
    return replace(hardware, qemu=kernel)


def by_pxe(hardware: Hardware) -> Hardware:
    """Return the same machine as the appliance's menu boots it."""
    return Hardware(mac=hardware.mac, memory=hardware.memory)


def _kill(lab: Lab, program: str) -> None:
    status, said = lab.exec_appliance(["sh", "-c", _KILL, "sh", _PROGRAMS[program]])
    assert status == 0, f"{program} does not run\n{said}"


KILLS: dict[str, Callable[[Lab], None]] = {
    "ganesha": lambda lab: _kill(lab, "ganesha"),
    "rpcbind": lambda lab: _kill(lab, "rpcbind"),
    "the orchestrator": lambda lab: _kill(lab, "orchestrator"),
    "the container": lambda lab: lab.kill_appliance(),
    "docker restart": lambda lab: lab.appliance.restart(),
}


class Kill:
    """One thing of KILLS comes to its end, and again to life where Docker has to be asked for it.

    `at` is when, in seconds since the epoch.
    """

    def __init__(self, lab: Lab, what: str) -> None:
        self._lab, self._logged = lab, len(lab.feed.log)
        self.at = time.time()
        KILLS[what](lab)

    def wait_served(self) -> float:
        """Wait until nfs-ganesha has proven to serve again; return the seconds since the end."""
        return self.wait_line(r"^ganesha: serving$")

    def wait_grace_over(self) -> float:
        """Wait until nobody is waited for any more; return the seconds since the end."""
        return self.wait_line(r"^ganesha: NFS Server Now NOT IN GRACE$")

    def wait_line(self, pattern: str) -> float:
        """Wait for a line of the log that came since; return the seconds since the end."""
        return self._lab.feed.wait_line(pattern, GRACE, self._logged) - self.at


def checksums_on_server(lab: Lab, export: str, folder: str) -> dict[str, str]:
    """Return each file of a folder and its SHA-256, as the server has it."""
    where = f"/run/bootdrop/exports{export}"
    status, said = lab.exec_appliance(
        ["sh", "-ec", 'cd "$1"; exec find "./$2" -type f -exec sha256sum {} +', "sh", where, folder]
    )
    assert status == 0, said
    return _checksums(said)


def checksums_on(machine: NfsMachine, folder: str) -> dict[str, str]:
    """Return each file of a folder and its SHA-256, as the server tells a machine."""
    machine.run("echo 3 >/proc/sys/vm/drop_caches")
    return _checksums(machine.run(f"find {folder} -type f -exec sha256sum '{{}}' +", 120))


def _checksums(said: str) -> dict[str, str]:
    found = re.findall(r"^([0-9a-f]{64})  (?:\./)?(/?.+)$", said, re.MULTILINE)
    return {f"/{file.lstrip('/')}": checksum for checksum, file in found}


def assert_kept(acknowledged: dict[str, str], found: dict[str, str]) -> None:
    """See that every file that was acknowledged is there as it was written."""
    assert acknowledged
    assert {file: found.get(file) for file in acknowledged} == acknowledged


def goes_on(machine: NfsMachine, since: float, timeout: float = GRACE) -> float:
    """Wait for some more blocks after a moment; return the longest time between two around it.

    `since` in seconds since the epoch.
    """
    enough = len(machine.acknowledged()) + 5
    while len(machine.acknowledged()) < enough:
        machine.machine.expect(r"ACK \S+ [0-9a-f]{64}\n", timeout)
    times = [seen.time for seen in machine.machine.every(r"ACK \S+ [0-9a-f]{64}\n")]
    return max(later - earlier for earlier, later in pairwise(times) if later >= since)
