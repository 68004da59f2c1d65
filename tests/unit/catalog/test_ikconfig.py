import io
import tracemalloc
from pathlib import Path

import lz4.block
import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.catalog.decompress import Compression, decompress
from appliance.catalog.ikconfig import extract, parse_config
from appliance.catalog.model import KernelConfig
from tests.unit.catalog.kernels import COMPRESS, make_bzimage

LZ4_BLOCK = 8 << 20

TEXT = '# a comment\nCONFIG_A=y\n# CONFIG_B is not set\nCONFIG_C=m\nCONFIG_D="x=y"\nCONFIG_E=12\n'


def config_of(kernel: bytes) -> str | None:
    return extract(io.BytesIO(kernel))


@pytest.mark.parametrize("compression", list(COMPRESS))
def test_the_config_is_found_whatever_packs_the_kernel(compression: Compression) -> None:
    assert config_of(make_bzimage(config=TEXT, compression=compression)) == TEXT


@pytest.mark.parametrize("compression", list(COMPRESS))
def test_a_kernel_without_a_config_has_none(compression: Compression) -> None:
    assert config_of(make_bzimage(compression=compression)) is None


@pytest.mark.parametrize(
    "kernel",
    [
        b"",
        b"hello",
        make_bzimage(payload=b""),
        make_bzimage(payload=b"\x89LZO\0\r\n\x1a\n" + bytes(100)),
        make_bzimage(payload=b"\x1f\x8b\x08broken"),
        make_bzimage(config=TEXT, protocol=0x207),
    ],
)
def test_a_kernel_that_cannot_be_read_has_no_config(kernel: bytes) -> None:
    assert config_of(kernel) is None


@given(st.integers(0, 0x300), st.binary(min_size=1, max_size=40))
def test_no_kernel_makes_reading_its_config_fail(at: int, noise: bytes) -> None:
    kernel = make_bzimage(config=TEXT)
    found = config_of(kernel[:at] + noise + kernel[at + len(noise) :])
    assert found is None or found == TEXT


def test_a_kernel_that_unpacks_to_gigabytes_takes_constant_memory() -> None:
    packed = COMPRESS[Compression.ZSTD](bytes(1 << 20))
    kernel = make_bzimage(payload=COMPRESS[Compression.GZIP](bytes(256 << 20)) + packed)
    tracemalloc.start()
    try:
        assert config_of(kernel) is None
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()


def test_a_config_without_end_is_not_taken() -> None:
    assert config_of(make_bzimage(config="CONFIG_A=y\n" * 500_000)) is None


def lz4_legacy(data: bytes) -> bytes:
    """Pack as `lz4 -l` does: a magic number, then blocks of 8 MiB, each with its packed length."""
    blocks = [
        lz4.block.compress(data[start : start + LZ4_BLOCK], store_size=False)
        for start in range(0, len(data), LZ4_BLOCK)
    ]
    sized = (len(block).to_bytes(4, "little") + block for block in blocks)
    return bytes.fromhex("02214c18") + b"".join(sized)


def test_what_lz4_packs_is_read() -> None:
    data = b"".join(b"%d, the same again and again, " % (n % 977) for n in range(400_000))
    source = io.BytesIO(lz4_legacy(data) + len(data).to_bytes(4, "little"))
    assert b"".join(decompress(source, Compression.LZ4, 1 << 30)) == data


def test_a_config_holds_what_is_set() -> None:
    assert parse_config(TEXT) == KernelConfig(
        frozenset({("CONFIG_A", "y"), ("CONFIG_C", "m"), ("CONFIG_D", '"x=y"'), ("CONFIG_E", "12")})
    )


def test_of_two_lines_for_an_option_the_last_counts() -> None:
    assert parse_config("CONFIG_A=y\nCONFIG_A=m\n") == KernelConfig(frozenset({("CONFIG_A", "m")}))


def test_a_real_kernel_carries_the_config_that_it_was_built_from(test_kernel_dir: Path) -> None:
    beside = next(test_kernel_dir.glob("config-*"))
    kernel = test_kernel_dir / beside.name.replace("config-", "bzImage-")
    with kernel.open("rb") as stream:
        assert extract(stream) == beside.read_text()
