import io
from collections.abc import Callable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from appliance.catalog import image
from appliance.catalog.decompress import Compression
from appliance.catalog.ikconfig import extract
from appliance.catalog.kernel import identify
from appliance.catalog.model import Arch, CutShort, KernelImage, NotAKernel
from tests.unit.catalog.kernels import (
    COMPRESS,
    image_header,
    make_image,
    make_zboot,
    packed_gzip,
)

PACKED = sorted(COMPRESS.keys() - {Compression.LZ4})
VERSION = "6.12.0-arm"
IMAGE = make_image(VERSION)
IMAGE_GZ = packed_gzip(IMAGE)
ZBOOT = make_zboot(IMAGE)
WHOLE = {"Image": IMAGE, "Image.gz": IMAGE_GZ, "zboot": ZBOOT}
CONFIG = "CONFIG_A=y\n"


def look_at(data: bytes) -> KernelImage | CutShort | NotAKernel:
    return identify(io.BytesIO(data), len(data))


def a_kernel(
    length: int | None, *, efi_stub: bool = True, packed: Compression | None = None
) -> KernelImage:
    return KernelImage(VERSION, Arch.ARM64, length, efi_stub, packed)


def test_an_image_is_as_long_as_its_sections_and_needs_more_memory_than_that() -> None:
    assert int.from_bytes(IMAGE[16:24], "little") > len(IMAGE)
    assert look_at(IMAGE) == a_kernel(len(IMAGE))


def test_a_signed_image_is_whole_with_its_certificate() -> None:
    signed = make_image(VERSION, certificates=b"certificate")
    assert look_at(signed) == a_kernel(len(signed))
    assert look_at(signed[:-1]) == CutShort(len(signed) - 1, len(signed))


def test_an_image_without_an_efi_stub_does_not_say_how_long_it_is() -> None:
    bare = make_image(VERSION, efi_stub=False)
    assert look_at(bare) == a_kernel(None, efi_stub=False)
    assert look_at(bare[:-1]) == a_kernel(None, efi_stub=False)


@pytest.mark.parametrize("compression", PACKED)
def test_a_packed_image_is_read_through_its_packing(compression: Compression) -> None:
    packed = COMPRESS[compression](IMAGE)
    assert look_at(packed) == a_kernel(len(packed), packed=compression)


def test_an_image_that_only_a_slow_decoder_could_read_is_to_be_packed_otherwise() -> None:
    found = look_at(COMPRESS[Compression.LZ4](IMAGE))
    assert found == NotAKernel(
        "lz4 data, not a kernel (pack an Image with gzip); an initrd is found as initrd-VERSION.img"
    )


@pytest.mark.parametrize("compression", list(COMPRESS))
def test_a_zboot_kernel_unpacks_itself(compression: Compression) -> None:
    zboot = make_zboot(IMAGE, compression)
    assert look_at(zboot) == a_kernel(len(zboot))


@given(st.sampled_from(sorted(WHOLE)), st.floats(0, 1, exclude_max=True))
@example("Image", 63.5 / len(IMAGE))
def test_a_truncated_kernel_is_never_offered(name: str, part: float) -> None:
    whole = WHOLE[name]
    found = look_at(whole[: int(part * len(whole))])
    assert not isinstance(found, KernelImage)


def test_how_much_is_missing_is_told_where_it_is_known() -> None:
    assert look_at(IMAGE[:10000]) == CutShort(10000, len(IMAGE))
    assert look_at(IMAGE[:0x50]) == CutShort(0x50, 0x58)
    assert look_at(ZBOOT[:0x1100]) == CutShort(0x1100, len(ZBOOT))
    missing = look_at(IMAGE_GZ[:-1])
    assert missing == CutShort(len(IMAGE_GZ) - 1, None)
    assert isinstance(missing, CutShort)
    assert missing.reason == (
        f"cut short: its packed data go on after the {len(IMAGE_GZ) - 1} bytes; copy it again"
    )


def test_an_image_that_was_cut_before_it_was_packed_is_cut_short() -> None:
    packed = packed_gzip(IMAGE[:-100])
    assert look_at(packed) == CutShort(len(packed), None)


def test_broken_packed_data_are_told() -> None:
    middle = len(IMAGE_GZ) - 100
    broken = IMAGE_GZ[:middle] + bytes(50) + IMAGE_GZ[middle + 50 :]
    found = look_at(broken)
    assert isinstance(found, NotAKernel)
    assert found.reason.startswith("an arm64 Image, but broken gzip data: ")


def test_a_zboot_kernel_with_nothing_in_it_is_none() -> None:
    empty = make_zboot(IMAGE).replace(b"\x1f\x8b\x08", b"\0\0\0", 1)
    assert look_at(empty) == NotAKernel("an EFI zboot image with nothing packed in it")


def test_a_packed_image_that_unpacks_without_end_is_refused(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(image, "LONGEST", 4 << 20)
    bomb = packed_gzip(image_header(1 << 20) + bytes(16 << 20))
    assert look_at(bomb) == NotAKernel("an arm64 Image that unpacks to more than 4 MiB")


@given(st.sampled_from(sorted(WHOLE)), st.integers(0, 0x200), st.binary(max_size=0x100))
def test_no_header_makes_reading_fail(name: str, at: int, noise: bytes) -> None:
    whole = WHOLE[name]
    found = look_at(whole[:at] + noise + whole[at + len(noise) :])
    assert isinstance(found, KernelImage | CutShort | NotAKernel)


@pytest.mark.parametrize(
    "make", [lambda bare: bare, make_zboot, lambda bare: make_zboot(bare, Compression.ZSTD)]
)
def test_the_config_is_found_in_an_image_bare_or_packed(make: Callable[[bytes], bytes]) -> None:
    assert extract(io.BytesIO(make(make_image(VERSION, config=CONFIG)))) == CONFIG
    assert extract(io.BytesIO(make(IMAGE))) is None


def test_an_image_of_holes_is_not_read_to_its_end(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(image, "LONGEST", 1 << 20)
    endless = io.BytesIO(image_header(1 << 20) + bytes(16 << 20))
    found = identify(endless, len(endless.getvalue()))
    assert isinstance(found, KernelImage)
    assert endless.tell() <= 1 << 20
