"""Real kernels of Debian in the running container: signed, packed, of another architecture."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from tests.lab.lab import Lab

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


def test_an_arm64_image_is_published_unpacked_and_kept_from_x86_machines(
    empty_lab: Lab, test_kernel: Path, tmp_path: Path
) -> None:
    image = empty_lab.fetch_demo_kernel(tmp_path, "arm64").read_bytes()
    empty_lab.drop(test_kernel, "bzImage")
    (empty_lab.boot / "kernels/Image.gz").write_bytes(gzip.compress(image, 1))
    empty_lab.wait_status(lambda status: set(status.kernels) == {"Image.gz", "bzImage"}, 20)
    assert published_kernel(empty_lab, "Image.gz").read_bytes() == image
    pxelinux = empty_lab.boot / "published/pxelinux.cfg/default"
    empty_lab.wait_status(lambda _: "LABEL bzImage" in pxelinux.read_text(), 10)
    assert "Image.gz" not in pxelinux.read_text()
