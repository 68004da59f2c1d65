import io
import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.catalog.kernel import identify
from appliance.catalog.model import HEAD_LENGTH, Arch, CutShort, KernelImage, NotAKernel
from tests.unit.catalog.kernels import make_bzimage, make_image, make_pe, make_zboot

WHOLE = make_bzimage("6.1.0-test")


def look_at(data: bytes) -> KernelImage | CutShort | NotAKernel:
    return identify(io.BytesIO(data), len(data))


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
    found = identify(io.BytesIO(head[:HEAD_LENGTH]), size)
    assert not isinstance(found, KernelImage) or found.version.isascii()


@pytest.mark.parametrize("version", ["", "\x1b[31mred", "a\nb", "x" * 300])
def test_a_version_that_no_kernel_has_is_unknown(version: str) -> None:
    kernel = make_bzimage(version)
    assert look_at(kernel) == KernelImage("unknown", Arch.X86_64, len(kernel), efi_stub=True)


def test_a_certificate_that_was_cut_off_is_missed() -> None:
    signed = make_bzimage(certificates=b"certificate")
    assert look_at(signed) == KernelImage("6.1.0-test", Arch.X86_64, len(signed), efi_stub=True)
    assert look_at(signed[:-1]) == CutShort(len(signed) - 1, len(signed))


@pytest.mark.parametrize(
    ("version_string", "reason"),
    [
        (
            b"Memtest86+ v7.20",
            "Memtest86+, a program with the header of a Linux kernel, not a kernel",
        ),
        (
            b"MEMDISK 6.04 20250413",
            "MEMDISK, a program with the header of a Linux kernel, not a kernel",
        ),
        (
            b"1.21.1+git20250501.dad20602",
            "a boot loader (iPXE?), a program with the header of a Linux kernel, not a kernel",
        ),
    ],
)
def test_what_borrows_the_header_of_a_kernel_is_told_from_one(
    version_string: bytes, reason: str
) -> None:
    program = bytearray(make_bzimage(protocol=0x207))
    program[0x300:0x380] = version_string.ljust(0x80, b"\0")
    # As memtest86+'s, it is some bytes shorter than syssize says: that is not what is wrong.
    assert look_at(bytes(program[:-4])) == NotAKernel(reason)


ELF = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")


def an_elf(kind: int, machine: int, address: int) -> bytes:
    header = ELF + struct.pack("<HHIQQ", kind, machine, 1, 0x1000000, 64).ljust(48, b"\0")
    return header + struct.pack("<IIQQ", 1, 5, 0x200000, address) + bytes(5000)


EFI_PROGRAM = make_pe(0x8664, data=b"program")


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        (b"", "an empty file"),
        (b"#!/bin/sh\n", "a shell script, not a kernel"),
        (b"hello, world\n", "a text file, not a kernel"),
        (
            an_elf(2, 62, 0xFFFFFFFF81000000),
            "an ELF vmlinux for x86_64: drop arch/x86/boot/bzImage instead",
        ),
        (
            an_elf(3, 183, 0xFFFF800080000000),
            "an ELF vmlinux for arm64: drop arch/arm64/boot/Image instead",
        ),
        (
            an_elf(2, 243, 0xFFFFFFFF80000000),
            "an ELF vmlinux for riscv64: not served",
        ),
        (an_elf(2, 62, 0x400000), "an ELF program for x86_64, not a kernel"),
        (
            an_elf(1, 62, 0),
            "an ELF object (a kernel's module?): modules go into modules-VERSION.cpio.gz",
        ),
        (
            b"\x7fELF\x01\x01" + bytes(60),
            "an ELF file (a vmlinux or a loader's module): drop arch/x86/boot/bzImage instead",
        ),
        (EFI_PROGRAM, "an EFI application for x86_64, not a Linux kernel"),
        (
            EFI_PROGRAM.replace(b".text\0", b".linux"),
            "a unified kernel image: drop the kernel and the initrd that it was made from",
        ),
        (
            EFI_PROGRAM.replace(b".text", b"mods\0"),
            "GRUB, a boot loader, not a kernel: Bootdrop brings its own",
        ),
        (EFI_PROGRAM[:50], "a DOS or EFI program, or the beginning of one, not a Linux kernel"),
        (
            make_pe(0x6264, header=b"MZ".ljust(0x38, b"\0") + b"\xcd\x23\x82\x81"),
            "a Linux kernel for loongarch64: not served, there are x86 and arm64 machines only",
        ),
        (
            make_zboot(make_image(), machine=0x5064),
            "an EFI zboot kernel for riscv64: not served, only arm64's are",
        ),
        (
            make_pe(0x5064, header=b"MZ".ljust(0x38, b"\0") + b"RSC\x05"),
            "a riscv64 Image: not served, there are x86 and arm64 machines only",
        ),
        (
            b"\xea\x05\x00\xc0\x07" + bytes(600),
            "a program for PXE firmware (iPXE?), a boot loader, not a kernel: "
            "Bootdrop brings its own",
        ),
        (
            b"\xea\x24\x7c" + bytes(3000) + b"\r\nPXELINUX 6.04" + bytes(600),
            "pxelinux, a boot loader, not a kernel: Bootdrop brings its own",
        ),
        (
            bytes(510) + b"\x55\xaa" + bytes(600),
            "a boot sector or a disk image, not a kernel",
        ),
        (
            b"\x1f\x8b" + bytes(60),
            "gzip data without an arm64 Image in them, not a kernel; "
            "an initrd is found as initrd-VERSION.img",
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
