"""Kernels by names that a loader could take for its own language."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from appliance.store import safe_name
from tests.lab.lab import Lab
from tests.lab.machine import Firmware, Machine

pytestmark = pytest.mark.lab

SETTINGS = {"BOOTDROP_MENU_TIMEOUT": "3"}
BOOT = 90  # seconds
DOWN, ENTER = "\x1b[B", "\r"

HARD = """-x 'a' "b" ${ip} || goto failed ; #c ^d é %s"""
LONG = "long " + "y" * 195


@pytest.mark.parametrize("firmware", ["bios", "uefi"])
def test_ipxe_shows_and_boots_kernels_of_any_name(
    empty_lab: Lab, test_kernel: Path, firmware: Firmware
) -> None:
    drop_both(empty_lab, test_kernel)
    with empty_lab.machine(firmware) as machine:
        machine.expect(re.escape("""-x 'a' "b" $(ip} || goto failed ; #c ^d e %s (6."""), BOOT)
        machine.expect(r"long y+\.\.\.y+ \(6\.1\.\d+-labtest\)", BOOT)
        # The first is the default; the other one is chosen.
        machine.send(DOWN + ENTER)
        expect_fetched(empty_lab, machine, LONG)
        machine.expect(r"BOOTDROP: rescue shell", BOOT)
    with empty_lab.machine(firmware) as machine:
        expect_fetched(empty_lab, machine, HARD)
        machine.expect(r"BOOTDROP: rescue shell", BOOT)


def test_pxelinux_boots_kernels_of_any_name(empty_lab: Lab, test_kernel: Path) -> None:
    empty_lab.restart(SETTINGS | {"BOOTDROP_BIOS_LOADER": "pxelinux"})
    drop_both(empty_lab, test_kernel)
    empty_lab.wait_ready(30)
    boot_with_pxelinux(empty_lab, HARD)
    # Dropped anew it is the newest, and the default.
    empty_lab.drop(test_kernel, LONG)
    empty_lab.wait_status(lambda status: status.kernels == (LONG, HARD), 10)
    boot_with_pxelinux(empty_lab, LONG)


def boot_with_pxelinux(lab: Lab, name: str) -> None:
    with lab.machine("bios") as machine:
        # menu.c32 prints entries letter by letter, to the serial port and to the screen that is
        # mirrored there: the title alone comes in one piece.
        machine.expect(r"Bootdrop on 192\.168\.10\.1", BOOT)
        expect_fetched(lab, machine, name)
        machine.expect(r"BOOTDROP: rescue shell", BOOT)


def drop_both(lab: Lab, kernel: Path) -> None:
    lab.drop(kernel, LONG)
    lab.wait_status(lambda status: status.kernels == (LONG,), 30)
    lab.drop(kernel, HARD)
    lab.wait_status(lambda status: status.kernels == (HARD, LONG), 10)


def expect_fetched(lab: Lab, machine: Machine, name: str) -> None:
    """See that a machine loads a kernel, by HTTP or TFTP."""
    path = f"kernels/{safe_name(name)}/"
    lab.feed.wait_event(lambda event: path in event.text and event.time > machine.powered_on, BOOT)
