"""Machines boot a root over NFS, by each version of it, by BIOS and UEFI, and find what they wrote.

Machines run side by side, as each boot takes longer than anything else here.
"""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.boot.nfs import (
    BOOT,
    hardware,
    holder,
    machines,
    offer,
    offer_debian,
    restart,
    source,
    switch_off,
    wait_offered,
)
from tests.lab.lab import Lab
from tests.lab.nfs_root import NfsRoot

pytestmark = pytest.mark.lab

BIOS, UEFI = hardware(1), hardware(2, "uefi")


def test_a_kernel_mounts_its_root_by_4_2_and_by_3_and_finds_what_it_wrote(
    nfs_lab: Lab, test_kernel: Path
) -> None:
    root = NfsRoot("small")
    offer(nfs_lab, test_kernel, root)
    with machines(nfs_lab, [BIOS, UEFI]) as booted:
        first = [machine.booted(BOOT) for machine in booted]
        assert [each.version for each in first] == ["4.2", "4.2"]
        assert [each.source for each in first] == [source(root, holder(x)) for x in (BIOS, UEFI)]
        for machine, name in zip(booted, ("bios", "uefi"), strict=True):
            machine.run(f"write /mark '{name} by 4.2'")
        switch_off(booted)

    restart(nfs_lab, {"BOOTDROP_NFS_VERSION": "3"})
    wait_offered(nfs_lab, root)
    with machines(nfs_lab, [BIOS, UEFI]) as booted:
        again = [machine.booted(BOOT) for machine in booted]
        assert [each.version for each in again] == ["3", "3"]
        assert [each.source for each in again] == [each.source for each in first]
        assert [each.machine_id for each in again] == [each.machine_id for each in first]
        assert [machine.run("cat /mark") for machine in booted] == ["bios by 4.2", "uefi by 4.2"]
        switch_off(booted)
    restart(nfs_lab, {})


def test_debians_kernel_boots_by_initramfs_tools_by_3(nfs_lab: Lab, tmp_path: Path) -> None:
    root = NfsRoot("by-initramfs-tools")
    offer_debian(nfs_lab, tmp_path, "initramfs-tools", root)
    with machines(nfs_lab, [BIOS]) as (machine,):
        seen = machine.booted(BOOT)
        assert (seen.version, seen.source) == ("3", source(root, holder(BIOS)))
        machine.run("write /mark 'is mine'")
        assert machine.run("echo 3 >/proc/sys/vm/drop_caches; cat /mark") == "is mine"
