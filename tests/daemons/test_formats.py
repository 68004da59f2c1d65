"""Real kernels of Debian in the running container: signed, packed, of another architecture."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.unit.catalog.kernels import make_zboot

pytestmark = pytest.mark.lab


def published_kernel(lab: Lab, name: str) -> Path:
    (path,) = (lab.boot / "published/kernels" / name).glob("*/kernel")
    return path


def test_a_signed_kernel_that_only_root_may_read_is_published_whole_for_all(
    empty_lab: Lab, tmp_path: Path
) -> None:
    signed = empty_lab.fetch_demo_kernel(tmp_path, "amd64").read_bytes()
    dropped = empty_lab.boot / "kernels/vmlinuz"
    dropped.write_bytes(signed)
    dropped.chmod(0o600)
    empty_lab.wait_status(lambda status: status.kernels == ("vmlinuz",), 10)
    copy = published_kernel(empty_lab, "vmlinuz")
    assert copy.read_bytes() == signed
    assert copy.stat().st_mode & 0o777 == 0o644


def test_a_signed_kernel_without_the_end_of_its_certificate_is_cut_short(
    empty_lab: Lab, tmp_path: Path
) -> None:
    signed = empty_lab.fetch_demo_kernel(tmp_path, "amd64").read_bytes()
    (empty_lab.boot / "kernels/vmlinuz").write_bytes(signed[:-1])
    status = empty_lab.wait_status(lambda status: bool(status.refused), 10)
    assert dict(status.refused) == {
        "vmlinuz": f"cut short: {len(signed) - 1} of at least {len(signed)} bytes are there; "
        "copy it again"
    }


def test_arm64_kernels_are_listed_unpacked_and_kept_from_x86_machines(
    empty_lab: Lab, test_kernel: Path, tmp_path: Path
) -> None:
    vmlinuz = empty_lab.fetch_demo_kernel(tmp_path, "arm64")
    image, version = vmlinuz.read_bytes(), vmlinuz.name.removeprefix("vmlinuz-")
    kernels = empty_lab.boot / "kernels"
    (kernels / "Image").write_bytes(image)
    (kernels / "Image.gz").write_bytes(gzip.compress(image, 1))
    (kernels / "vmlinuz.efi").write_bytes(make_zboot(image))
    empty_lab.drop(test_kernel, "bzImage")
    arm64 = {"Image", "Image.gz", "vmlinuz.efi"}
    empty_lab.wait_status(lambda status: set(status.kernels) == arm64 | {"bzImage"}, 20)
    _, said = empty_lab.exec_appliance(["bootdrop", "kernels"])
    listed = [line.split()[:3] for line in said.splitlines()]
    assert all([name, version, "arm64"] in listed for name in arm64)
    assert published_kernel(empty_lab, "Image.gz").read_bytes() == image
    assert published_kernel(empty_lab, "Image").read_bytes() == image
    pxelinux = empty_lab.boot / "published/pxelinux.cfg/default"
    empty_lab.wait_status(lambda _: "LABEL bzImage" in pxelinux.read_text(), 10)
    assert not any(f"LABEL {name}" in pxelinux.read_text() for name in arm64)
