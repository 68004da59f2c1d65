from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.catalog.kernel import HEAD_LENGTH, identify
from appliance.catalog.model import Arch, CutShort, KernelImage, NotAKernel
from tests.unit.catalog.kernels import make_bzimage

WHOLE = make_bzimage("6.1.0-test")


def look_at(data: bytes) -> KernelImage | CutShort | NotAKernel:
    return identify(data[:HEAD_LENGTH], len(data))


def test_a_bzimage_says_its_version_architecture_and_length() -> None:
    assert look_at(WHOLE) == KernelImage("6.1.0-test", Arch.X86_64, len(WHOLE), efi_stub=True)


def test_a_kernel_without_a_pe_header_has_no_efi_stub() -> None:
    kernel = make_bzimage(efi_stub=False)
    assert look_at(kernel) == KernelImage("6.1.0-test", Arch.X86_64, len(kernel), efi_stub=False)


@pytest.mark.parametrize(("is_64bit", "protocol"), [(False, 0x20F), (True, 0x20B)])
def test_a_kernel_that_does_not_say_64_bit_counts_as_i386(is_64bit: bool, protocol: int) -> None:
    kernel = make_bzimage(is_64bit=is_64bit, protocol=protocol)
    assert look_at(kernel) == KernelImage("6.1.0-test", Arch.I386, len(kernel), efi_stub=True)


def test_a_signed_kernel_is_longer_than_its_header_says() -> None:
    assert look_at(WHOLE + b"certificate") == look_at(WHOLE)


def test_zero_setup_sectors_mean_four() -> None:
    kernel = bytearray(make_bzimage(setup_sects=4))
    kernel[0x1F1] = 0
    assert look_at(bytes(kernel)) == look_at(make_bzimage(setup_sects=4))


@given(st.integers(min_value=0, max_value=len(WHOLE) - 1))
def test_a_truncated_kernel_is_never_offered(length: int) -> None:
    found = look_at(WHOLE[:length])
    assert isinstance(found, CutShort | NotAKernel)
    if length >= 0x268:
        assert found == CutShort(length, len(WHOLE))


@given(st.binary(max_size=0x300), st.integers(0, 0x400), st.integers(0, 1 << 40))
def test_no_header_makes_reading_fail(noise: bytes, at: int, size: int) -> None:
    head = WHOLE[:at] + noise + WHOLE[at + len(noise) :]
    found = identify(head[:HEAD_LENGTH], size)
    assert not isinstance(found, KernelImage) or found.version.isascii()


@pytest.mark.parametrize("version", ["", "\x1b[31mred", "a\nb", "x" * 300])
def test_a_version_that_no_kernel_has_is_unknown(version: str) -> None:
    kernel = make_bzimage(version)
    assert look_at(kernel) == KernelImage("unknown", Arch.X86_64, len(kernel), efi_stub=True)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "an empty file"),
        (b"#!/bin/sh\n", "a shell script, not a kernel"),
        (b"hello, world\n", "a text file, not a kernel"),
        (b"\x7fELF" + bytes(60), "an ELF vmlinux: drop arch/x86/boot/bzImage instead"),
        (
            b"MZ" + bytes(54) + b"ARM\x64" + bytes(100),
            "an arm64 Image: not served yet, only x86 bzImage files are",
        ),
        (
            b"MZ\0\0zimg" + bytes(100),
            "an EFI zboot image: not served yet, only x86 bzImage files are",
        ),
        (
            b"\x1f\x8b" + bytes(60),
            "gzip data (an Image.gz or an initrd?): only x86 bzImage files are kernels",
        ),
        (bytes(5000), "not a kernel"),
    ],
)
def test_what_is_no_kernel_is_told_in_plain_words(data: bytes, reason: str) -> None:
    assert look_at(data) == NotAKernel(reason)


def test_a_real_kernel_says_what_its_file_name_says(test_kernel_dir: Path) -> None:
    kernels = {path.name: look_at(path.read_bytes()) for path in test_kernel_dir.glob("bzImage-*")}
    assert kernels == {
        name: KernelImage(
            name.removeprefix("bzImage-"),
            Arch.X86_64,
            (test_kernel_dir / name).stat().st_size,
            efi_stub=getattr(kernels[name], "efi_stub", False),
        )
        for name in kernels
    }
    assert kernels
