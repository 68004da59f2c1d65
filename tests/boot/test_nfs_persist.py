"""What a machine has synced survives the end of the appliance, and the machine goes on writing."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.boot.nfs import BOOT, checksums, hardware, holder, machines, offer, restart, wait_offered
from tests.lab.lab import Lab
from tests.lab.nfs_root import NfsMachine, NfsRoot

pytestmark = pytest.mark.lab

BIOS = hardware(1)
MORE = 3  # blocks acknowledged after the appliance is back
GRACE = 120  # seconds


def restarted(lab: Lab) -> None:
    """End it as `docker restart` does."""
    lab.appliance.restart()


def killed(lab: Lab) -> None:
    """End it as a power cut would."""
    lab.kill_appliance()


def replaced(lab: Lab) -> None:
    """Give it a new container, as an update does."""
    lab.restart()


@pytest.mark.parametrize("version", ["3", "4.2"])
def test_a_machine_that_writes_outlives_the_appliance(
    nfs_lab: Lab, test_kernel: Path, version: str
) -> None:
    restart(nfs_lab, {"BOOTDROP_NFS_VERSION": version})
    root = NfsRoot(f"writes-{version.replace('.', '-')}")
    offer(nfs_lab, test_kernel, root)
    with machines(nfs_lab, [BIOS]) as (machine,):
        assert machine.booted(BOOT).version == version
        machine.run("hold /lock")
        machine.run("acknowledge /acks")
        for end in (restarted, killed, replaced):
            goes_on(nfs_lab, machine, end)
        machine.run("stop", GRACE)
        said = machine.acknowledged()
        assert list(said) == [f"/acks/{number}" for number in range(1, len(said) + 1)]
        # Its lock is its own still: not lost, and not somebody else's.
        assert machine.attempt("is_free /lock")[0] == 1
    wait_offered(nfs_lab, root)
    kept = checksums(nfs_lab, root, holder(BIOS), "/acks")
    assert {name: kept.get(name) for name in said} == said


def goes_on(lab: Lab, machine: NfsMachine, end: Callable[[Lab], None]) -> None:
    """See that a machine writes before and after the appliance's end, block after block."""
    machine.machine.expect(r"ACK ", GRACE)
    end(lab)
    last = len(machine.acknowledged())
    machine.machine.expect(rf"ACK /acks/{last + MORE} ", GRACE)
