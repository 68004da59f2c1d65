"""Who made an initrd, by what is in it; by its name only where the contents cannot be read."""

from __future__ import annotations

import gzip
import io
import random
from dataclasses import replace

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from appliance.catalog.decompress import Compression
from appliance.catalog.initrd_contents import survey
from appliance.catalog.model import Initrd, InitrdMaker, RamdiskFormat
from tests.unit.catalog.kernels import COMPRESS, make_cpio

CPIO = Initrd(RamdiskFormat.CPIO)
DRACUT, INITRAMFS_TOOLS = InitrdMaker.DRACUT, InitrdMaker.INITRAMFS_TOOLS
# Names out of what `dracut --no-hostonly` 106 and `mkinitramfs` 0.148 made in Debian 13.
MODULE = "usr/lib/modules/6.12.117+deb13-cloud-amd64/kernel/fs/nfs/nfs.ko.xz"
OF_DRACUT = (".", "./init", "./usr/lib/dracut/modules.txt", "./usr/lib/nfs-lib.sh", f"./{MODULE}")
OF_INITRAMFS_TOOLS = ("conf/initramfs.conf", "scripts/functions", "scripts/nfs", "usr/bin/nfsmount")


def look_at(data: bytes, filename: str = "initrd") -> Initrd:
    return survey(io.BytesIO(data), CPIO, filename)


def whole(made_by: InitrdMaker | None, *, mount: bool = True, module: bool = True) -> Initrd:
    return replace(CPIO, made_by=made_by, nfs_mount=mount, nfs_module=module)


@pytest.mark.parametrize("compression", [None, *COMPRESS])
def test_dracuts_is_told_by_its_own_files_however_it_is_packed(
    compression: Compression | None,
) -> None:
    archive = make_cpio(names=OF_DRACUT)
    packed = COMPRESS[compression](archive) if compression else archive
    assert look_at(packed, "initrd.img-6.12.0") == whole(DRACUT)


def test_debians_has_its_modules_in_an_archive_of_their_own_before_the_packed_one() -> None:
    early = make_cpio(names=("kernel/x86/microcode/AuthenticAMD.bin",)) + bytes(512)
    modules = make_cpio(names=(MODULE,)) + bytes(1000)
    main = gzip.compress(make_cpio(names=OF_INITRAMFS_TOOLS))
    assert look_at(early + modules + main) == whole(INITRAMFS_TOOLS)


def test_archives_that_are_packed_together_are_all_read() -> None:
    both = make_cpio(names=OF_DRACUT[:3]) + bytes(300) + make_cpio(names=(MODULE,))
    assert look_at(gzip.compress(both)) == whole(DRACUT, mount=False)


def test_what_an_archive_behind_the_packed_one_has_is_not_known() -> None:
    main = gzip.compress(make_cpio(names=OF_DRACUT[:3]))
    behind = gzip.compress(random.Random(1).randbytes(100_000))
    assert look_at(main + behind) == replace(CPIO, made_by=DRACUT)
    assert look_at(main + bytes(100_000)) == whole(DRACUT, mount=False, module=False)


def test_what_it_lacks_for_nfs_is_known() -> None:
    assert look_at(make_cpio(names=OF_DRACUT[:3])) == whole(DRACUT, mount=False, module=False)
    without_module = make_cpio(names=OF_INITRAMFS_TOOLS)
    assert look_at(without_module) == whole(INITRAMFS_TOOLS, module=False)


def test_an_initrd_of_ones_own_is_nobodys_whatever_its_name() -> None:
    nobodys = whole(None, mount=False, module=False)
    assert look_at(make_cpio(), "initrd.img-6.12.0") == nobodys


@pytest.mark.parametrize(
    ("filename", "made_by"),
    [
        ("initrd.img-6.12.0-amd64", INITRAMFS_TOOLS),
        ("initramfs-6.12.0-200.fc41.x86_64.img", DRACUT),
        ("initramfs-linux.img", None),
        ("bzImage.initrd", None),
    ],
)
@pytest.mark.parametrize(
    "unreadable",
    [
        b"\x89LZO\0\r\n\x1a\n" + bytes(50),
        gzip.compress(make_cpio(), mtime=0)[:60],
        make_cpio() + b"no archive",
        make_cpio()[:100],
        make_cpio().replace(b"00000005", b"0000000g", 1),
        gzip.compress(gzip.compress(make_cpio(), mtime=0), mtime=0),
    ],
)
def test_where_the_contents_cannot_be_read_the_name_tells(
    unreadable: bytes, filename: str, made_by: InitrdMaker | None
) -> None:
    assert look_at(unreadable, filename) == replace(CPIO, made_by=made_by)


def test_an_endless_initrd_is_not_unpacked_for_ever() -> None:
    packer = zstandard.ZstdCompressor().compressobj()
    packed = packer.compress(make_cpio(names=OF_DRACUT))
    packed += b"".join(packer.compress(bytes(1 << 20)) for _ in range(600)) + packer.flush()
    assert look_at(packed) == replace(CPIO, made_by=DRACUT)


@given(st.binary(max_size=300))
def test_nothing_that_is_dropped_raises(data: bytes) -> None:
    for each in (data, make_cpio() + data, gzip.compress(data)):
        assert look_at(each).format is RamdiskFormat.CPIO
