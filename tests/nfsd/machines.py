"""Virtual machines whose root is on the virtual server: the test kernel, started without PXE."""

from __future__ import annotations

import re
from contextlib import ExitStack
from typing import Literal

from tests.lab.lab import Lab
from tests.lab.machine import Hardware, Machine
from tests.nfsd.server import ADDRESS

Version = Literal["3", "4.2"]
_HAS = re.compile(r"machine: has (\d+)\n")


class Machines:
    """Switches machines on; a context manager that switches them off."""

    def __init__(self, network: Lab, kernel: str) -> None:
        self._network, self._kernel = network, kernel
        self._off = ExitStack()
        self._count = 0

    def __enter__(self) -> Machines:
        return self

    def __exit__(self, *_: object) -> None:
        self._off.close()

    def boot(self, path: str, version: Version, job: str) -> Machine:
        """Switch a machine on; its root is `path`, `job` is for host/machine-init."""
        self._count += 1
        address = f"192.168.10.{100 + self._count}"
        return self.start(
            f"init=/init {job} nfsroot={ADDRESS}:{path},vers={version},tcp "
            f"ip={address}::{ADDRESS}:255.255.255.0:machine:eth0:off"
        )

    def start(self, cmdline: str) -> Machine:
        """Switch a machine on whose root is on the server, by these words of the command line."""
        words = f"console=ttyS0 panic=-1 root=/dev/nfs rw {cmdline}"
        kernel = ("-kernel", f"/testkernel/{self._kernel}", "-append", words)
        hardware = Hardware(memory="256M", option_rom=False, qemu=kernel)
        return self._off.enter_context(self._network.machine(hardware))


def has(machine: Machine) -> int:
    """Return the last line that a machine with job=write knows to be on the server's disk."""
    found = _HAS.findall(machine.console)
    return int(found[-1]) if found else 0


def goes_on(machine: Machine, since: int, timeout: float = 60) -> None:
    """Wait until a machine with job=write has written some more. Raises WaitedInVain."""
    machine.expect(rf"machine: has {since + 3}\n", timeout)
