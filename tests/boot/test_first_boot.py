"""Machines boot what was dropped: by BIOS and by UEFI, with iPXE."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.boot.archives import initrd_that_says
from tests.lab.lab import Lab
from tests.lab.machine import Firmware, Hardware, Machine

pytestmark = pytest.mark.lab

BIOS_AND_UEFI = pytest.mark.parametrize("firmware", ["bios", "uefi"])
BOOT = 90  # seconds: a machine without KVM on a busy host
PROMPT = r"rescue:/#"


def expect_rescue_shell(machine: Machine, version: str) -> str:
    """See a machine from its kernel to the prompt; return the address that it says it has."""
    machine.expect(rf"Linux version {version}", BOOT)
    machine.expect(r"BOOTDROP: init", BOOT)
    machine.expect(rf"BOOTDROP: kernel {version}", BOOT)
    address = machine.expect(r"BOOTDROP: address (192\.168\.10\.\d+) on eth0", BOOT).match[1]
    machine.expect(r"BOOTDROP: help http://192\.168\.10\.1:8069/help\.txt", BOOT)
    machine.expect(PROMPT, BOOT)
    return address


@pytest.mark.parametrize(
    "hardware",
    [
        Hardware("bios", "virtio-net-pci"),
        Hardware("bios", "e1000"),
        Hardware("uefi", "virtio-net-pci", option_rom=False),
        Hardware("uefi", "e1000"),  # OVMF has no driver for it: the card's own iPXE
    ],
    ids=lambda hardware: f"{hardware.firmware}-{hardware.nic}",
)
def test_a_kernel_alone_boots_to_a_rescue_shell_with_a_network(
    empty_lab: Lab, drop: Callable[..., None], test_kernel: Path, hardware: Hardware
) -> None:
    drop(test_kernel, "bzImage")
    with empty_lab.machine(hardware) as machine:
        address = expect_rescue_shell(machine, test_kernel.name.removeprefix("bzImage-"))
        machine.send("echo $((6 * 7)) machines\n")
        machine.expect(r"\n42 machines", 10)
        machine.send("poweroff\n")
        machine.wait_off(30)
    leases = {event.text.split()[2] for event in empty_lab.events if is_lease(machine, event.text)}
    assert leases == {address}, "one machine has one address through all stages"


def is_lease(machine: Machine, line: str) -> bool:
    return line.startswith("DHCPACK on ") and machine.hardware.mac in line


@BIOS_AND_UEFI
def test_modules_beside_a_distributions_kernel_give_the_rescue_shell_its_network(
    empty_lab: Lab, firmware: Firmware
) -> None:
    kernel = empty_lab.drop_demo_kernel()
    empty_lab.wait_status(lambda status: kernel in status.kernels and not status.pending, 20)
    with empty_lab.machine(firmware) as machine:
        expect_rescue_shell(machine, kernel.removeprefix("vmlinuz-").replace("+", r"\+"))


@BIOS_AND_UEFI
def test_a_distributions_kernel_boots_with_its_own_initrd(
    empty_lab: Lab, tmp_path: Path, firmware: Firmware
) -> None:
    kernel = empty_lab.drop_demo_kernel()
    version = kernel.removeprefix("vmlinuz-")
    (busybox,) = (empty_lab.boot / "published/rescue/x86_64").glob("*/rescue.cpio.gz")
    own = initrd_that_says("the initrd of a distribution", busybox.read_bytes())
    (tmp_path / "initrd").write_bytes(own)
    empty_lab.drop(tmp_path / "initrd", f"initrd.img-{version}")
    empty_lab.wait_status(
        lambda status: status.default == f"{kernel} ({version})" and not status.pending, 20
    )
    with empty_lab.machine(firmware) as machine:
        machine.expect(r"\nthe initrd of a distribution", BOOT)


def test_a_machine_that_found_no_kernel_waits_and_boots_the_one_that_is_dropped(
    empty_lab: Lab, drop: Callable[..., None], test_kernel: Path
) -> None:
    with empty_lab.machine("bios") as machine:
        machine.expect(r"No kernel yet: drop one into boot/kernels/", BOOT)
        drop(test_kernel, "bzImage")
        machine.expect(r"BOOTDROP: rescue shell", BOOT)


@BIOS_AND_UEFI
def test_a_kernel_that_is_overwritten_while_a_machine_boots_is_one_of_the_two_whole(
    empty_lab: Lab, drop: Callable[..., None], test_kernel_dir: Path, firmware: Firmware
) -> None:
    first = next(test_kernel_dir.glob("bzImage-*-labtest"))
    second = next(test_kernel_dir.glob("bzImage-*-noroot"))
    drop(first, "bzImage")
    with empty_lab.machine(firmware) as machine:
        empty_lab.feed.wait_event(
            lambda event: event.text.endswith("/boot.ipxe") and event.time > machine.powered_on,
            BOOT,
        )
        empty_lab.drop(second, "bzImage")  # between the script and the kernel that it names
        version = machine.expect(r"Linux version (\S+) ", BOOT).match[1]
        assert f"bzImage-{version}" in (first.name, second.name)
        machine.expect(r"BOOTDROP: rescue shell", BOOT)


def test_the_menu_is_the_same_after_the_container_was_killed(
    empty_lab: Lab, drop: Callable[..., None], test_kernel: Path
) -> None:
    drop(test_kernel, "one")
    drop(test_kernel, "two")
    script = empty_lab.boot / "published" / "boot.ipxe"
    before = script.read_text()
    empty_lab.kill_appliance()
    status = empty_lab.wait_ready(30, since=time.time())
    assert status.kernels == ("two", "one")
    assert script.read_text() == before
    with empty_lab.machine("bios") as machine:
        machine.expect(r"BOOTDROP: rescue shell", BOOT)
