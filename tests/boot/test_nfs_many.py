"""Ten machines at once, NFS killed while five write, a hundred roots: minutes each."""

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
    restart,
    source,
    switch_off,
    wait_offered,
)
from tests.lab.lab import Lab
from tests.lab.nfs_root import NfsRoot, Share, add_roots

pytestmark = [pytest.mark.lab, pytest.mark.long]

TEN = [hardware(number, memory="192M") for number in range(1, 11)]
LONG = 600  # seconds
GRACE = 180
KILLS = 3
# Each of them by itself, whatever they are called; supervisord brings them back.
NFS_PROCESSES = ("ganesha.nfsd", "rpcbind", "rpc.mountd", "nfsdcld")
KILL = f"""
for process in /proc/[0-9]*; do
    read -r name <"$process/comm" || continue
    case " {" ".join(NFS_PROCESSES)} " in *" $name "*)
        kill -KILL "${{process#/proc/}}" && echo "$name" ;;
    esac
done
"""


@pytest.mark.parametrize("share", ["clone", "rw", "ro"])
def test_ten_machines_boot_one_root_at_once(nfs_lab: Lab, test_kernel: Path, share: Share) -> None:
    root = NfsRoot(f"ten-{share}", share=share)
    offer(nfs_lab, test_kernel, root)
    with machines(nfs_lab, TEN) as booted:
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


@pytest.mark.parametrize("version", ["3", "4.2"])
def test_nothing_acknowledged_is_lost_when_every_nfs_process_is_killed(
    nfs_lab: Lab, test_kernel: Path, version: str
) -> None:
    restart(nfs_lab, {"BOOTDROP_NFS_VERSION": version})
    root = NfsRoot(f"kills-{version.replace('.', '-')}", share="clone")
    offer(nfs_lab, test_kernel, root)
    five = TEN[:5]
    with machines(nfs_lab, five) as booted:
        for machine in booted:
            assert machine.booted(LONG).version == version
            machine.run("hold /lock; acknowledge /acks")
        for _ in range(KILLS):
            for machine in booted:
                machine.machine.expect(r"ACK ", GRACE)
            status, said = nfs_lab.exec_appliance(["sh", "-c", KILL])
            assert "ganesha.nfsd" in said, (status, said)
            for machine in booted:
                last = len(machine.acknowledged())
                machine.machine.expect(rf"ACK /acks/{last + 3} ", GRACE)
        for machine, ordered in zip(booted, five, strict=True):
            machine.run("stop", GRACE)
            said = machine.acknowledged()
            assert list(said) == [f"/acks/{number}" for number in range(1, len(said) + 1)]
            # It holds its lock as before, in the kernel's eyes and in the server's.
            assert machine.attempt("is_free /lock")[0] == 1
            kept = checksums(nfs_lab, root, holder(ordered), "/acks")
            assert {name: kept.get(name) for name in said} == said
    restart(nfs_lab, {})


def test_a_machine_boots_the_last_of_a_hundred_roots(nfs_lab: Lab, test_kernel: Path) -> None:
    roots = [NfsRoot(f"root {number:03}") for number in range(100)]
    add_roots(nfs_lab, roots)
    last = NfsRoot("zz-last")
    offer(nfs_lab, test_kernel, last)
    restart(nfs_lab, {"BOOTDROP_DEFAULT_ROOT": last.name})
    wait_offered(nfs_lab, last)
    with machines(nfs_lab, TEN[:3]) as booted:
        for machine, ordered in zip(booted, TEN, strict=False):
            assert machine.booted(BOOT).source == source(last, holder(ordered))
        switch_off(booted)
    restart(nfs_lab, {})
