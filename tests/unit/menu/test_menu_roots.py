"""Which roots a kernel is offered with, in which form, and in which order."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import PurePosixPath

import pytest

from appliance.catalog.decompress import Compression
from appliance.catalog.model import Arch, PublishedRoot, RamdiskFormat
from appliance.menu.entries import Entry, Firmware, Menu
from appliance.render import Renderer
from appliance.settings import Settings
from tests.unit.builders import (
    CPIO_INITRD,
    EXT2_CAPABLE,
    RESCUE,
    a_config,
    a_kernel,
    a_layer,
    a_menu,
    a_root,
    a_situation,
)

CONSOLES = "console=tty0 console=ttyS0,115200n8"
LAYER = "1111222233334444"
ZSTD_CAPABLE = ("BLK_DEV_INITRD", "RD_GZIP", "RD_ZSTD")


def titles(menu: Menu) -> list[str]:
    """Return what comes behind the kernel in each title."""
    return [entry.title.partition("), ")[2] for entry in menu.entries]


def first(menu: Menu) -> Entry:
    return menu.entries[0]


def test_a_kernel_boots_a_root_as_initramfs() -> None:
    root = a_root("fedora", cmdline="selinux=0")
    entry = first(a_menu(Settings(), a_kernel(), roots=[root]))
    assert (entry.key, entry.title) == ("bzImage~~fedora", "bzImage (6.1.192), fedora")
    assert entry.initrds == (root.ramdisks[RamdiskFormat.CPIO].path,)
    assert entry.cmdline == f"selinux=0 {CONSOLES}"


def test_a_kernel_boots_a_root_as_the_articles_ramdisk() -> None:
    root = a_root(init="/lib/systemd/systemd")
    settings = Settings(ramdisk="ext2")
    entry = first(a_menu(settings, a_kernel(config=a_config(*EXT2_CAPABLE)), roots=[root]))
    assert entry.initrds == (root.ramdisks[RamdiskFormat.EXT2].path,)
    assert entry.cmdline == (
        f"ramdisk_size=600000 root=/dev/ram0 rw init=/lib/systemd/systemd {CONSOLES}"
    )


def test_without_an_initrd_the_newest_root_comes_first_and_the_rescue_shell_last() -> None:
    menu = a_menu(Settings(), a_kernel(), roots=[a_root("new"), a_root("old")])
    assert titles(menu) == ["new", "old", "rescue shell"]
    assert menu.default == "bzImage~~new"


def test_the_root_whose_recipe_says_so_is_the_default() -> None:
    menu = a_menu(Settings(), a_kernel(), roots=[a_root("new"), a_root("old", is_default=True)])
    assert titles(menu) == ["old", "new", "rescue shell"]


@pytest.mark.parametrize(
    ("wanted", "order"),
    [
        ("rescue", ["rescue shell", "new", "old"]),
        ("newest", ["new", "old", "rescue shell"]),
        ("old", ["old", "new", "rescue shell"]),
    ],
)
def test_the_setting_comes_before_what_a_recipe_says(wanted: str, order: list[str]) -> None:
    roots = [a_root("new"), a_root("old", is_default=wanted != "old")]
    menu = a_menu(Settings(default_root=wanted), a_kernel(), roots=roots)
    assert titles(menu) == order
    assert menu.default == first(menu).key
    assert menu.notices == ()


def test_a_default_root_that_is_not_there_is_told() -> None:
    menu = a_menu(Settings(default_root="gone"), a_kernel(), roots=[a_root("fedora")])
    assert titles(menu) == ["fedora", "rescue shell"]
    assert menu.notices == (
        "BOOTDROP_DEFAULT_ROOT=gone: no such root in the menu, so it is chosen as if that was not "
        "set; there are: rescue, fedora",
    )


@pytest.mark.parametrize("wanted", [None, "fedora", "rescue"])
def test_a_kernels_own_initrd_stays_its_first_entry(wanted: str | None) -> None:
    settings = Settings(default_root=wanted)
    menu = a_menu(settings, a_kernel(initrd=CPIO_INITRD), roots=[a_root("fedora")])
    assert titles(menu) == ["", "fedora", "rescue shell"]
    assert menu.default == "bzImage"


def test_a_kernel_named_as_default_boots_its_first_entry() -> None:
    settings = Settings(default_entry="old")
    menu = a_menu(settings, a_kernel("new"), a_kernel("old"), roots=[a_root("fedora")])
    assert menu.default == "old~~fedora"
    assert a_menu(
        Settings(default_entry="old~rescue"), a_kernel("old"), roots=[a_root("fedora")]
    ).default == ("old~rescue")


@pytest.mark.parametrize(
    ("version", "options", "compression", "offered"),
    [
        ("5.9.0", None, Compression.ZSTD, True),
        ("5.8.18", None, Compression.ZSTD, False),
        ("5.8.18", None, Compression.GZIP, True),
        ("5.8.18-backport", ZSTD_CAPABLE, Compression.ZSTD, True),
        ("6.12.0", ZSTD_CAPABLE[:2], Compression.ZSTD, False),
        ("6.12.0", ZSTD_CAPABLE[:2], Compression.GZIP, True),
    ],
)
def test_an_initramfs_is_offered_to_kernels_that_can_unpack_it(
    version: str, options: tuple[str, ...] | None, compression: Compression, offered: bool
) -> None:
    config = None if options is None else a_config(*options)
    root = a_root(compression=compression, forms=[RamdiskFormat.CPIO])
    menu = a_menu(Settings(), a_kernel(version=version, config=config), roots=[root])
    assert ("fedora" in titles(menu)) is offered
    assert bool(menu.notices) is not offered


def test_the_other_form_is_offered_where_the_preferred_one_cannot_be() -> None:
    zstd = a_root(compression=Compression.ZSTD)
    menu = a_menu(Settings(), a_kernel(config=a_config(*EXT2_CAPABLE)), roots=[zstd])
    assert first(menu).initrds == (zstd.ramdisks[RamdiskFormat.EXT2].path,)
    only_ext2 = a_root(forms=[RamdiskFormat.EXT2])
    assert titles(a_menu(Settings(), a_kernel(config=a_config(*EXT2_CAPABLE)), roots=[only_ext2]))


def test_what_a_kernel_lacks_for_a_root_is_told_once_for_all_kernels() -> None:
    kernels = [a_kernel(f"old-{number}", version="4.19.0") for number in range(7)]
    menu = a_menu(Settings(), *kernels, roots=[a_root(forms=[RamdiskFormat.CPIO])])
    assert menu.notices == (
        "root fedora: not with old-0, old-1, old-2, old-3, old-4 and 2 more: it is older than "
        "zstd, which came with Linux 5.9: set `compression: gzip` in its recipe",
    )
    assert {entry.initrds for entry in menu.entries} == {(RESCUE.cpio,)}


def test_a_root_without_a_ramdisk_is_told() -> None:
    menu = a_menu(Settings(), a_kernel(), roots=[a_root(forms=())])
    assert titles(menu) == [""]
    assert menu.notices == (
        "root fedora: not in the menu, as it has no ramdisk and nothing serves NFS: its recipe's "
        "formats want ext2 or cpio",
    )


def test_a_root_of_another_processor_is_not_offered() -> None:
    menu = a_menu(Settings(), a_kernel(), roots=[a_root(arch=Arch.ARM64)])
    assert titles(menu) == [""]
    assert menu.notices == ()


def test_modules_of_a_kernel_are_a_layer_over_each_root() -> None:
    layer = a_layer("6.1.192")
    menu = a_menu(Settings(), a_kernel(), roots=[a_root()], layers=[layer])
    assert [entry.initrds[-1] for entry in menu.entries] == [layer.path, layer.path]


def test_what_lies_beside_a_kernel_for_the_rescue_root_is_not_laid_over_others() -> None:
    kernel = a_kernel(modules=True)
    root, shell = a_menu(Settings(), kernel, roots=[a_root()]).entries
    assert kernel.modules not in root.initrds
    assert kernel.modules in shell.initrds


def test_modules_of_another_version_are_not_taken() -> None:
    menu = a_menu(Settings(), a_kernel(), roots=[a_root()], layers=[a_layer("6.1.193")])
    assert [len(entry.initrds) for entry in menu.entries] == [1, 1]


def test_of_two_layers_of_a_version_the_one_beside_the_kernel_is_taken() -> None:
    layers = [
        a_layer("6.1.192", "b/modules-6.1.192.tar.xz", "b" * 16),
        a_layer("6.1.192", "a/modules-6.1.192.tar.xz", "a" * 16),
    ]
    kernels = a_kernel("a/vmlinuz"), a_kernel("b/vmlinuz"), a_kernel("c/vmlinuz")
    menu = a_menu(Settings(default_root="rescue"), *kernels, layers=layers)
    assert [entry.initrds[1].parent.name[0] for entry in menu.entries] == ["a", "b", "b"]


def test_a_kernels_own_modules_come_before_those_of_another_build_of_its_version() -> None:
    layers = [
        a_layer("6.1.192", "other.modules.tar.zst", "a" * 16),
        a_layer("6.1.192", "bzImage.modules.tar.zst", "b" * 16),
    ]
    entry = first(a_menu(Settings(), a_kernel(), layers=layers))
    assert entry.initrds[1].parent.name == "b" * 16


def test_an_ext2_root_has_its_modules_in_a_variant() -> None:
    root = a_root(variants=[LAYER])
    kernel = a_kernel(config=a_config(*EXT2_CAPABLE))
    settings = Settings(ramdisk="ext2")
    layers = [a_layer("6.1.192", layer_id=LAYER)]
    entry = first(a_menu(settings, kernel, roots=[root], layers=layers))
    assert entry.initrds == (root.variants[LAYER].path,)
    assert entry.cmdline.startswith("ramdisk_size=650000 ")
    other = first(a_menu(settings, replace(kernel, version="6.1.1"), roots=[root], layers=layers))
    assert other.initrds == (root.ramdisks[RamdiskFormat.EXT2].path,)


def twenty_kernels_and_five_roots() -> tuple[Settings, list[PublishedRoot], Menu]:
    roots = [a_root(f"root {number}") for number in range(5)]
    kernels = [a_kernel(f"bzImage-{number}") for number in range(20)]
    return Settings(), roots, a_menu(Settings(), *kernels, roots=roots)


def test_many_entries_are_a_line_and_a_submenu_for_each_kernel() -> None:
    _, _, menu = twenty_kernels_and_five_roots()
    offer = menu.offer(Firmware.BIOS)
    assert len(offer.entries) == 20 * 6
    assert [line.title for line in offer.lines[:3]] == [
        "bzImage-0 (6.1.192), root 0",
        "bzImage-0 (6.1.192)",
        "bzImage-1 (6.1.192)",
    ]
    assert len(offer.lines) == 21
    assert sorted(entry.key for each in offer.submenus for entry in each.entries) == sorted(
        entry.key for entry in offer.entries
    )


def test_few_entries_are_all_on_the_first_menu() -> None:
    menu = a_menu(Settings(), a_kernel("a"), a_kernel("b"), roots=[a_root()])
    assert menu.offer(Firmware.BIOS).lines == menu.entries


def test_every_key_is_of_its_own_whatever_the_names() -> None:
    kernels = [a_kernel(name) for name in ("a", "a b", "a~b", "rescue", "a~rescue")]
    roots = [a_root(name) for name in ("rescue", "a", "a b")]
    keys = [entry.key for entry in a_menu(Settings(), *kernels, roots=roots).entries]
    assert len(keys) == 5 * 4 == len(set(keys))
    assert all(re.fullmatch(r"[A-Za-z0-9._~-]+", key) for key in keys)


@pytest.mark.parametrize("count", [2, 20])
def test_what_one_loader_is_offered_the_other_is_too(count: int) -> None:
    kernels = [a_kernel(f"bzImage-{number}") for number in range(count)]
    situation = a_situation(Settings(), *kernels, roots=[a_root("x"), a_root("y z")])
    files = Renderer(situation.paths.templates).boot_files(situation)
    ipxe = files[PurePosixPath("tftp/boot.ipxe")]
    pxelinux = files[PurePosixPath("tftp/pxelinux.cfg/default")]
    for entry in situation.menu.entries:
        assert f"\nitem {entry.key} {entry.title}\n" in ipxe
        assert f"\n:boot-{entry.key}\nkernel ${{base}}/{entry.kernel} " in ipxe
        assert f"\tMENU LABEL {entry.title}\n" in pxelinux
    appended = re.findall(r"\tAPPEND initrd=(\S+)", pxelinux)
    assert set(appended) == {",".join(map(str, entry.initrds)) for entry in situation.menu.entries}
    labels = re.findall(r"(?m)^:(\S+)", ipxe)
    assert len(labels) == len(set(labels))
    goals = {goal for goal in re.findall(r"item (\S+)", ipxe) if not goal.startswith("--")}
    assert {f"boot-{goal}" for goal in goals} <= set(labels)
    assert (
        pxelinux.count("MENU BEGIN") == pxelinux.count("MENU END") == len(situation.menu.submenus)
    )
    assert pxelinux.count("MENU DEFAULT") == 1
    for submenu in situation.menu.submenus:
        assert f"\nMENU TITLE {submenu.title}\nLABEL " in pxelinux
