"""What machines have synced survives the end of the appliance, and they go on writing."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.boot.nfs import BOOT, machines, offer
from tests.boot.nfs_kills import (
    GRACE,
    Version,
    assert_kept,
    checksums_on_server,
    direct,
    export_of,
    goes_on,
    put_kernel,
)
from tests.lab.lab import Lab
from tests.lab.nfs_root import NfsRoot

pytestmark = pytest.mark.lab

VERSIONS: tuple[Version, ...] = ("3", "4.2")  # of two machines


def restarted(lab: Lab) -> None:
    """End it as `docker restart` does."""
    lab.appliance.restart()


def replaced(lab: Lab) -> None:
    """Give it a new container, as an update does."""
    lab.restart()


@pytest.mark.parametrize("end", [restarted, pytest.param(replaced, marks=pytest.mark.long)])
def test_machines_that_write_outlive_the_appliance(
    nfs_lab: Lab, test_kernel: Path, end: Callable[[Lab], None]
) -> None:
    root = NfsRoot(end.__name__)
    offer(nfs_lab, test_kernel, root)
    put_kernel(nfs_lab, test_kernel)
    ordered = [direct(root, version) for version in VERSIONS]
    with machines(nfs_lab, ordered) as booted:
        assert tuple(each.booted(BOOT).version for each in booted) == VERSIONS
        for machine in booted:
            machine.run("hold /lock; acknowledge /blocks")
            machine.machine.expect("ACK /blocks/3 ", GRACE)
        since = time.time()
        end(nfs_lab)
        gaps = [f"{goes_on(machine, since):.1f}" for machine in booted]
        print(f"{end.__name__}: {', '.join(gaps)} s between two blocks, by {', '.join(VERSIONS)}")
        for machine, hardware in zip(booted, ordered, strict=True):
            machine.run("stop", GRACE)
            said = machine.acknowledged()
            assert list(said) == [f"/blocks/{number}" for number in range(1, len(said) + 1)]
            # Its lock is its own still: not lost, and not somebody else's.
            assert machine.attempt("is_free /lock")[0] == 1
            assert_kept(said, checksums_on_server(nfs_lab, export_of(root, hardware), "blocks"))
