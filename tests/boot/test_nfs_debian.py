"""Debian's kernel boots a root over NFS by dracut's initrd, and finds what it wrote."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.boot.nfs import BOOT, hardware, holder, machines, offer_debian, source, switch_off
from tests.lab.lab import Lab
from tests.lab.nfs_root import NfsRoot

pytestmark = pytest.mark.lab

BIOS, UEFI = hardware(1), hardware(2, "uefi")


def test_debians_kernel_boots_by_dracut_by_4_2(nfs_lab: Lab, tmp_path: Path) -> None:
    root = NfsRoot("by-dracut")
    offer_debian(nfs_lab, tmp_path, "dracut", root)
    with machines(nfs_lab, [BIOS, UEFI]) as booted:
        for machine, ordered in zip(booted, (BIOS, UEFI), strict=True):
            seen = machine.booted(BOOT)
            assert (seen.version, seen.source) == ("4.2", source(root, holder(ordered)))
            machine.run(f"write /mark {holder(ordered)}")
        switch_off(booted)
    with machines(nfs_lab, [BIOS]) as (machine,):
        machine.booted(BOOT)
        assert machine.run("cat /mark") == holder(BIOS)
