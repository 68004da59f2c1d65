"""Trees from real RPMs, by each package manager, in the real container."""

from __future__ import annotations

import json
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builder.builder import Builder, busybox, dnf, recipe, xattr

pytestmark = pytest.mark.lab


@pytest.fixture(scope="module")
def builder() -> Iterator[Builder]:
    with Builder(f"{os.getpid()}-roots") as builder:
        builder.up()
        yield builder


@pytest.mark.parametrize("source", ["dnf", "zypper"])
def test_a_tree_is_made_of_real_rpms(builder: Builder, source: str) -> None:
    name = f"by {source}"
    told = builder.build(name, recipe(source, "testinit", "scripted", "coreutils"))
    assert (told["state"], told["error"]) == ("done", ""), builder.log(name)
    tree = builder.tree(name)
    assert (tree / "usr/bin/bash").stat().st_size > 1_000_000
    assert (tree / "etc/scripted").read_text() == "yes\n"  # %post had /proc, /sys and /dev
    assert stat.S_ISCHR((tree / "dev/console").stat().st_mode)
    assert not list((tree / "proc").iterdir())


def test_modes_links_and_capabilities_are_kept(builder: Builder) -> None:
    if not (builder.roots / "by dnf" / "current").exists():
        builder.build("by dnf", dnf("testinit", "scripted"))
    tree = builder.tree("by dnf")
    one, two = tree / "usr/bin/capable", tree / "usr/bin/capable-too"
    assert one.stat().st_ino == two.stat().st_ino
    assert xattr(one, "security.capability")
    assert (tree / "tmp").stat().st_mode & 0o7777 == 0o1777
    assert (tree / "root").stat().st_mode & 0o7777 == 0o700
    assert (tree / "bin").readlink() == Path("usr/bin")


def test_the_package_manager_leaves_nothing_but_packages(builder: Builder) -> None:
    for source in ("dnf", "zypper"):
        name = f"by {source}"
        if not (builder.roots / name / "current").exists():
            builder.build(name, recipe(source, "testinit", "scripted"))
        tree = builder.tree(name)
        database = "var/lib/rpm" if source == "dnf" else "usr/lib/sysimage/rpm"
        assert sorted(one.name for one in (tree / database).iterdir()) == [
            ".rpm.lock",
            "rpmdb.sqlite",
        ]
        assert not list((tree / "var/log").iterdir()) and not list((tree / "run").iterdir())
        assert not (tree / "cache").exists()


def test_the_manifest_says_what_was_asked_for_and_what_came(builder: Builder) -> None:
    told = builder.build("manifest", dnf("bash", more="title: A bash\nformats: [nfs, cpio]"))
    root = json.loads((builder.roots / "manifest" / "current" / "root.json").read_text())
    assert (root["name"], root["title"], root["from"]) == ("manifest", "A bash", "dnf")
    assert root["id"] == told["id"] and root["recipe"]["packages"] == ["bash"]
    bash = next(package for package in root["packages"] if package["name"] == "bash")
    assert bash["arch"] == "x86_64" and bash["licence"]
    assert sorted(root["formats"]) == ["cpio", "nfs"]
    assert {"download", "install", "verify"} <= set(root["seconds"])


def test_a_second_build_downloads_no_package(builder: Builder) -> None:
    builder.build("twice", dnf("bash"))
    asked = builder.container("repository").logs().count(b".rpm HTTP")
    assert asked
    after = builder.status("twice")["started"]
    builder.ask("twice")
    assert builder.ended("twice", after=after)["state"] == "done"
    assert builder.container("repository").logs().count(b".rpm HTTP") == asked


def test_a_recipe_changes_the_tree_as_it_says(builder: Builder) -> None:
    more = """
hostname: lab-7
root_password: $6$saltsalt$0123456789abcdef
ssh_keys: [ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAA somebody@somewhere]
serial_login: ttyS0
files: {/etc/motd: "Welcome.\\n", /usr/local/bin/hello: "#!/bin/sh\\necho hello\\n"}
run:
  - hello > /etc/said
  - test "$(id -u)" = 0 && test ! -e /srv
"""
    told = builder.build("changed", busybox(more.replace("/usr/local/bin", "/usr/bin")))
    assert told["state"] == "done", told["error"]
    tree = builder.tree("changed")
    assert (tree / "etc/hostname").read_text() == "lab-7\n"
    assert (tree / "etc/motd").read_text() == "Welcome.\n"
    assert (tree / "etc/said").read_text() == "hello\n"
    assert "root:$6$saltsalt$0123456789abcdef:" in (tree / "etc/shadow").read_text()
    assert (tree / "root/.ssh/authorized_keys").stat().st_mode & 0o7777 == 0o600
    assert "ttyS0::respawn:" in (tree / "etc/inittab").read_text()


def test_versions_are_kept_while_machines_run_from_them(builder: Builder) -> None:
    ids = []
    for number in range(4):
        more = f"keep: 1\nformats: [nfs]\nhostname: host-{number}"
        ids.append(builder.build("kept", busybox(more))["id"])
        if number == 0:
            used = {"roots": {"kept": ids}}
            aside = builder.volume / "requests" / ".in-use"
            aside.write_text(json.dumps(used))
            aside.rename(builder.volume / "requests" / "in-use.json")
    there = {one.name for one in (builder.roots / "kept").iterdir() if len(one.name) == 16}
    assert there == {ids[0], ids[2], ids[3]}
    assert (builder.roots / "kept" / "current").readlink() == Path(ids[3])


def test_a_kernels_modules_become_a_layer_and_a_variant(
    builder: Builder, test_kernel_dir: Path
) -> None:
    told = builder.build("with modules", busybox("formats: [ext2]"))
    archive = next(test_kernel_dir.glob("modules-*.tar*"), None)
    assert archive, f"{test_kernel_dir}: no modules-*.tar"
    folder = builder.roots / "with modules"
    before = folder / f"{told['id']}.modules"
    (builder.volume / "kernels" / archive.name).write_bytes(archive.read_bytes())
    builder.ask("with modules")
    builder.ended("with modules", after=told["started"])
    builder.build("after", busybox("formats: [nfs]"))  # the queue was empty before it
    assert [one.name for one in before.glob("*.ext2.gz")]
    assert builder.status("with modules")["id"] == told["id"]
