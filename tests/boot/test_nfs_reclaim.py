"""nfs-ganesha is killed: machines by NFSv4 have again what they had open and locked, and no other.

By NFSv3 a lock is the machine's own affair: it is mounted with nolock, and nobody is asked.
"""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.boot.nfs_kills import (
    BOOT,
    GRACE,
    LOSSES,
    Kill,
    Version,
    direct,
    put_kernel,
)
from tests.lab.lab import Lab
from tests.lab.machine import Hardware
from tests.lab.nfs_root import NfsMachine, NfsRoot, add_roots, fetch_initrd

pytestmark = pytest.mark.lab

SETTINGS = {"BOOTDROP_NFS": "ganesha"}
TOGETHER = NfsRoot("together", share="rw")
HOLDERS: tuple[Version, ...] = ("4.0", "4.1", "4.2")


@pytest.fixture(scope="module")
def served(shared_lab: Lab, test_kernel: Path) -> Lab:
    """A lab that serves a root that everybody writes."""
    put_kernel(shared_lab, test_kernel)
    add_roots(shared_lab, [TOGETHER])
    shared_lab.wait_status(lambda status: "ganesha" in status.serving, 60)
    return shared_lab


def seconds_to_init(machine: NfsMachine) -> float:
    machine.booted(BOOT)
    (seen,) = machine.machine.every(r"NFS: init 1\n")
    return seen.seconds


def test_a_new_start_is_waited_for_by_those_on_record_alone(served: Lab) -> None:
    kill = Kill(served, "ganesha")
    kill.wait_served()
    assert kill.wait_grace_over() < 5
    with ExitStack() as off:
        first, second = (
            NfsMachine(off.enter_context(served.machine(direct(TOGETHER, "4.2")))) for _ in range(2)
        )
        after = seconds_to_init(first)
        later = seconds_to_init(second)
        kill = Kill(served, "ganesha")
        took = kill.wait_grace_over()
        print(f"init after {after:.1f} s and {later:.1f} s, grace for two machines {took:.2f} s")
        # An idle machine notices at its next renewal, nfs-ganesha looks every 10 s; else it is 30.
        assert took < 25
        for machine in (first, second):
            assert machine.run("sum /content")


@pytest.mark.long
@pytest.mark.timeout(900)
def test_locks_and_open_files_outlive_the_server(served: Lab) -> None:
    with ExitStack() as off:

        def boot(version: Version) -> NfsMachine:
            return NfsMachine(off.enter_context(served.machine(direct(TOGETHER, version))))

        holders = {version: boot(version) for version in HOLDERS}
        rival = boot("4.2")
        for machine in (*holders.values(), rival):
            machine.booted(BOOT)
        for version, holder in holders.items():
            holder.run(f"hold /lock-{version}")
            holder.run(f"write /file-{version} before")
            holder.run(f"exec 8>>/file-{version} 9</file-{version}")
            holder.run("read line <&9 && [ $line = before ]")
        for what in ("ganesha", "the container"):
            kill = Kill(served, what)
            print(f"{what}: served after {kill.wait_served():.1f} s")
            for version, holder in holders.items():
                # Who asks meanwhile is told to wait, not that it is free.
                assert rival.attempt(f"is_free /lock-{version}", GRACE)[0] == 1
                holder.run("echo after >&8 && sync", GRACE)
                holder.run("echo 3 >/proc/sys/vm/drop_caches")
                holder.run("read line <&9 && [ $line = after ]")
                assert holder.run(LOSSES) == "0"
            print(f"{what}: all had reclaimed after {kill.wait_grace_over():.1f} s")
        for version, holder in holders.items():
            holder.run("exec 7>&-")
            assert rival.attempt(f"is_free /lock-{version}", GRACE)[0] == 0
            assert rival.run(f"xargs </file-{version}") == "before after after"


@pytest.mark.long
def test_by_version_3_a_lock_is_the_machines_own(served: Lab) -> None:
    with ExitStack() as off:
        ordered = [direct(TOGETHER, "3"), direct(TOGETHER, "3")]
        one, other = (NfsMachine(off.enter_context(served.machine(each))) for each in ordered)
        for machine in (one, other):
            assert machine.booted(BOOT).options["local_lock"] == "all"
        one.run("hold /lock-3")
        Kill(served, "ganesha").wait_served()
        assert one.attempt("is_free /lock-3", GRACE)[0] == 1
        assert other.attempt("is_free /lock-3", GRACE)[0] == 0


@pytest.mark.long
@pytest.mark.timeout(600)
def test_machines_by_dracut_do_not_take_each_others_locks(lab: Lab, tmp_path: Path) -> None:
    """Neither has a name of its own while it mounts its root."""
    lab.up(SETTINGS | {"BOOTDROP_NFS_FIRST": "true", "BOOTDROP_NFS_VERSION": "4.2"})
    add_roots(lab, [TOGETHER])
    lab.drop(fetch_initrd(lab, tmp_path, "dracut"), "bzImage.initrd")
    lab.drop(lab.fetch_demo_kernel(tmp_path, "amd64"), "bzImage")
    lab.wait_status(lambda status: status.default.endswith("together over NFS"), 60)
    with ExitStack() as off:

        def boot() -> NfsMachine:
            machine = NfsMachine(off.enter_context(lab.machine(Hardware(memory="512M"))))
            assert machine.booted(240).version == "4.2"
            return machine

        one = boot()
        one.run("hold /lock")
        other = boot()
        for _ in range(2):
            assert other.attempt("is_free /lock", GRACE)[0] == 1
            one.run("write /file 1")
            other.run("write /file 2")
        for machine in (one, other):
            assert machine.run(LOSSES) == "0"
