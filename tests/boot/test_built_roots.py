"""From a recipe to a machine that booted: trees of real packages, in both forms of a ramdisk."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.builder.builder import Builder, recipe
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

BOOT = 90  # seconds

DEBIAN = """from: debootstrap
release: trixie
packages: busybox-static kmod
hostname: by-debootstrap
headroom_mib: 8
run:
  - |
    cat > /sbin/init <<'INIT'
    #!/bin/bash
    mountpoint -q /proc || mount -t proc proc /proc
    mountpoint -q /dev || mount -t devtmpfs devtmpfs /dev
    exec > /dev/console 2>&1
    echo "TESTINIT: $(cat /etc/hostname) as process $$ under $(uname -r)"
    modprobe dummy && echo "TESTINIT: module $(grep -c ^dummy /proc/modules)"
    exec bash
    INIT
    chmod 755 /sbin/init
"""


@dataclass(frozen=True)
class Booted:
    """What a boot is made from."""

    builder: Builder
    kernel: Path


@pytest.fixture(scope="module")
def builder(test_kernel_dir: Path) -> Iterator[Builder]:
    with Builder(f"{os.getpid()}-boots") as builder:
        modules = max(test_kernel_dir.glob("modules-*-labtest.tar.zst"))
        (builder.volume / "kernels" / modules.name).write_bytes(modules.read_bytes())
        builder.up()
        yield builder


@pytest.fixture
def booted(builder: Builder, test_kernel: Path) -> Booted:
    return Booted(builder, test_kernel)


def built(builder: Builder, source: str) -> Path:
    """Return the folder of a root's current version; it is built at the first call."""
    name = f"by-{source}"
    root = builder.roots / name
    if not (root / "current").exists():
        wanted = DEBIAN if source == "debootstrap" else recipe(source, "testinit", "coreutils")
        if source == "debootstrap":
            builder.reach_archive()
        told = builder.build(name, wanted, seconds=240)
        assert told["state"] == "done", builder.log(name)
    return (root / "current").resolve()


def lay(booted: Booted, lab: Lab, source: str, kind: str) -> None:
    """Put what was built into the appliance's volume, but for the tree, which no ramdisk needs."""
    builder, name = booted.builder, f"by-{source}"
    version = built(builder, source)
    if kind == "ext2":
        builder.appeared(version.with_name(f"{version.name}.modules"), "*.ext2.gz")
    else:
        builder.appeared(builder.roots / ".modules", "*/modules.cpio.gz")
    for each in (name, ".modules"):
        shutil.copytree(
            builder.roots / each,
            lab.boot / "roots" / each,
            symlinks=True,
            ignore=shutil.ignore_patterns("tree"),
        )


@pytest.fixture
def roots(empty_lab: Lab) -> Iterator[None]:
    """The folder of the root builder in the appliance's volume, empty afterwards."""
    yield
    for each in (empty_lab.boot / "roots").iterdir():
        shutil.rmtree(each)


@pytest.mark.parametrize("kind", ["cpio", "ext2"])
@pytest.mark.parametrize("source", ["dnf", "zypper", "debootstrap"])
def test_a_root_boots_to_its_own_init_with_its_kernels_module(
    empty_lab: Lab, roots: None, booted: Booted, source: str, kind: str
) -> None:
    lay(booted, empty_lab, source, kind)
    empty_lab.drop(booted.kernel, "bzImage")
    restarted = time.time()
    empty_lab.restart({"BOOTDROP_DEFAULT_ROOT": f"by-{source}", "BOOTDROP_RAMDISK": kind})
    version = booted.kernel.name.removeprefix("bzImage-")
    script = empty_lab.boot / "published" / "boot.ipxe"
    empty_lab.wait_status(
        lambda status: (
            status.default == f"bzImage ({version}), by-{source}"
            and ("root=/dev/ram0" in script.read_text()) == (kind == "ext2")
        ),
        30,
        restarted,
    )
    empty_lab.wait_ready(30, restarted)
    with empty_lab.machine("bios") as machine:
        machine.expect(rf"TESTINIT: by-{source} as process 1 under 6\.", BOOT)
        machine.expect(r"TESTINIT: module 1", BOOT)
