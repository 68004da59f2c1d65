"""All of the appliance with the kernel's NFS server: a machine's clone outlives what serves it."""

from __future__ import annotations

import time

import pytest

from tests.lab.nfs_root import NfsMachine
from tests.nfsd.machines import Machines
from tests.nfsd.server import ADDRESS, ROOT, Server

pytestmark = [pytest.mark.lab, pytest.mark.nfsd, pytest.mark.timeout(900)]


def test_a_clone_is_served_by_the_kernel_over_a_stop_and_a_sigkill(
    server: Server, machines: Machines
) -> None:
    server.start_appliance()
    server.mount_control()
    machine = NfsMachine(machines.start("ip=dhcp"))
    booted = machine.booted(90)
    assert booted.source.startswith(f"{ADDRESS}:/{ROOT.name}/{ROOT.id}/")
    assert booted.content == ROOT.content
    checksum = machine.run("fill /written 1")
    for end in (server.stop, server.kill):
        machine.run("acknowledge /blocks")
        machine.machine.expect(r"ACK /blocks/3 ", 60)
        end()
        began = time.monotonic()
        said = server.start_appliance()
        killed = end == server.kill
        assert killed == ("threads of nfsd that a killed container of ours left are ended" in said)
        count = len(machine.acknowledged())
        machine.machine.expect(rf"ACK /blocks/{count + 3} ", 90)
        print(f"after a {'SIGKILL' if killed else 'stop'}: {time.monotonic() - began:.0f} s")
        machine.run("stop")
        for file, known in machine.acknowledged().items():
            assert machine.run(f"sum {file}") == known
        machine.run("rm -r /blocks")
    assert machine.run("sum /written") == checksum
    server.stop()
    assert server.threads() == 0
    assert server.do("losetup --list --noheadings") == ""
    assert server.do("ls /var/lib/bootdrop/nfs").split() == ["export-numbers.json", "nfsdcld"]
