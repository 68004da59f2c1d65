from __future__ import annotations

import pytest

from appliance.catalog.model import Arch, Initrd, RamdiskFormat
from appliance.menu.entries import LOCAL, Firmware, Menu
from appliance.menu.ramdisks import ramdisk_formats
from appliance.settings import Settings
from tests.unit.builders import (
    ARM64_RESCUE,
    CPIO_INITRD,
    EXT2_CAPABLE,
    HELP,
    RESCUE,
    a_config,
    a_kernel,
    a_menu,
)

CONSOLES = "console=tty0 console=ttyS0,115200n8"
CPIO, EXT2 = RamdiskFormat.CPIO, RamdiskFormat.EXT2


def test_a_kernel_alone_boots_to_the_rescue_root() -> None:
    (entry,) = a_menu(Settings(), a_kernel()).entries
    assert (entry.key, entry.title) == ("bzImage", "bzImage (6.1.192)")
    assert entry.initrds == (RESCUE.cpio,)
    assert entry.cmdline == f"{CONSOLES} bootdrop.help={HELP}"


def test_a_kernel_with_its_own_initrd_has_a_rescue_shell_as_second_entry() -> None:
    menu = a_menu(Settings(), a_kernel(initrd=CPIO_INITRD))
    assert [(entry.key, entry.title) for entry in menu.entries] == [
        ("bzImage", "bzImage (6.1.192)"),
        ("bzImage~rescue", "bzImage (6.1.192), rescue shell"),
    ]
    assert menu.default == "bzImage"


def test_modules_are_a_second_layer_of_the_rescue_root() -> None:
    kernel = a_kernel(modules=True)
    (entry,) = a_menu(Settings(), kernel).entries
    assert entry.initrds == (RESCUE.cpio, kernel.modules)


def test_an_ext2_ramdisk_has_the_articles_command_line() -> None:
    settings = Settings(ramdisk="ext2", cmdline="debug")
    (entry,) = a_menu(settings, a_kernel(config=a_config(*EXT2_CAPABLE))).entries
    assert entry.initrds == (RESCUE.ext2,)
    assert entry.cmdline == (
        f"ramdisk_size=4096 root=/dev/ram0 rw {CONSOLES} debug bootdrop.help={HELP}"
    )


def test_an_ext2_image_as_own_initrd_is_a_ramdisk_of_its_own_size() -> None:
    menu = a_menu(Settings(), a_kernel(initrd=Initrd(EXT2, 524288)))
    assert menu.entries[0].cmdline == f"ramdisk_size=524288 root=/dev/ram0 rw {CONSOLES}"


@pytest.mark.parametrize(
    ("version", "options", "formats", "lacking"),
    [
        ("6.1.0", None, {CPIO}, ()),
        ("6.1.0", EXT2_CAPABLE, {CPIO, EXT2}, ()),
        ("6.1.0", (*EXT2_CAPABLE[:3], "EXT4_FS", "EXT4_USE_FOR_EXT2"), {CPIO, EXT2}, ()),
        ("7.0.0-rc1", EXT2_CAPABLE, {CPIO}, ()),
        ("6.1.0", EXT2_CAPABLE[:2], {CPIO}, ("CONFIG_BLK_DEV_RAM=y", "CONFIG_EXT2_FS=y")),
        ("6.1.0", EXT2_CAPABLE[1:], set(), ("CONFIG_BLK_DEV_INITRD=y",)),
    ],
)
def test_the_form_of_a_ramdisk_is_what_the_kernel_can(
    version: str,
    options: tuple[str, ...] | None,
    formats: set[RamdiskFormat],
    lacking: tuple[str, ...],
) -> None:
    config = None if options is None else a_config(*options)
    assert ramdisk_formats(version, config) == (formats, lacking)


def test_a_kernel_that_cannot_boot_a_ramdisk_is_not_offered_and_told() -> None:
    menu = a_menu(Settings(), a_kernel(config=a_config("RD_GZIP")))
    assert menu.entries == ()
    assert menu.default is None
    assert menu.notices == (
        "bzImage: no rescue shell: its configuration lacks CONFIG_BLK_DEV_INITRD=y",
    )


def test_a_kernel_of_another_architecture_gets_no_rescue_root() -> None:
    menu = a_menu(Settings(), a_kernel(arch=Arch.I386))
    assert menu.entries == ()


def test_the_newest_kernel_is_the_default() -> None:
    menu = a_menu(Settings(), a_kernel("new", dropped_at=2), a_kernel("old", dropped_at=1))
    assert menu.default == "new"


def test_a_name_or_the_local_disk_can_be_the_default() -> None:
    kernels = (a_kernel("new"), a_kernel("os_images/fc6/vmlinuz"))
    assert a_menu(Settings(default_entry="os_images/fc6/vmlinuz"), *kernels).default == (
        "os_images_fc6_vmlinuz"
    )
    assert a_menu(Settings(default_entry="local"), *kernels).default == LOCAL


def test_a_default_that_is_not_there_falls_back_to_the_newest_and_is_told() -> None:
    menu = a_menu(Settings(default_entry="gone"), a_kernel("new"))
    assert menu.default == "new"
    assert menu.notices[0].startswith("BOOTDROP_DEFAULT_ENTRY=gone: not in the menu")


def test_an_empty_volume_waits_for_a_kernel() -> None:
    assert a_menu(Settings()).default is None


def test_a_title_is_ascii_as_far_as_it_can_be() -> None:
    (entry,) = a_menu(Settings(), a_kernel("Grüße ${b} 漢")).entries
    assert entry.title == "Gru?e ${b} ? (6.1.192)"


def default_of(menu: Menu, firmware: Firmware) -> str | None:
    return menu.offer(firmware).default


def test_uefi_boots_the_newest_kernel_that_it_can_start() -> None:
    old_format = a_kernel("new", efi_stub=False)
    menu = a_menu(Settings(), old_format, a_kernel("old"))
    assert (menu.default, default_of(menu, Firmware.EFI_X64)) == ("new", "old")
    assert menu.notices == (
        "x86 UEFI machines boot old (6.1.192) when nobody chooses: they cannot start new (6.1.192)",
    )
    assert default_of(a_menu(Settings(), old_format), Firmware.EFI_X64) is None


def test_a_kernel_of_32_bits_is_not_offered_to_uefi() -> None:
    (entry,) = a_menu(Settings(), a_kernel(arch=Arch.I386, initrd=CPIO_INITRD)).entries
    assert entry.firmware == {Firmware.BIOS}


def test_each_architecture_is_offered_its_own_kernels() -> None:
    arm64 = a_kernel("Image", arch=Arch.ARM64)
    menu = a_menu(Settings(console_arm64="console=ttyAMA0"), arm64, a_kernel("bzImage"))
    seen = {
        offer.firmware: ([entry.key for entry in offer.entries], offer.default)
        for offer in menu.offers
    }
    assert seen == {
        Firmware.BIOS: (["bzImage"], "bzImage"),
        Firmware.EFI_X64: (["bzImage"], "bzImage"),
        Firmware.EFI_ARM64: (["Image"], "Image"),
    }
    (entry,) = menu.offer(Firmware.EFI_ARM64).entries
    assert entry.initrds == (ARM64_RESCUE.cpio,)
    assert entry.cmdline == f"console=ttyAMA0 bootdrop.help={HELP}"


def test_machines_without_a_kernel_of_their_own_wait_for_one() -> None:
    menu = a_menu(Settings(), a_kernel("Image", arch=Arch.ARM64))
    assert default_of(menu, Firmware.EFI_ARM64) == "Image"
    assert default_of(menu, Firmware.BIOS) is None
    assert menu.offer(Firmware.BIOS).entries == ()


def test_the_local_disk_is_the_default_of_every_machine() -> None:
    menu = a_menu(Settings(default_entry="local"), a_kernel("Image", arch=Arch.ARM64))
    assert {offer.default for offer in menu.offers} == {LOCAL}


def test_an_image_that_no_firmware_can_start_is_not_offered_and_told() -> None:
    menu = a_menu(Settings(), a_kernel("Image", arch=Arch.ARM64, efi_stub=False))
    assert menu.entries == ()
    assert menu.notices == ("Image: no firmware can start it: build it with CONFIG_EFI=y",)


def test_a_kernel_may_be_called_like_the_menus_own_entries() -> None:
    menu = a_menu(Settings(default_entry="local"), a_kernel("local"), a_kernel("again"))
    assert menu.default == LOCAL
    assert {entry.key for entry in menu.entries}.isdisjoint({LOCAL, "~again", "~shell"})
