"""A root gets a new version, or modules, or goes, while machines run; outsiders are refused."""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from pathlib import Path

import pytest

from tests.boot.archives import cpio
from tests.boot.nfs import (
    BOOT,
    hardware,
    holder,
    machines,
    offer,
    source,
    wait_offered,
)
from tests.lab.lab import Lab
from tests.lab.nfs_root import NfsMachine, NfsRoot, add_roots, remove_roots
from tests.lab.project import SERVER

pytestmark = pytest.mark.lab

ONE, OTHER = hardware(1), hardware(2)


def test_a_new_version_is_for_the_next_boot_and_hosts_of_other_networks_are_refused(
    nfs_lab: Lab, test_kernel: Path
) -> None:
    root = NfsRoot("rebuilt", share="clone")
    newer = NfsRoot("rebuilt", id="00112233445566bb", content="the second version")
    offer(nfs_lab, test_kernel, root)
    with machines(nfs_lab, [ONE]) as (old,):
        assert old.booted(BOOT).content == root.content
        add_roots(nfs_lab, [newer])
        wait_offered(nfs_lab, newer)
        old.run("write /after 'still here'; sum /bin/busybox >/run/sum")
        with machines(nfs_lab, [OTHER]) as (new,):
            assert new.booted(BOOT).content == newer.content
            assert new.run("echo /after*") == "/after*"
        assert old.run("cat /content /after; echo 3 >/proc/sys/vm/drop_caches; cat /content") == (
            f"{root.content}\nstill here\n{root.content}"
        )
        assert_refused_from_outside(nfs_lab, old, source(root, holder(ONE)))


def test_a_kernels_modules_are_in_the_layer_of_the_machine_that_boots_it_alone(
    nfs_lab: Lab, test_kernel: Path
) -> None:
    root, version = NfsRoot("with-modules", share="clone"), test_kernel.name.partition("-")[2]
    file = f"/lib/modules/{version}/kernel/some.ko"
    offer(nfs_lab, test_kernel, root)
    with machines(nfs_lab, [ONE]) as (runs,):
        runs.booted(BOOT)
        assert runs.attempt(f"cat {file}")[0] == 1
        logged = len(nfs_lab.feed.log)
        leave_modules(nfs_lab, version, {file.lstrip("/"): "a module\n"})
        nfs_lab.feed.wait_line(rf"it has the modules of {version} now", 60, logged)
        with machines(nfs_lab, [OTHER]) as (boots,):
            boots.booted(BOOT)
            assert boots.run(f"cat {file}") == "a module"
        # By now it has asked the server again: what is not there it remembers for a minute.
        assert runs.run(f"echo 3 >/proc/sys/vm/drop_caches; cat {file}") == "a module"
    tree = nfs_lab.boot / "roots" / root.name / root.id / "tree"
    assert not (tree / file.lstrip("/")).exists()


def leave_modules(lab: Lab, version: str, files: Mapping[str, str]) -> None:
    """Leave a kernel's modules as the builder does."""
    folder = lab.boot / "roots" / ".modules" / ".new"
    folder.mkdir(parents=True)
    (folder / "modules.cpio.gz").write_bytes(gzip.compress(cpio(files)))
    (folder / "manifest.json").write_text(json.dumps({"version": version}))
    folder.rename(folder.with_name("1111222233334444"))


def assert_refused_from_outside(lab: Lab, machine: NfsMachine, export: str) -> None:
    """See that a machine may mount an export, and may not once it asks from another network."""
    lab.network.exec_run(["ip", "route", "add", "10.0.0.0/24", "dev", "br0"])
    machine.run("mkdir /mnt/other; ip address add 10.0.0.9/24 dev eth0")
    mounts = [
        f"mount -i -t nfs -o addr={SERVER},{options} {export} /mnt/other"
        for options in ("vers=3,nolock,proto=tcp,mountproto=tcp", "vers=4.1,proto=tcp")
    ]
    for mount in mounts:
        assert machine.attempt(f"{mount} && cat /mnt/other/content && umount /mnt/other")[0] == 0
    machine.run(f"ip route add {SERVER} dev eth0 src 10.0.0.9")
    for mount in mounts:
        assert machine.attempt(mount)[0] != 0
    machine.run("cat /content")  # its own connection is another one


def test_a_root_that_goes_takes_nothing_from_machines_that_run(
    nfs_lab: Lab, test_kernel: Path
) -> None:
    lab, root, other = nfs_lab, NfsRoot("going"), NfsRoot("staying", share="rw")
    offer(lab, test_kernel, root)
    with machines(lab, [hardware(1)]) as (machine,):
        machine.booted(BOOT)
        # The builder takes the link first, and the version when nobody refers to it.
        (lab.boot / "roots" / root.name / "current").unlink()
        add_roots(lab, [other])
        wait_offered(lab, other)
        machine.run("write /mark 'goes on'; sum /bin/flock && is_free /lock")
        with machines(lab, [hardware(2)]) as (next_one,):
            next_one.booted(BOOT)
            # Whoever removes the tree as well takes it from those who use it, from nobody else.
            remove_roots(lab, root.name)
            next_one.run("write /mark 'goes on'; sum /bin/flock && is_free /lock")
        lab.wait_ready()
