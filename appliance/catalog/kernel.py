"""Tells what kernel a file is; one small function per format, in a file of its own."""

from __future__ import annotations

from collections.abc import Callable

from appliance.catalog import bzimage
from appliance.catalog.model import CutShort, KernelImage, NotAKernel

# The version string lies at most 0xFFFF + 0x200 bytes into a bzImage.
HEAD_LENGTH = 0x11000

_FORMATS: tuple[Callable[[bytes, int], KernelImage | CutShort | None], ...] = (bzimage.identify,)

# (offset, magic, what it is); the first that fits.
_OTHERS: tuple[tuple[int, bytes, str], ...] = (
    (56, b"ARM\x64", "an arm64 Image: not served yet, only x86 bzImage files are"),
    (4, b"zimg", "an EFI zboot image: not served yet, only x86 bzImage files are"),
    (0, b"\x7fELF", "an ELF vmlinux: drop arch/x86/boot/bzImage instead"),
    (0, b"#!", "a shell script, not a kernel"),
    (0, b"07070", "a cpio archive, not a kernel; an initrd is found as initrd-VERSION.img"),
    (0, b"!<arch>\ndebian", "a Debian package: unpack it and drop its vmlinuz"),
    (0, b"\xed\xab\xee\xdb", "an RPM package: unpack it and drop its vmlinuz"),
    (257, b"ustar", "a tar archive: unpack it and drop its bzImage or vmlinuz"),
    (0, b"PK\x03\x04", "a zip archive: unpack it and drop its bzImage or vmlinuz"),
    (0, b"\x1f\x8b", "gzip data (an Image.gz or an initrd?): only x86 bzImage files are kernels"),
    (0, b"\xfd7zXZ\0", "xz data, not a kernel; an initrd is found as initrd-VERSION.img"),
    (0, b"\x28\xb5\x2f\xfd", "zstd data, not a kernel; an initrd is found as initrd-VERSION.img"),
    (0, b"\x02\x21\x4c\x18", "lz4 data, not a kernel; an initrd is found as initrd-VERSION.img"),
    (0, b"BZh", "bzip2 data, not a kernel; an initrd is found as initrd-VERSION.img"),
    (0x8001, b"CD001", "a CD image: mount it and drop its vmlinuz and initrd"),
    (0, b"MZ", "an EFI program or a beginning of one, not a Linux kernel"),
)


def _is_text(head: bytes) -> bool:
    return not any(byte < 9 or 13 < byte < 32 for byte in head[:1024])


def identify(head: bytes, size: int) -> KernelImage | CutShort | NotAKernel:
    """Tell which kernel a file is, or why it is none.

    `head` is the file's first HEAD_LENGTH bytes (or all of a shorter file), `size` its length in
    bytes.
    """
    for read in _FORMATS:
        found = read(head, size)
        if found is not None:
            return found
    if not head:
        return NotAKernel("an empty file")
    for offset, magic, what in _OTHERS:
        if head.startswith(magic, offset):
            return NotAKernel(what)
    return NotAKernel("a text file, not a kernel" if _is_text(head) else "not a kernel")
