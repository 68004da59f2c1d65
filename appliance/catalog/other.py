"""What a file is that is no kernel which machines here can boot, in words that help."""

from __future__ import annotations

import struct

from appliance.catalog import pe
from appliance.catalog.model import NotAKernel

_UNPACK = "unpack it and drop its vmlinuz"
_INITRD = "an initrd is found as initrd-VERSION.img"
_NO_IMAGE = f"data without an arm64 Image in them, not a kernel; {_INITRD}"

# (offset, magic, what it is); the first that fits.
_MAGICS: tuple[tuple[int, bytes, str], ...] = (
    (0x38, b"RSC\x05", "a riscv64 Image: not served, there are x86 and arm64 machines only"),
    (0x24, b"\x18\x28\x6f\x01", "a zImage for 32-bit arm: not served, only x86 and arm64 are"),
    (0, b"\x27\x05\x19\x56", "a U-Boot uImage: drop the Image that it was made from"),
    (0, b"\xd0\x0d\xfe\xed", "a device tree or FIT image: drop the Image that it was made from"),
    (0, b"#!", "a shell script, not a kernel"),
    (0, b"07070", f"a cpio archive, not a kernel; {_INITRD}"),
    (0, b"!<arch>\ndebian", f"a Debian package: {_UNPACK}"),
    (0, b"\xed\xab\xee\xdb", f"an RPM package: {_UNPACK}"),
    (257, b"ustar", "a tar archive: unpack it and drop its bzImage or vmlinuz"),
    (0, b"PK\x03\x04", "a zip archive: unpack it and drop its bzImage or vmlinuz"),
    (0, b"\x1f\x8b", f"gzip {_NO_IMAGE}"),
    (0, b"\xfd7zXZ\0", f"xz {_NO_IMAGE}"),
    (0, b"\x28\xb5\x2f\xfd", f"zstd {_NO_IMAGE}"),
    (
        0,
        b"\x02\x21\x4c\x18",
        f"lz4 data, not a kernel (pack an Image with gzip); {_INITRD}",
    ),
    (0, b"BZh", f"bzip2 {_NO_IMAGE}"),
    (0x8001, b"CD001", "a CD image: mount it and drop its vmlinuz and initrd"),
)

# Names in the first kilobytes of programs that BIOS firmware loads.
_LOADER_NAMES_END = 0x2000
_LOADERS = ((b"PXELINUX", "pxelinux"), (b"SYSLINUX", "syslinux"), (b"ISOLINUX", "isolinux"))
_PXE_ENTRY = b"\xea\x05\x00\xc0\x07"  # ljmp 07c0:0005, how iPXE's .pxe and .kpxe begin
_LOADER = "a boot loader, not a kernel: Bootdrop brings its own"

# By a section that nothing else has.
_EFI_PROGRAMS = (
    (b".linux", "a unified kernel image: drop the kernel and the initrd that it was made from"),
    (b".sdmagic", f"systemd-boot, {_LOADER}"),
    (b"mods", f"GRUB, {_LOADER}"),
)
_LINUX_PE_MAGIC = b"\xcd\x23\x82\x81"  # include/linux/pe.h, at 0x38

# e_ident, type, machine, version, entry, offset of the program headers; elf(5), 64 bits
_ELF = struct.Struct("<16sHHIQQ")
_ELF_64_LITTLE_ENDIAN = b"\x7fELF\x02\x01"
_ELF_OBJECT = 1  # ET_REL
_ELF_PROGRAM_HEADER = struct.Struct("<IIQQ")  # type, flags, offset, address
_ELF_MACHINES = {62: "x86_64", 183: "arm64", 243: "riscv64", 258: "loongarch64"}
_ELF_INSTEAD = {
    "x86_64": "drop arch/x86/boot/bzImage instead",
    "arm64": "drop arch/arm64/boot/Image instead",
}
_KERNEL_ADDRESS = 1 << 63  # the upper half of the address space is the kernel's


def describe(head: bytes, size: int) -> NotAKernel:
    """Say what a file is, from its start; `size` is its length in bytes."""
    return NotAKernel(
        _by_magic(head)
        or _elf(head)
        or _efi(head, size)
        or _loader(head)
        or ("a text file, not a kernel" if _is_text(head) else "not a kernel")
    )


def _by_magic(head: bytes) -> str | None:
    if not head:
        return "an empty file"
    return next((what for offset, magic, what in _MAGICS if head.startswith(magic, offset)), None)


def _loader(head: bytes) -> str | None:
    for name, loader in _LOADERS:
        if name in head[:_LOADER_NAMES_END]:
            return f"{loader}, {_LOADER}"
    if head.startswith(_PXE_ENTRY):
        return f"a program for PXE firmware (iPXE?), {_LOADER}"
    if head[0x1FE:0x200] == b"\x55\xaa":
        return "a boot sector or a disk image, not a kernel"
    return None


def _elf(head: bytes) -> str | None:
    if not head.startswith(b"\x7fELF"):
        return None
    if len(head) < _ELF.size or not head.startswith(_ELF_64_LITTLE_ENDIAN):
        return "an ELF file (a vmlinux or a loader's module): drop arch/x86/boot/bzImage instead"
    _, kind, number, _, _, headers = _ELF.unpack_from(head)
    if kind == _ELF_OBJECT:
        return "an ELF object (a kernel's module?): modules go into modules-VERSION.cpio.gz"
    machine = _ELF_MACHINES.get(number, f"machine {number}")
    if not _is_vmlinux(head, headers):
        return f"an ELF program for {machine}, not a kernel"
    return f"an ELF vmlinux for {machine}: {_ELF_INSTEAD.get(machine, 'not served')}"


def _is_vmlinux(head: bytes, headers: int) -> bool:
    if headers + _ELF_PROGRAM_HEADER.size > len(head):
        return False
    address: int = _ELF_PROGRAM_HEADER.unpack_from(head, headers)[3]
    return address >= _KERNEL_ADDRESS


def _efi(head: bytes, size: int) -> str | None:
    if not head.startswith(b"MZ"):
        return None
    header = pe.parse(head, size)
    if not isinstance(header, pe.PeHeader):
        return "a DOS or EFI program, or the beginning of one, not a Linux kernel"
    machine = pe.machine_name(header.machine)
    if head.startswith(_LINUX_PE_MAGIC, 0x38):
        return f"a Linux kernel for {machine}: not served, there are x86 and arm64 machines only"
    for section, what in _EFI_PROGRAMS:
        if section in header.sections:
            return what
    return f"an EFI application for {machine}, not a Linux kernel"


def _is_text(head: bytes) -> bool:
    return not any(byte < 9 or 13 < byte < 32 for byte in head[:1024])
