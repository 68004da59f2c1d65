"""Three machines at once from one root that is only read, and writable in their memory."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.boot.nfs import BOOT, hardware, machines, offer, switch_off
from tests.lab.lab import Lab
from tests.lab.nfs_root import NfsRoot

pytestmark = pytest.mark.lab

THREE = [hardware(1), hardware(2), hardware(3, "uefi")]


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
