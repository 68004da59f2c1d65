"""The kernel's NFS server in earnest: a virtual server with Debian's kernel, machines on it."""

from __future__ import annotations

import pytest

from tests.lab.machine import Machine
from tests.nfsd.machines import Machines, Version, goes_on, has
from tests.nfsd.server import ADDRESS, Server

pytestmark = [pytest.mark.lab, pytest.mark.nfsd]

ONE = "/fedora/aabbccddeeff0011/52-54-00-00-00-01"
TWO = "/fedora/aabbccddeeff0011/52-54-00-00-00-02"
NFSD = "etc/nfs/nfsd[.]sh"  # the brackets keep pgrep from finding the shell that calls it
PROCESSES = (NFSD, "rpc[.]mountd -F", "nfsdcld[ ]-F")
HOSTS = "the host serves NFS itself ({} threads of the kernel's nfsd); ours stays off\n"
UNREGISTERED = "-N 2 -N 3"  # rpc.mountd's arguments where the host serves NFSv4 alone
VERSIONS: tuple[Version, ...] = ("3", "4.2")


def serve(server: Server, *paths: str) -> str:
    server.do(f"printf '%s\\n' {' '.join(paths)} >/srv/boot/layers")
    return server.start()


def on_disk(server: Server, path: str) -> set[int]:
    """Return the lines that lie in a layer's log, as the file system below it has them."""
    return set(map(int, server.do(f"cat /srv/boot/machines{path}/upper/log").split()))


def held(server: Server) -> set[str]:
    """Return what kinds of state NFSv4 machines hold: open, lock."""
    states = server.inside("sh -c 'cat /proc/fs/nfsd/clients/*/states || :'")
    return {kind for kind in ("open", "lock") if f"type: {kind}" in states}


def two_that_write(machines: Machines) -> tuple[Machine, Machine]:
    by_v3 = machines.boot(ONE, "3", "job=write")
    by_v4 = machines.boot(TWO, "4.2", "job=write")
    for machine in (by_v3, by_v4):
        machine.expect("machine: locked", 60)
        machine.expect(r"machine: has 3\n", 90)
    return by_v3, by_v4


def test_machines_boot_by_nfs_3_and_4_2_and_write(server: Server, machines: Machines) -> None:
    said = serve(server, ONE)
    assert "choice: kernel: the kernel has nfsd, and nobody else uses it\n" in said
    for version in VERSIONS:
        machine = machines.boot(ONE, version, f"job=once word=by-{version}")
        machine.expect(rf" / nfs4? .*vers={version}", 60)
        machine.expect(rf"machine: wrote by-{version}", 30)
        assert server.do(f"cat /srv/boot/machines{ONE}/upper/written") == f"by-{version}"
    # Nobody else has nfsd's control files mounted: the threads end with them (fs/nfsd/nfsctl.c,
    # nfsd_umount).
    server.kill()
    assert server.threads() == 0


def test_a_stop_takes_its_own_and_nothing_of_the_host(server: Server) -> None:
    server.do("exportfs -o ro,fsid=7 192.168.10.0/24:/srv")
    host = server.do("cat /var/lib/nfs/etab")
    serve(server, ONE)
    assert server.threads() == 8
    server.stop()
    assert server.threads() == 0
    assert server.do("ss -Hlnt sport = :2049") == ""
    assert server.do("rpcinfo -p | grep -cE '100003|100005' || :") == "0"
    assert ONE not in server.do("cat /proc/net/rpc/nfsd.export/content")
    assert server.do("ls /var/lib/bootdrop/nfs") == "nfsdcld"
    assert server.do("cat /var/lib/nfs/etab") == host
    server.do("exportfs -u 192.168.10.0/24:/srv")


def test_exports_come_and_go_beside_a_machine_that_writes(
    server: Server, machines: Machines
) -> None:
    serve(server, ONE)
    machine = machines.boot(ONE, "4.2", "job=write")
    machine.expect(r"machine: has 3\n", 90)
    nfsd = server.do(f"pgrep -f '{NFSD}'")
    assert [server.serves(TWO, version) for version in (3, 4)] == [False, False]
    server.export(ONE, TWO)
    assert [server.serves(TWO, version) for version in (3, 4)] == [True, True]
    server.export(ONE)
    assert [server.serves(TWO, version) for version in (3, 4)] == [False, False]
    assert server.do(f"pgrep -f '{NFSD}'") == nfsd
    goes_on(machine, has(machine))


def test_machines_that_write_go_on_after_a_restart(server: Server, machines: Machines) -> None:
    serve(server, ONE, TWO)
    writers = two_that_write(machines)
    server.stop()
    known = [has(machine) for machine in writers]
    assert "leftovers: False\n" in server.start()
    for machine, number in zip(writers, known, strict=True):
        goes_on(machine, number)
    for path, number in zip((ONE, TWO), known, strict=True):
        assert on_disk(server, path) >= set(range(1, number + 1))
    assert "starting 15-second grace period" in server.do("dmesg")  # the v4 machine was on record
    assert held(server) == {"open", "lock"}


def test_machines_that_write_go_on_after_a_sigkill(server: Server, machines: Machines) -> None:
    serve(server, ONE, TWO)
    server.mount_control()
    writers = two_that_write(machines)
    server.kill()
    assert server.threads() == 8  # the kernel's, and they hold the layers
    known = [has(machine) for machine in writers]
    said = server.start()
    assert "leftovers: True\n" in said
    assert "choice: kernel" in said
    for machine in writers:
        goes_on(machine, has(machine))
    assert held(server) == {"open", "lock"}
    for path, number in zip((ONE, TWO), known, strict=True):
        assert on_disk(server, path) >= set(range(1, number + 1))


def test_each_process_that_is_killed_is_back_beside_machines_that_write(
    server: Server, machines: Machines
) -> None:
    serve(server, ONE, TWO)
    writers = two_that_write(machines)
    for process in PROCESSES:
        before = server.do(f"pgrep -f '{process}'")
        server.do(f"kill -KILL {before}")
        server.do(
            f"until now=$(pgrep -f '{process}') && [ \"$now\" != {before} ]; do sleep 0.1; done"
        )
        for machine in writers:
            goes_on(machine, has(machine))
    assert server.threads() == 8
    assert held(server) == {"open", "lock"}


def test_a_host_that_serves_nfs_keeps_its_server(server: Server) -> None:
    with server.host_serves("/srv", "3"):
        said = serve(server, ONE)
        assert f"choice: None: {HOSTS.format(3)}" in said
        assert server.serves("/srv", 3)
        server.stop()
        assert server.threads() == 3
        assert server.serves("/srv", 3)


@pytest.mark.parametrize("mountd", ["", UNREGISTERED])
def test_threads_of_ours_that_the_host_took_over_stay(server: Server, mountd: str) -> None:
    serve(server, ONE)
    server.mount_control()
    server.kill()
    with server.host_serves("/srv", "3", mountd):
        said = serve(server, ONE)
        assert "leftovers: False\n" in said
        assert f"choice: None: {HOSTS.format(3)}" in said
        assert server.threads() == 3
        assert server.serves("/srv", 4)


def test_a_server_that_the_host_started_after_a_sigkill_of_ours_stays(server: Server) -> None:
    """It has our address and as many threads, and its mountd is not registered."""
    serve(server, ONE)
    server.kill()
    assert server.threads() == 0
    with server.host_serves("/srv", f"-N 3 --host {ADDRESS} 8", UNREGISTERED):
        said = serve(server, ONE)
        assert "leftovers: False\n" in said
        assert f"choice: None: {HOSTS.format(8)}" in said
        assert server.threads() == 8
        assert server.serves("/srv", 4)
