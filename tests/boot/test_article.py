"""The article's path, step by step: 4011, pxelinux.0 by TFTP, its menu, a ramdisk on /dev/ram0.

QEMU's BIOS ROM is iPXE; with this loader it is treated as the plain PXE firmware that it also is.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.feed import Event
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

SETTINGS = {
    "BOOTDROP_BIOS_LOADER": "pxelinux",
    "BOOTDROP_PROMPT_TIMEOUT": "60",  # a key ends it
    "BOOTDROP_MENU_TIMEOUT": "1",
    "BOOTDROP_RAMDISK": "ext2",
    "BOOTDROP_TFTP_REFUSE_BLKSIZE": "true",
}
BOOT = 120  # seconds; TFTP in blocks of 512 bytes
F8 = "\x1b[19~"


def test_a_machine_boots_a_ramdisk_as_the_article_has_it(empty_lab: Lab, test_kernel: Path) -> None:
    boot_as_the_article_has_it(empty_lab, test_kernel)


def test_the_same_with_blocks_as_large_as_the_machine_asks_for(
    empty_lab: Lab, test_kernel: Path
) -> None:
    empty_lab.restart(SETTINGS | {"BOOTDROP_TFTP_REFUSE_BLKSIZE": "false"})
    boot_as_the_article_has_it(empty_lab, test_kernel)


def boot_as_the_article_has_it(lab: Lab, test_kernel: Path) -> None:
    # What the article does by hand: a kernel with BLK_DEV_RAM and EXT2_FS, and an ext2 ramdisk.
    lab.drop(test_kernel, "os_images/fc6/vmlinuz")
    lab.wait_status(lambda status: status.kernels == ("os_images/fc6/vmlinuz",), 30)
    menu = lab.boot / "published" / "pxelinux.cfg" / "default"
    lab.wait_status(lambda _: "root=/dev/ram0 rw" in menu.read_text(), 20)
    lab.wait_ready(30)
    with lab.machine("bios") as machine:
        on = machine.powered_on
        # "Press [F8] for menu...": neopxe's prompt, shown by the firmware; its menu has one loader.
        machine.expect(r"Press \[F8\] for menu\.\.\.", BOOT)
        lab.feed.wait_event(is_about("neopxe", r"menu client="), BOOT, since=on)
        machine.send(F8)
        machine.expect(r"A\. Bootdrop", BOOT)
        machine.send("a")
        lab.feed.wait_event(is_about("neopxe", r"answer .* file=pxelinux\.0"), BOOT, since=on)
        # The loader, its menu and everything else come by TFTP.
        lab.feed.wait_event(is_about("tftpd", r"filename pxelinux\.0"), BOOT, since=on)
        lab.feed.wait_event(is_about("tftpd", r"filename pxelinux\.cfg/default"), BOOT, since=on)
        machine.expect(r"Bootdrop on 192\.168\.10\.1", BOOT)
        # append initrd=… ramdisk_size=… root=/dev/ram0 rw console=…
        machine.expect(r"Command line: .*ramdisk_size=\d+ root=/dev/ram0 rw console=tty0", BOOT)
        machine.expect(r"RAMDISK: gzip image found at block 0", BOOT)
        machine.expect(r"VFS: Mounted root \(ext2 filesystem\)", BOOT)
        machine.expect(r"BOOTDROP: rescue shell", BOOT)
    assert not [event for event in lab.events if event.kind == "http" and "GET" in event.text]


def is_about(daemon: str, pattern: str) -> Callable[[Event], bool]:
    return lambda event: event.daemon == daemon and bool(re.search(pattern, event.text))
