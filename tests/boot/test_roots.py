"""Machines boot roots: as initramfs and as the article's ramdisk, by BIOS and by UEFI.

The roots are those of the rescue shell, with another word before each line that they print.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from tests.boot.archives import cpio
from tests.lab.lab import Lab
from tests.lab.machine import Firmware

pytestmark = pytest.mark.lab

SETTINGS = {"BOOTDROP_MENU_TIMEOUT": "3"}
BOOT = 90  # seconds
DOWN, ENTER = "\x1b[B", "\r"
BIOS_AND_UEFI = pytest.mark.parametrize("firmware", ["bios", "uefi"])

SAYS, OTHER = b"BOOTDROP: ", b"MY ROOT : "  # of one length, so that no archive has to be made anew
LAYER = "1111222233334444"


@pytest.fixture
def roots(empty_lab: Lab) -> Iterator[Path]:
    """The folder of the root builder, empty before and after."""
    folder = empty_lab.boot / "roots"
    yield folder
    for each in folder.iterdir():
        shutil.rmtree(each)


def build(lab: Lab, name: str, root_id: str = "00112233445566aa") -> None:
    """Leave a root as the builder does."""
    (rescue,) = (lab.boot / "published/rescue/x86_64").iterdir()
    ext2 = gzip.decompress((rescue / "rescue.ext2.gz").read_bytes()).replace(SAYS, OTHER)
    archive = gzip.decompress((rescue / "rescue.cpio.gz").read_bytes()).replace(SAYS, OTHER)
    ramdisks = {
        "ext2": ("ramdisk.ext2.gz", gzip.compress(ext2), len(ext2), "gzip"),
        "cpio": ("ramdisk.cpio.zst", zstandard.compress(archive), len(archive), "zstd"),
    }
    root, folder = lab.boot / "roots" / name, lab.boot / "roots" / name / root_id
    folder.mkdir(parents=True)
    formats = {}
    for form, (file, data, length, compression) in ramdisks.items():
        (folder / file).write_bytes(data)
        formats[form] = {
            "file": file,
            "bytes": len(data),
            "sha256": hashlib.sha256(data).hexdigest(),
            "uncompressed_kib": -(-length // 1024),
            "compression": compression,
        }
    described = {"name": name, "id": root_id, "arch": "x86_64", "cmdline": "quick"}
    (folder / "root.json").write_text(json.dumps(described | {"formats": formats}))
    (root / ".current").symlink_to(root_id)
    os.rename(root / ".current", root / "current")


def add_layer(lab: Lab, version: str) -> None:
    """Leave a layer of modules as the builder does."""
    folder = lab.boot / "roots" / ".modules" / ".new"
    folder.mkdir(parents=True)
    (folder / "modules.cpio.gz").write_bytes(gzip.compress(cpio({"layered": "over the root\n"})))
    (folder / "manifest.json").write_text(json.dumps({"version": version}))
    os.rename(folder, folder.with_name(LAYER))


@BIOS_AND_UEFI
def test_a_kernel_boots_a_root_as_initramfs_with_its_modules_over_it(
    empty_lab: Lab, roots: Path, test_kernel: Path, firmware: Firmware
) -> None:
    version = test_kernel.name.removeprefix("bzImage-")
    add_layer(empty_lab, version)
    build(empty_lab, "my root")
    empty_lab.drop(test_kernel, "bzImage")
    empty_lab.wait_status(lambda status: status.default == f"bzImage ({version}), my root", 20)
    with empty_lab.machine(firmware) as machine:
        machine.expect(r"bzImage \(\S+\), my root", BOOT)
        machine.expect(r"MY ROOT : init", BOOT)
        machine.expect(r"MY ROOT : rescue shell", BOOT)
        machine.send("cat /layered /proc/cmdline\n")
        machine.expect(r"over the root", BOOT)
        machine.expect(r"quick console=", BOOT)


@BIOS_AND_UEFI
def test_a_kernel_boots_a_root_as_the_articles_ramdisk(
    empty_lab: Lab, roots: Path, test_kernel: Path, firmware: Firmware
) -> None:
    build(empty_lab, "my root")
    empty_lab.restart(SETTINGS | {"BOOTDROP_RAMDISK": "ext2"})
    empty_lab.drop(test_kernel, "bzImage")
    script = empty_lab.boot / "published" / "boot.ipxe"
    empty_lab.wait_status(lambda _: "root=/dev/ram0 rw quick" in script.read_text(), 30)
    empty_lab.wait_ready()
    with empty_lab.machine(firmware) as machine:
        machine.expect(r"VFS: Mounted root \(ext2 filesystem\)", BOOT)
        machine.expect(r"MY ROOT : rescue shell", BOOT)
    empty_lab.restart(SETTINGS)


def drop_many(lab: Lab, drop: Callable[..., None], kernel: Path) -> None:
    """Fill the menu so that each kernel gets a menu of its own."""
    build(lab, "my root")
    for number in range(9):
        drop(kernel, f"k{number}")
    first = f"k8 ({kernel.name.removeprefix('bzImage-')})"
    lab.wait_status(lambda status: status.default == f"{first}, my root", 20)


@BIOS_AND_UEFI
def test_ipxe_leads_through_the_menu_of_a_kernel_to_its_root(
    empty_lab: Lab,
    roots: Path,
    drop: Callable[..., None],
    test_kernel: Path,
    firmware: Firmware,
) -> None:
    drop_many(empty_lab, drop, test_kernel)
    with empty_lab.machine(firmware) as machine:
        machine.expect(r"k0 \(\S+\) >", BOOT)
        machine.send(DOWN + DOWN + ENTER)  # the default, k8, then k7
        machine.expect(r"Kernel k7", BOOT)
        machine.expect(r"k7 \(\S+\), rescue shell", BOOT)
        machine.send(ENTER)
        expect_fetched(empty_lab, machine.powered_on, "kernels/k7/")
        machine.expect(r"MY ROOT : rescue shell", BOOT)
    with empty_lab.machine(firmware) as machine:
        expect_fetched(empty_lab, machine.powered_on, "kernels/k8/")
        machine.expect(r"MY ROOT : rescue shell", BOOT)


def test_pxelinux_has_a_menu_for_each_kernel_and_boots_the_default_root(
    empty_lab: Lab, roots: Path, drop: Callable[..., None], test_kernel: Path
) -> None:
    empty_lab.restart(SETTINGS | {"BOOTDROP_BIOS_LOADER": "pxelinux"})
    drop_many(empty_lab, drop, test_kernel)
    empty_lab.wait_ready()
    with empty_lab.machine("bios") as machine:
        # SeaBIOS mirrors what menu.c32 prints on the same serial port: each letter comes twice.
        machine.expect(r"k+7+ +\(+6.* >+", BOOT)
        machine.expect(r"k+0+ +\(+6.* >+", BOOT)
        expect_fetched(empty_lab, machine.powered_on, "kernels/k8/")
        machine.expect(r"MY ROOT : rescue shell", BOOT)
    empty_lab.restart(SETTINGS)


def expect_fetched(lab: Lab, since: float, path: str) -> None:
    """See that a machine loads a file, by HTTP or TFTP."""
    lab.feed.wait_event(lambda event: path in event.text and event.time > since, BOOT)
