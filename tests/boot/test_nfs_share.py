"""Three machines at once from one root: each its own clone, or all write one, or all read one."""

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
    switch_off,
    wait_offered,
)
from tests.lab.lab import Lab
from tests.lab.nfs_root import NfsMachine, NfsRoot, add_roots
from tests.lab.project import SERVER

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
        switch_off([first])
        second.run("hold /lock")


def test_a_root_to_read_is_writable_in_memory_and_as_before_after_a_reboot(
    nfs_lab: Lab, test_kernel: Path
) -> None:
    root = NfsRoot("read", share="ro")
    offer(nfs_lab, test_kernel, root)
    with machines(nfs_lab, THREE) as booted:
        for number, machine in enumerate(booted):
            assert machine.booted(BOOT).kind == "overlay"
            machine.run(f"write /content 'changed by {number}'; write /new-{number} x")
        for number, machine in enumerate(booted):
            assert machine.run("cat /content; echo /new-*") == f"changed by {number}\n/new-{number}"
        switch_off(booted)
    with machines(nfs_lab, THREE[:1]) as (machine,):
        assert machine.booted(BOOT).content == root.content
        assert machine.run("echo /new-*") == "/new-*"


def test_a_new_version_is_for_the_next_boot_and_hosts_of_other_networks_are_refused(
    nfs_lab: Lab, test_kernel: Path
) -> None:
    root = NfsRoot("rebuilt", share="clone")
    newer = NfsRoot("rebuilt", id="00112233445566bb", content="the second version")
    offer(nfs_lab, test_kernel, root)
    with machines(nfs_lab, THREE[:1]) as (old,):
        assert old.booted(BOOT).content == root.content
        add_roots(nfs_lab, [newer])
        wait_offered(nfs_lab, newer)
        old.run("write /after 'still here'; sum /bin/busybox >/run/sum")
        with machines(nfs_lab, THREE[1:2]) as (new,):
            assert new.booted(BOOT).content == newer.content
            assert new.run("echo /after*") == "/after*"
        assert old.run("cat /content /after; echo 3 >/proc/sys/vm/drop_caches; cat /content") == (
            f"{root.content}\nstill here\n{root.content}"
        )
        assert_refused_from_outside(nfs_lab, old, source(root, holder(THREE[0])))


def assert_refused_from_outside(lab: Lab, machine: NfsMachine, export: str) -> None:
    """See that a machine may mount an export, and may not once it asks from another network."""
    lab.network.exec_run(["ip", "route", "add", "10.0.0.0/24", "dev", "br0"])
    machine.run("mkdir /mnt/other; ip address add 10.0.0.9/24 dev eth0")
    mounts = [
        f"mount -i -t nfs -o addr={SERVER},{options} {export} /mnt/other"
        for options in ("vers=3,nolock,proto=tcp,mountproto=tcp", "vers=4.1,proto=tcp")
    ]
    for mount in mounts:
        assert machine.attempt(f"{mount} && cat /mnt/other/content && umount /mnt/other")[0] == 0
    machine.run(f"ip route add {SERVER} dev eth0 src 10.0.0.9")
    for mount in mounts:
        assert machine.attempt(mount)[0] != 0
    machine.run("cat /content")  # its own connection is another one
