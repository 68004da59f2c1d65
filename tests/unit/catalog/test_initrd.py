import gzip
import io
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.catalog.decompress import Compression
from appliance.catalog.initrd import NotAnInitrd, identify
from appliance.catalog.model import Initrd, RamdiskFormat
from tests.unit.catalog.kernels import COMPRESS, make_cpio, make_ext2

CPIO = Initrd(RamdiskFormat.CPIO)


class CountingStream(io.BytesIO):
    """Counts what is read of it."""

    taken = 0

    def read(self, size: int | None = -1, /) -> bytes:
        data = super().read(size)
        self.taken += len(data)
        return data


def look_at(data: bytes) -> Initrd | NotAnInitrd:
    return identify(io.BytesIO(data))


def test_a_bare_cpio_is_an_initramfs() -> None:
    assert look_at(make_cpio()) == CPIO


def test_microcode_before_the_initramfs_is_an_initramfs() -> None:
    assert look_at(make_cpio(b"microcode") + gzip.compress(make_cpio())) == CPIO


@pytest.mark.parametrize("compression", list(COMPRESS))
def test_a_packed_cpio_is_an_initramfs(compression: Compression) -> None:
    assert look_at(COMPRESS[compression](make_cpio(bytes(100_000)))) == CPIO


def test_lzop_is_taken_for_an_initramfs() -> None:
    assert look_at(b"\x89LZO\0\r\n\x1a\n" + bytes(50)) == CPIO


@pytest.mark.parametrize("compression", list(COMPRESS))
def test_a_packed_ext2_says_its_size_in_kib(compression: Compression) -> None:
    image = make_ext2(blocks=102_400, log_block_size=2)
    assert look_at(COMPRESS[compression](image)) == Initrd(RamdiskFormat.EXT2, 409_600)


def test_a_bare_ext2_says_its_size_in_kib() -> None:
    assert look_at(make_ext2(4096)) == Initrd(RamdiskFormat.EXT2, 4096)


@pytest.mark.parametrize(("blocks", "log"), [(0, 0), (1, 7), (0xFFFFFFFF, 6), (1, 0xFFFFFFFF)])
def test_an_ext2_of_no_possible_size_is_refused(blocks: int, log: int) -> None:
    broken = NotAnInitrd("an ext2 file system whose superblock is broken")
    assert look_at(make_ext2(blocks, log)) == broken


def test_gzip_of_something_else_is_refused_by_name() -> None:
    assert look_at(gzip.compress(b"hello")) == NotAnInitrd(
        "gzip data that hold neither a cpio archive nor an ext2 file system, as an initrd must be"
    )


@pytest.mark.parametrize("compression", list(COMPRESS))
def test_of_a_decompression_bomb_little_is_read(compression: Compression) -> None:
    bomb = COMPRESS[compression](bytes(32 << 20))
    stream = CountingStream(bomb)
    assert isinstance(identify(stream), NotAnInitrd)
    assert stream.taken < (9 << 20 if compression is Compression.LZ4 else 200_000)


@given(st.sampled_from(list(COMPRESS)), st.integers(0, 300), st.binary(max_size=50))
def test_broken_data_are_refused_and_nothing_worse(
    compression: Compression, at: int, noise: bytes
) -> None:
    data = COMPRESS[compression](make_ext2())
    found = look_at(data[:at] + noise + data[at + len(noise) :])
    assert isinstance(found, Initrd | NotAnInitrd)


@given(st.binary(max_size=200))
def test_hostile_lz4_is_refused_and_nothing_worse(block: bytes) -> None:
    data = b"\x02\x21\x4c\x18" + len(block).to_bytes(4, "little") + block
    assert isinstance(look_at(data), Initrd | NotAnInitrd)


def test_real_modules_are_no_initrd(test_kernel_dir: Path) -> None:
    with next(test_kernel_dir.glob("modules-*.tar.zst")).open("rb") as stream:
        assert isinstance(identify(stream), NotAnInitrd)
