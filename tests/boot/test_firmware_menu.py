"""The firmware's own menu lists kernels, and the one that is chosen boots without a second menu."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.machine import Hardware, Machine

pytestmark = pytest.mark.lab

SETTINGS = {
    "BOOTDROP_FIRMWARE_MENU": "kernels",
    "BOOTDROP_IPXE_ROM": "boot-server",
    "BOOTDROP_PROMPT_TIMEOUT": "30",  # a key ends it
}
BOOT = 90  # seconds
F8 = "\x1b[19~"


@pytest.fixture
def two_kernels(empty_lab: Lab, test_kernel_dir: Path) -> tuple[Lab, str]:
    """A lab with `older` and `newer`, the default; and the version of `older`."""
    return empty_lab, drop_two(empty_lab, test_kernel_dir)


def drop_two(lab: Lab, test_kernel_dir: Path) -> str:
    older = next(test_kernel_dir.glob("bzImage-*-labtest"))
    lab.drop(older, "older")
    lab.wait_status(lambda status: status.kernels == ("older",), 20)
    lab.drop(next(test_kernel_dir.glob("bzImage-*-noroot")), "newer")
    lab.wait_status(lambda status: status.kernels == ("newer", "older"), 20)
    return older.name.removeprefix("bzImage-")


def expect_item(lab: Lab, machine: Machine, file: str) -> None:
    answer = rf"answer client={machine.hardware.mac} .* file={re.escape(file)}$"
    lab.feed.wait_event(lambda event: bool(re.search(answer, event.text)), BOOT)


def expect_boot_without_another_menu(machine: Machine, version: str) -> None:
    seen = machine.expect(rf"Linux version {re.escape(version)}", BOOT)
    assert "hold m for the menu" not in machine.console[: seen.match.start()]
    assert "Bootdrop on 192.168.10.1" not in machine.console[: seen.match.start()]
    machine.expect(r"BOOTDROP: rescue shell", BOOT)


def test_ipxe_in_the_rom_of_a_bios_machine_boots_the_chosen_kernel(
    two_kernels: tuple[Lab, str],
) -> None:
    lab, version = two_kernels
    with lab.machine("bios") as machine:
        machine.expect(r"Press \[F8\] for menu\.\.\.", BOOT)
        machine.send(F8)
        machine.expect(r"C\. older \(", BOOT)
        machine.send("c")
        expect_item(lab, machine, "entry/older/autoexec.ipxe")
        expect_boot_without_another_menu(machine, version)


def test_uefi_boots_the_chosen_kernel(two_kernels: tuple[Lab, str]) -> None:
    lab, version = two_kernels
    with lab.machine(Hardware("uefi", option_rom=False)) as machine:
        machine.expect(r"Press \[F8\] for menu\.\.\.", BOOT)
        machine.send("m")  # which OVMF takes for F8
        machine.expect(r"Boot from local disk", BOOT)
        machine.send("dd\r")  # down, down
        expect_item(lab, machine, "entry/older/snponly.efi")
        expect_boot_without_another_menu(machine, version)


def test_nobody_chooses_and_the_default_boots(two_kernels: tuple[Lab, str]) -> None:
    lab, _ = two_kernels
    with lab.machine("bios") as machine:
        machine.expect(r"Press \[F8\] for menu\.\.\.", BOOT)
        machine.send(" ")
        expect_item(lab, machine, "autoexec.ipxe")
        machine.expect(r"Linux version \S+-noroot", BOOT)


def test_pxelinux_boots_the_chosen_kernel(empty_lab: Lab, test_kernel_dir: Path) -> None:
    empty_lab.restart(SETTINGS | {"BOOTDROP_BIOS_LOADER": "pxelinux"})
    version = drop_two(empty_lab, test_kernel_dir)
    empty_lab.wait_ready()
    with empty_lab.machine("bios") as machine:
        machine.expect(r"Press \[F8\] for menu\.\.\.", BOOT)
        machine.send(F8)
        machine.expect(r"C\. older \(", BOOT)
        machine.send("c")
        expect_item(empty_lab, machine, "entry/older/pxelinux.0")
        expect_boot_without_another_menu(machine, version)
