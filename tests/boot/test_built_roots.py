"""From a recipe to a machine that booted: trees of real packages, in both forms of a ramdisk.

The initrd lies beside its kernel here, so that the menu has nothing else to offer.
"""

from __future__ import annotations

import os
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
    """What a boot is made from, and a folder for it."""

    builder: Builder
    kernel: Path
    folder: Path


@pytest.fixture(scope="module")
def builder(test_kernel_dir: Path) -> Iterator[Builder]:
    with Builder(f"{os.getpid()}-boots") as builder:
        modules = max(test_kernel_dir.glob("modules-*-labtest.tar.zst"))
        (builder.volume / "kernels" / modules.name).write_bytes(modules.read_bytes())
        builder.up()
        yield builder


@pytest.fixture
def booted(builder: Builder, test_kernel: Path, tmp_path: Path) -> Booted:
    return Booted(builder, test_kernel, tmp_path)


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


def initrd(booted: Booted, source: str, kind: str) -> Path:
    """Return a root's ramdisk with the kernel's modules, as the menu would put it together."""
    builder = booted.builder
    version = built(builder, source)
    made = booted.folder / "initrd"
    if kind == "ext2":
        layers = version.with_name(f"{version.name}.modules")
        made.write_bytes(builder.appeared(layers, "*.ext2.gz").read_bytes())
    else:
        layer = builder.appeared(builder.roots / ".modules", "*/modules.cpio.gz")
        made.write_bytes((version / "ramdisk.cpio.zst").read_bytes() + layer.read_bytes())
    return made


@pytest.mark.parametrize("kind", ["cpio", "ext2"])
@pytest.mark.parametrize("source", ["dnf", "zypper", "debootstrap"])
def test_a_root_boots_to_its_own_init_with_its_kernels_module(
    empty_lab: Lab, booted: Booted, source: str, kind: str
) -> None:
    empty_lab.drop(initrd(booted, source, kind), "bzImage.initrd")
    empty_lab.drop(booted.kernel, "bzImage")
    empty_lab.wait_status(lambda status: status.kernels == ("bzImage",) and not status.pending, 30)
    with empty_lab.machine("bios") as machine:
        machine.expect(rf"TESTINIT: by-{source} as process 1 under 6\.", BOOT)
        machine.expect(r"TESTINIT: module 1", BOOT)
