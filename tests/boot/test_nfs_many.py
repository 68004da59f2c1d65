"""Ten machines at once, and a hundred roots: minutes each."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.boot.nfs import (
    BOOT,
    hardware,
    holder,
    machines,
    offer,
    restart,
    source,
    switch_off,
    wait_offered,
)
from tests.lab.lab import Lab
from tests.lab.nfs_root import NfsRoot, Share, add_roots

pytestmark = [pytest.mark.lab, pytest.mark.long, pytest.mark.timeout(900)]

TEN = [hardware(number, memory="192M") for number in range(1, 11)]
LONG = 600  # seconds
# Ten emulated machines on two cores get their first timer interrupts too late for the kernel, which
# panics ("IO-APIC + timer doesn't work"); a hundred trees want more than the lab's store.
MANY = {"BOOTDROP_CMDLINE": "no_timer_check", "BOOTDROP_NFS_STORE_SIZE": "2048"}


@pytest.fixture
def many_lab(nfs_lab: Lab) -> Iterator[Lab]:
    """A lab for more machines and roots than others have."""
    restart(nfs_lab, MANY)
    yield nfs_lab
    restart(nfs_lab, {})


@pytest.mark.parametrize("share", ["clone", "rw", "ro"])
def test_ten_machines_boot_one_root_at_once(many_lab: Lab, test_kernel: Path, share: Share) -> None:
    root = NfsRoot(f"ten-{share}", share=share)
    offer(many_lab, test_kernel, root)
    with machines(many_lab, TEN) as booted:
        seen = [machine.booted(LONG) for machine in booted]
        if share == "ro":
            assert {each.kind for each in seen} == {"overlay"}
        else:
            expected = [source(root, holder(x) if share == "clone" else "rw") for x in TEN]
            assert [each.source for each in seen] == expected
        for number, machine in enumerate(booted):
            machine.run(f"write /from-{number} x", LONG)
        everybody = " ".join(f"/from-{number}" for number in range(len(TEN)))
        for number, machine in enumerate(booted):
            own = everybody if share == "rw" else f"/from-{number}"
            assert machine.run("echo /from-*", LONG) == own
        switch_off(booted)


def test_a_machine_boots_the_last_of_a_hundred_roots(many_lab: Lab, test_kernel: Path) -> None:
    roots = [NfsRoot(f"root {number:03}") for number in range(100)]
    add_roots(many_lab, roots)
    last = NfsRoot("zz-last")
    offer(many_lab, test_kernel, last)
    restart(many_lab, {**MANY, "BOOTDROP_DEFAULT_ROOT": last.name})
    wait_offered(many_lab, last)
    with machines(many_lab, TEN[:3]) as booted:
        for machine, ordered in zip(booted, TEN, strict=False):
            assert machine.booted(BOOT).source == source(last, holder(ordered))
        switch_off(booted)
