"""Three machines at once from one root: each its own clone, or all write one."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.boot.nfs import (
    BOOT,
    checksums,
    hardware,
    holder,
    machines,
    offer,
    source,
)
from tests.lab.lab import Lab
from tests.lab.nfs_root import NfsRoot

pytestmark = pytest.mark.lab

THREE = [hardware(1), hardware(2), hardware(3, "uefi")]


def test_clones_do_not_see_each_other_and_are_no_twins(nfs_lab: Lab, test_kernel: Path) -> None:
    root = NfsRoot("clones", share="clone")
    offer(nfs_lab, test_kernel, root)
    with machines(nfs_lab, THREE) as booted:
        seen = [machine.booted(BOOT) for machine in booted]
        assert [each.source for each in seen] == [source(root, holder(each)) for each in THREE]
        assert len({each.machine_id for each in seen}) == len(THREE)
        written = {f"/mine-{number}": machine for number, machine in enumerate(booted)}
        sums = {name: machine.run(f"fill {name} 1", BOOT) for name, machine in written.items()}
        for name, machine in written.items():
            assert machine.run("echo /mine-*") == name
        assert {
            name: checksums(nfs_lab, root, holder(each), name)
            for name, each in zip(written, THREE, strict=True)
        } == {name: {name: checksum} for name, checksum in sums.items()}


def test_machines_that_share_a_writable_root_see_each_other(
    nfs_lab: Lab, test_kernel: Path
) -> None:
    root = NfsRoot("shared", share="rw")
    offer(nfs_lab, test_kernel, root)
    with machines(nfs_lab, THREE) as booted:
        for number, machine in enumerate(booted):
            assert machine.booted(BOOT).source == source(root, "rw")
            machine.run(f"write /from-{number} 'this is {number}'")
        said = "\n".join(f"this is {number}" for number in range(len(booted)))
        for machine in booted:
            assert machine.run("cat /from-*") == said
        # By NFSv4 locks are the server's.
        first, second, third = booted
        first.run("hold /lock")
        assert [second.attempt("is_free /lock")[0], third.attempt("is_free /lock")[0]] == [1, 1]
        first.run("exec 7>&-")
        second.run("hold /lock")
        assert third.attempt("is_free /lock")[0] == 1
