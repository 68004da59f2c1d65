"""An arm64 machine among x86 ones: its own loader, its own kernels, its own rescue root."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

BOOT = 180  # seconds: each instruction of another architecture is translated


def test_an_arm64_machine_waits_for_a_kernel_of_its_own_and_boots_it_unpacked(
    empty_lab: Lab, test_kernel: Path, tmp_path: Path
) -> None:
    empty_lab.drop(test_kernel, "bzImage")
    empty_lab.wait_status(lambda status: status.kernels == ("bzImage",), 10)
    vmlinuz = empty_lab.fetch_demo_kernel(tmp_path, "arm64")
    version = vmlinuz.name.removeprefix("vmlinuz-")
    (tmp_path / "Image.gz").write_bytes(gzip.compress(vmlinuz.read_bytes(), 1))
    with empty_lab.machine("uefi-arm64") as machine:
        machine.expect(r"No kernel for arm64 machines yet: drop one into boot/kernels/", BOOT)
        empty_lab.drop(tmp_path / f"modules-{version}.cpio.gz")
        empty_lab.drop(tmp_path / "Image.gz")
        machine.expect(rf"Linux version {version.replace('+', '[+]')} ", BOOT)
        machine.expect(r"BOOTDROP: init", BOOT)
        machine.expect(r"BOOTDROP: address 192\.168\.10\.\d+ on eth0", BOOT)
        machine.expect(r"rescue:/#", BOOT)
        machine.send("uname -m\n")
        machine.expect(r"\naarch64", 20)
    assert empty_lab.feed.status is not None
    assert empty_lab.feed.status.kernels == ("Image.gz", "bzImage")
    loaded = [event.text for event in empty_lab.events if event.daemon == "tftpd"]
    assert any(line.endswith(" filename ipxe-arm64.efi") for line in loaded)
