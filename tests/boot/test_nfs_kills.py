"""What serves roots over NFS is killed while machines write: nothing that was synced is lost."""

from __future__ import annotations

import time
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.boot.nfs_kills import (
    BOOT,
    GRACE,
    KILLS,
    LOSSES,
    Kill,
    Version,
    assert_kept,
    by_pxe,
    checksums_on,
    checksums_on_server,
    direct,
    export_of,
    goes_on,
    put_kernel,
)
from tests.lab.lab import Lab
from tests.lab.nfs_root import NfsMachine, NfsRoot, add_roots

pytestmark = pytest.mark.lab

# Where the kernel has a server of its own, that one's tests are tests/nfsd.
SETTINGS = {
    "BOOTDROP_NFS": "ganesha",
    "BOOTDROP_NFS_FIRST": "true",
    "BOOTDROP_DEFAULT_ROOT": "small",
    # MiB, half of it for layers: five machines write 64 KiB at a time for five minutes.
    "BOOTDROP_NFS_STORE_SIZE": "2048",
}
SMALL = NfsRoot("small")
TOGETHER = NfsRoot("together", "00112233445566bb", share="rw")
VERSIONS: tuple[Version, ...] = ("3", "3", "4.0", "4.1", "4.2")  # of five machines


@pytest.fixture(scope="module")
def served(shared_lab: Lab, test_kernel: Path) -> Lab:
    """A lab that serves a root for each machine and one for all, with a kernel that boots them."""
    put_kernel(shared_lab, test_kernel)
    add_roots(shared_lab, [SMALL, TOGETHER])
    shared_lab.drop(test_kernel, "bzImage")
    shared_lab.wait_status(
        lambda status: "small over NFS" in status.default and "ganesha" in status.serving, 60
    )
    return shared_lab


def test_a_machine_writes_on_when_nfs_ganesha_was_killed(served: Lab) -> None:
    hardware = direct(SMALL, "4.2")
    with served.machine(by_pxe(hardware)) as on:
        machine = NfsMachine(on)
        assert machine.booted(BOOT).version == "4.2"
        machine.run("acknowledge /blocks")
        on.expect("ACK /blocks/5 ", GRACE)
        kill = Kill(served, "ganesha")
        gap = goes_on(machine, kill.at)
        print(f"{gap:.1f} s between two blocks, all had reclaimed {kill.wait_grace_over():.1f} s")
        machine.run("stop")
        acknowledged = machine.acknowledged()
        assert_kept(acknowledged, checksums_on(machine, "/blocks"))
        assert_kept(acknowledged, checksums_on_server(served, export_of(SMALL, hardware), "blocks"))


def test_an_rpcbind_that_was_killed_is_told_again_and_nfs_ganesha_left_alone(served: Lab) -> None:
    known = ["sh", "-c", "pidof ganesha.nfsd; rpcinfo -s 127.0.0.1 | grep -c 'nfs\\|mountd'"]
    before = served.exec_appliance(known)
    assert before[1].splitlines()[1:] == ["2"]
    took = Kill(served, "rpcbind").wait_line(r"^rpcbind: serving$")
    print(f"rpcbind: knows all again after {took:.1f} s")
    assert served.exec_appliance(known) == before


@pytest.mark.long
def test_what_was_synced_is_there_after_the_power_failed(served: Lab) -> None:
    hardware = direct(SMALL, "4.2")
    with served.machine(hardware) as on:
        machine = NfsMachine(on)
        machine.booted(BOOT)
        # More than what a server would answer from a cache of its own.
        machine.run("mkdir /data && dd if=/dev/urandom of=/data/written bs=1M count=16")
        machine.run("sha256sum /data/written >/known && sync")
        served.appliance.kill()
        on.power_off()
    since = time.time()
    served.appliance.start()
    served.wait_status(lambda status: "ganesha" in status.serving, 30, since)
    found = checksums_on_server(served, export_of(SMALL, hardware), "data")
    with served.machine(hardware) as on:
        machine = NfsMachine(on)
        machine.booted(BOOT)
        known = machine.run("cut -d ' ' -f 1 /known")
        assert found["/data/written"] == known == machine.run("sum /data/written")


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_five_machines_write_on_whatever_is_killed(served: Lab) -> None:
    ordered = [direct(SMALL, version) for version in VERSIONS]
    exports = [export_of(SMALL, hardware) for hardware in ordered]
    with ExitStack() as off:
        machines = [NfsMachine(off.enter_context(served.machine(each))) for each in ordered]
        assert tuple(each.booted(BOOT).version for each in machines) == VERSIONS
        for machine in machines:
            machine.run("acknowledge /blocks")
            machine.machine.expect("ACK /blocks/5 ", GRACE)
        for what in KILLS:
            kill = Kill(served, what)
            gaps = [goes_on(machine, kill.at) for machine in machines]
            said = ", ".join(f"{gap:.1f}" for gap in gaps)
            print(f"{what}: {said} s between two blocks, by {', '.join(VERSIONS)}")
            served.wait_ready(GRACE, since=kill.at)
        for machine in machines:
            machine.run("stop", GRACE)
        acknowledged = [machine.acknowledged() for machine in machines]
        print(f"acknowledged: {[len(each) for each in acknowledged]} blocks")
        for export, files in zip(exports, acknowledged, strict=True):
            assert_kept(files, checksums_on_server(served, export, "blocks"))
        for machine in machines:
            assert machine.run(LOSSES) == "0"
            machine.begin("again")
            machine.machine.wait_off(GRACE)
    for hardware, files in zip(ordered, acknowledged, strict=True):
        with served.machine(by_pxe(hardware)) as on:
            machine = NfsMachine(on)
            machine.booted(BOOT)
            assert_kept(files, checksums_on(machine, "/blocks"))


@pytest.mark.long
def test_a_full_store_stops_writes_alone_and_they_go_on_when_there_is_room(
    lab: Lab, test_kernel: Path
) -> None:
    lab.up(SETTINGS | {"BOOTDROP_NFS_STORE_SIZE": "128"})  # MiB, half of it for layers
    put_kernel(lab, test_kernel)
    add_roots(lab, [SMALL, TOGETHER])
    lab.wait_status(lambda status: "ganesha" in status.serving, 60)
    ordered = [direct(SMALL, "3"), direct(SMALL, "4.2")]
    with ExitStack() as off:
        machines = [NfsMachine(off.enter_context(lab.machine(each))) for each in ordered]
        # One alone fills the store in less than half a minute: not before the other is there.
        for machine in machines:
            machine.booted(BOOT)
        for machine in machines:
            machine.run("acknowledge /blocks")
            machine.machine.expect("ACK /blocks/5 ", GRACE)
        (greedy, _) = machines
        status, said = greedy.attempt("dd if=/dev/zero of=/big bs=1M conv=fsync", GRACE)
        assert status == 1 and "No space left on device" in said
        for machine in machines:
            status, said = machine.attempt("dd if=/dev/zero of=/more bs=1M count=1 conv=fsync")
            assert status == 1 and "No space left on device" in said
            machine.run(f"[ \"$(cat /content)\" = '{SMALL.content}' ]")
        greedy.run("rm /big")
        for machine in machines:
            goes_on(machine, time.time())
            machine.run("stop")
        for machine, hardware in zip(machines, ordered, strict=True):
            assert_kept(machine.acknowledged(), checksums_on(machine, "/blocks"))
            export = export_of(SMALL, hardware)
            assert_kept(machine.acknowledged(), checksums_on_server(lab, export, "blocks"))
