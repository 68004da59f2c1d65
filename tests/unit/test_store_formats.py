"""What is published of other formats than a plain bzImage, and what nobody may make of it."""

import gzip
import json
import os
import shutil
from pathlib import Path, PurePosixPath

import pytest

from appliance.catalog.decompress import Compression
from appliance.catalog.model import (
    Arch,
    Catalog,
    Initrd,
    InitrdMaker,
    PublishedKernel,
    RamdiskFormat,
)
from tests.unit.catalog.kernels import (
    COMPRESS,
    make_bzimage,
    make_cpio,
    make_image,
    make_zboot,
    packed_gzip,
)
from tests.unit.test_store import Lab

PACKED = sorted(COMPRESS.keys() - {Compression.LZ4})


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_a_kernel_that_only_its_owner_may_read_is_published_for_all(lab: Lab) -> None:
    lab.drop("vmlinuz", make_bzimage())
    (lab.kernels / "vmlinuz").chmod(0o600)
    assert (lab.published / lab.only().kernel).stat().st_mode & 0o777 == 0o644


def test_a_signed_kernel_is_published_with_its_certificate(lab: Lab) -> None:
    signed = make_bzimage(certificates=b"certificate")
    lab.drop("vmlinuz", signed)
    assert lab.read(lab.only().kernel) == signed


@pytest.mark.parametrize("compression", PACKED)
def test_a_packed_image_is_published_unpacked(lab: Lab, compression: Compression) -> None:
    image = make_image("6.12.0-arm")
    lab.drop("Image.gz", COMPRESS[compression](image))
    kernel = lab.only()
    assert (kernel.version, kernel.arch, kernel.efi_stub) == ("6.12.0-arm", Arch.ARM64, True)
    assert lab.read(kernel.kernel) == image
    assert (lab.published / kernel.kernel).stat().st_mode & 0o777 == 0o644
    lab.start()
    assert lab.store.published() == (kernel,)


def test_a_zboot_kernel_is_published_as_it_is(lab: Lab) -> None:
    zboot = make_zboot(make_image("6.12.0-arm"))
    lab.drop("vmlinuz.efi", zboot)
    assert lab.read(lab.only().kernel) == zboot


def test_a_packed_image_whose_contents_change_in_the_last_moment_is_looked_at_again(
    lab: Lab,
) -> None:
    lab.drop("Image.gz", packed_gzip(make_image("6.12.0")))
    scan = lab.scan()
    lab.drop("Image.gz", packed_gzip(make_image("6.13.0")))
    assert lab.store.publish(scan) == Catalog(pending=(PurePosixPath("Image.gz"),))


def test_links_in_published_lead_nothing_that_is_written_elsewhere(
    lab: Lab, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(lab.published / "kernels")
    (lab.published / "kernels").symlink_to(elsewhere)
    lab.drop("bzImage", make_bzimage())
    first = lab.only()
    shutil.rmtree(lab.published / "kernels/bzImage")
    (elsewhere / first.id).mkdir()
    (lab.published / "kernels/bzImage").symlink_to(elsewhere)
    assert lab.only() == first
    assert lab.read(first.kernel) == make_bzimage()
    assert list(elsewhere.rglob("*")) == [elsewhere / first.id]


def test_a_link_or_a_fifo_in_place_of_what_is_published_is_replaced(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage())
    kernel = lab.only()
    folder = (lab.published / kernel.kernel).parent
    for make in (os.mkfifo, lambda path: os.symlink("/etc/passwd", path)):
        for name in ("kernel", "manifest.json"):
            (folder / name).unlink()
            make(folder / name)
            lab.start()
            assert lab.only() == kernel
            assert lab.read(kernel.kernel) == make_bzimage()


def reopened(lab: Lab) -> tuple[PublishedKernel, ...]:
    lab.start()
    return lab.store.published()


def test_who_made_an_initrd_is_kept_and_a_manifest_that_does_not_say_still_loads(lab: Lab) -> None:
    lab.drop("vmlinuz-6.1", make_bzimage("6.1"))
    packed = gzip.compress(make_cpio(names=("usr/lib/dracut/modules.txt", "usr/lib/nfs-lib.sh")))
    lab.drop("initramfs-6.1.img", packed)
    made = Initrd(RamdiskFormat.CPIO, None, InitrdMaker.DRACUT, nfs_mount=True, nfs_module=False)
    assert lab.only().initrd_format == made
    assert reopened(lab)[0].initrd_format == made
    (manifest,) = lab.published.glob("kernels/*/*/manifest.json")
    raw = json.loads(manifest.read_text())
    for field in ("made_by", "nfs_mount", "nfs_module"):
        del raw["initrd"][field]
    manifest.write_text(json.dumps(raw))
    assert reopened(lab)[0].initrd_format == Initrd(RamdiskFormat.CPIO)
