"""What is put into layers, some of which a machine's root has prepared for us."""

from __future__ import annotations

import asyncio
import os
import stat
import subprocess
import time
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.layers.clone import Clone, furnish_clone, hosts_with, machine_id, put_overlay_init

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="what is in a layer is root's")

MAC = "52:54:00:12:34:56"


@pytest.fixture
def clone(tmp_path: Path) -> Clone:
    layer = tmp_path / "layer"
    (layer / "etc").mkdir(parents=True)
    return Clone(layer, "debian", MAC, "node7.lab")


def furnished(clone: Clone, scratch: Path = Path("/run")) -> tuple[str, ...]:
    return asyncio.run(furnish_clone(clone, scratch))


def modes(folder: Path) -> dict[str, str]:
    return {one.name: oct(one.lstat().st_mode) for one in sorted(folder.iterdir())}


def fingerprint(key: Path) -> str:
    argv = ["ssh-keygen", "-l", "-f", str(key)]
    return subprocess.run(argv, check=True, capture_output=True, text=True).stdout


def test_a_clone_gets_a_name_and_a_machine_id_of_its_own(clone: Clone) -> None:
    (clone.layer / "etc/hosts").write_text("127.0.0.1\tlocalhost\n127.0.1.1\told\n10.0.0.1 gate\n")
    (clone.layer / "var/lib/dbus").mkdir(parents=True)
    (clone.layer / "var/lib/dbus/machine-id").write_text("the tree's\n")
    before = os.umask(0o077)
    try:
        assert furnished(clone) == ()
    finally:
        os.umask(before)
    etc = clone.layer / "etc"
    assert (etc / "hostname").read_text() == "node7.lab\n"
    assert (etc / "hosts").read_text() == (
        "127.0.0.1\tlocalhost\n10.0.0.1 gate\n127.0.1.1\tnode7.lab node7\n"
    )
    assert (etc / "machine-id").read_text() == f"{machine_id('debian', MAC)}\n"
    assert (clone.layer / "var/lib/dbus/machine-id").read_text() == (
        f"{machine_id('debian', MAC)}\n"
    )
    assert modes(etc) == {"hostname": "0o100644", "hosts": "0o100644", "machine-id": "0o100444"}


def test_what_a_clone_gets_is_on_the_disk_whole_before_it_has_its_name(
    clone: Clone, monkeypatch: pytest.MonkeyPatch
) -> None:
    (clone.layer / "etc/ssh").mkdir()
    (clone.layer / "etc/ssh/sshd_config").touch()
    synced: dict[int, int] = {}  # by inode, its size then

    def fsync(fd: int) -> None:
        seen = os.fstat(fd)
        synced[seen.st_ino] = seen.st_size

    monkeypatch.setattr(os, "fsync", fsync)
    assert furnished(clone) == ()
    files = [each for each in (clone.layer / "etc").rglob("*") if each.is_file()]
    put = {each.lstat().st_ino: each.lstat().st_size for each in files if each.stat().st_size}
    assert len(put) == 7
    assert synced == put


def test_a_machine_id_is_of_a_machine_and_a_root_and_stays() -> None:
    assert machine_id("debian", MAC) == "a83b9cb5183743c58f44f2296ffffc43"
    assert machine_id("debian", MAC.upper()) == machine_id("debian", MAC)
    ids = {machine_id(root, mac) for root in ("a", "b") for mac in (MAC, "52:54:00:12:34:57")}
    assert len(ids) == 4


def test_a_name_without_a_domain_is_there_once() -> None:
    assert hosts_with("", "n1") == "127.0.1.1\tn1\n"


def test_without_a_name_the_roots_own_stays(clone: Clone) -> None:
    (clone.layer / "etc/hostname").write_text("of the recipe\n")
    assert furnished(replace(clone, hostname="")) == ()
    assert (clone.layer / "etc/hostname").read_text() == "of the recipe\n"


@pytest.mark.parametrize("name", ["a b", "a\nb", "../x", "-a", "a" * 65])
def test_a_name_that_is_none_is_refused(clone: Clone, name: str) -> None:
    with pytest.raises(ValueError, match="no host name"):
        replace(clone, hostname=name)


def test_where_there_is_sshd_the_host_keys_are_new_and_the_trees_own_are_gone(
    clone: Clone, tmp_path: Path
) -> None:
    ssh, scratch = clone.layer / "etc/ssh", tmp_path / "scratch"
    ssh.mkdir()
    scratch.mkdir()
    for name in ("sshd_config", "ssh_host_rsa_key", "ssh_host_rsa_key.pub", "ssh_host_ecdsa_key"):
        (ssh / name).write_text("everybody's")
    began = time.monotonic()
    assert furnished(clone, scratch) == ()
    assert time.monotonic() - began < 1
    assert modes(ssh) == {
        "ssh_host_ecdsa_key": "0o100600",
        "ssh_host_ecdsa_key.pub": "0o100644",
        "ssh_host_ed25519_key": "0o100600",
        "ssh_host_ed25519_key.pub": "0o100644",
        "sshd_config": "0o100644",
    }
    for kind in ("ecdsa", "ed25519"):
        key = ssh / f"ssh_host_{kind}_key"
        assert fingerprint(key) == fingerprint(key.with_name(f"{key.name}.pub"))
        assert f"root@node7.lab ({kind.upper()})" in fingerprint(key)
    assert list(scratch.iterdir()) == []


def test_without_sshd_there_are_no_host_keys(clone: Clone) -> None:
    assert furnished(clone) == ()
    assert not (clone.layer / "etc/ssh").exists()


@pytest.mark.parametrize("what", ["link", "file", "nothing"])
def test_a_tree_without_a_folder_etc_is_told_and_left_alone(
    clone: Clone, tmp_path: Path, what: str
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    etc = clone.layer / "etc"
    etc.rmdir()
    if what == "link":
        etc.symlink_to(elsewhere)
    elif what == "file":
        etc.write_text("")
    assert furnished(clone) == (
        f"{clone.layer}: /etc is no folder: no name, machine-id and ssh keys of its own",
    )
    assert list(elsewhere.iterdir()) == []


def test_links_fifos_and_devices_of_a_machine_are_replaced_and_never_opened(
    clone: Clone, tmp_path: Path
) -> None:
    theirs = tmp_path / "of the host"
    theirs.write_text("the host's")
    etc = clone.layer / "etc"
    (etc / "hostname").symlink_to(theirs)
    (etc / "ssh").mkdir()
    (etc / "ssh/sshd_config").symlink_to("/nowhere")
    (etc / "ssh/ssh_host_ed25519_key").symlink_to(theirs)
    os.mkfifo(etc / "hosts")
    os.mkfifo(etc / "ssh/ssh_host_rsa_key")
    os.mknod(etc / "machine-id", stat.S_IFCHR | 0o666, os.makedev(10, 130))  # a watchdog
    (clone.layer / "var/lib").mkdir(parents=True)
    (clone.layer / "var/lib/dbus").symlink_to(theirs.parent)
    assert furnished(clone) == ()
    assert theirs.read_text() == "the host's"
    assert modes(etc) == {
        "hostname": "0o100644",
        "hosts": "0o100644",
        "machine-id": "0o100444",
        "ssh": "0o40755",
    }
    assert (etc / "hosts").read_text().splitlines() == [
        "127.0.0.1\tlocalhost",
        "::1\tlocalhost ip6-localhost ip6-loopback",
        "127.0.1.1\tnode7.lab node7",
    ]
    assert sorted(modes(etc / "ssh")) == [
        "ssh_host_ecdsa_key",
        "ssh_host_ecdsa_key.pub",
        "ssh_host_ed25519_key",
        "ssh_host_ed25519_key.pub",
        "sshd_config",
    ]


def test_what_is_root_s_belongs_to_root_whatever_the_folder_gives(clone: Clone) -> None:
    os.chown(clone.layer / "etc", 1000, 1000)
    (clone.layer / "etc").chmod(0o2777)
    furnished(clone)
    owners = {(one.stat().st_uid, one.stat().st_gid) for one in (clone.layer / "etc").iterdir()}
    assert owners == {(0, 0)}


def test_a_folder_in_a_files_place_is_told_and_the_rest_is_put(clone: Clone) -> None:
    (clone.layer / "etc/hostname").mkdir()
    (clone.layer / "etc/ssh").symlink_to("/etc/ssh")
    (clone.layer / "usr/sbin").mkdir(parents=True)
    (clone.layer / "usr/sbin/sshd").write_text("")
    etc = clone.layer / "etc"
    assert furnished(clone) == (
        f"{etc}/hostname: Is a directory: left as it is",
        f"{etc}/ssh/ssh_host_ecdsa_key: Not a directory: left as it is",
    )
    assert (etc / "machine-id").exists()
    assert [one.name for one in etc.iterdir() if one.name.startswith(".")] == []


def brought(folder: Path) -> Path:
    """What the image has for an architecture."""
    folder.mkdir()
    for name in ("overlay-init", "busybox"):
        (folder / name).write_text(name)
    return folder


def test_overlay_init_is_there_once_with_a_place_for_the_memory(tmp_path: Path) -> None:
    layer, ours = tmp_path / "layer", brought(tmp_path / "x86_64")
    layer.mkdir()
    put_overlay_init(layer, ours)
    there = layer / ".bootdrop"
    assert modes(there) == {
        "busybox": "0o100755",
        "memory": "0o40755",
        "overlay-init": "0o100755",
    }
    inodes = {one.name: one.stat().st_ino for one in there.iterdir()}
    (ours / "overlay-init").write_text("a later one")
    put_overlay_init(layer, ours)
    assert (there / "overlay-init").read_text() == "a later one"
    assert {one.name for one in there.iterdir() if inodes[one.name] != one.stat().st_ino} == {
        "overlay-init"
    }


def test_a_link_in_the_place_of_our_folder_is_an_error(tmp_path: Path) -> None:
    layer = tmp_path / "layer"
    layer.mkdir()
    (layer / ".bootdrop").symlink_to(tmp_path)
    with pytest.raises(NotADirectoryError) as raised:
        put_overlay_init(layer, brought(tmp_path / "x86_64"))
    assert raised.value.filename == str(layer / ".bootdrop/memory")
