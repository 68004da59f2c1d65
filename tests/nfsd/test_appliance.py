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


def test_a_host_that_serves_nfs_is_left_alone_until_it_does_no_more(
    server: Server, machines: Machines
) -> None:
    server.do("mkdir /srv/own")
    with server.host_serves("/srv/own", "3"):
        notes = server.do("cat /var/lib/nfs/etab")
        why = "the host serves NFS itself (3 threads of the kernel's nfsd); ours stays off"
        assert f"roots over NFS are served by nothing: {why}\n" in server.start_appliance()
        assert why in server.inside("bootdrop status")
        assert [server.serves("/srv/own", version) for version in (3, 4)] == [True, True]
        assert server.threads() == 3
        server.host_ends()
        server.until_log_has("roots over NFS are served by the kernel.s nfsd", 60)
        booted = NfsMachine(machines.start("ip=dhcp")).booted(90)
        assert booted.source.startswith(f"{ADDRESS}:/{ROOT.name}/{ROOT.id}/")
        server.stop()
        assert server.threads() == 0
        assert server.do("cat /var/lib/nfs/etab") == notes
