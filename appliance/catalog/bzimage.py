"""x86 kernels: the setup header of a bzImage (Documentation/arch/x86/boot.rst)."""

from __future__ import annotations

import re
import struct

from appliance.catalog import pe
from appliance.catalog.model import UNKNOWN_VERSION, Arch, CutShort, KernelImage, NotAKernel

_SECTOR = 512
_PARAGRAPH = 16
_SHORTEST = 0x268  # end of the header's last field that is read here
_LOAD_64BIT = 1  # xloadflags bit 0, XLF_KERNEL_64
_YOUNGEST_IMITATION = 0x208  # boot loaders with a version alone have older protocols
# The first word of the version string; UTS_RELEASE has 64 bytes at most.
_FIRST_WORD = re.compile(rb"(?P<word>[0-9A-Za-z._+~:@-]{1,64})(?:(?P<linux> \()|[ \0])")


def _number(head: bytes, offset: int, kind: str) -> int:
    value: int = struct.unpack_from("<" + kind, head, offset)[0]
    return value


def _has_setup_header(head: bytes) -> bool:
    return head[0x1FE:0x200] == b"\x55\xaa" and head[0x202:0x206] == b"HdrS"


def _setup_length(head: bytes) -> int:
    return ((head[0x1F1] or 4) + 1) * _SECTOR  # 0 means 4, for the oldest loaders


def _protocol(head: bytes) -> int:
    return _number(head, 0x206, "H")


def _version(head: bytes) -> str | NotAKernel:
    """Return the release, which Linux writes as `RELEASE (user@host) …` (boot/version.c).

    Other programs that borrow the header have a name there, or their own version alone: memtest86+,
    MEMDISK, iPXE's .lkrn.
    """
    pointer = _number(head, 0x20E, "H")
    found = _FIRST_WORD.match(head, 0x200 + pointer) if pointer else None
    if found is None:
        return UNKNOWN_VERSION
    word = found["word"].decode("ascii")
    if found["linux"] or (word[0].isdigit() and _protocol(head) >= _YOUNGEST_IMITATION):
        return word
    name = "a boot loader (iPXE?)" if word[0].isdigit() else word
    return NotAKernel(f"{name}, a program with the header of a Linux kernel, not a kernel")


def _is_64bit(head: bytes) -> bool:
    return _protocol(head) >= 0x20C and bool(_number(head, 0x236, "H") & _LOAD_64BIT)


def identify(head: bytes, size: int) -> KernelImage | CutShort | NotAKernel | None:
    """Read a bzImage's header; None where it is another format.

    `head` is the file's start (HEAD_LENGTH bytes, or all of a shorter file), `size` the file's
    length in bytes. Before boot protocol 2.12 nothing tells 64 bit from 32: such a kernel counts as
    i386, which every BIOS machine boots. A signed kernel is longer than its setup header says: its
    certificates are behind, where the PE header points.
    """
    if not _has_setup_header(head):
        return None
    if len(head) < _SHORTEST:
        return CutShort(size, _SHORTEST)
    version = _version(head)
    if isinstance(version, NotAKernel):
        return version
    firmware = pe.parse(head, size)
    if isinstance(firmware, CutShort):
        return firmware
    # boot.rst: syssize has 16 bits only before protocol 2.04.
    paragraphs = _number(head, 0x1F4, "I" if _protocol(head) >= 0x204 else "H")
    length = _setup_length(head) + paragraphs * _PARAGRAPH
    if firmware is not None:
        length = max(length, firmware.certificates_end)
    if size < length:
        return CutShort(size, length)
    return KernelImage(
        version=version,
        arch=Arch.X86_64 if _is_64bit(head) else Arch.I386,
        length=length,
        efi_stub=firmware is not None,
    )


def payload(head: bytes) -> tuple[int, int] | None:
    """Return offset and length, in bytes of the file, of the compressed vmlinux inside.

    None where it is no bzImage or older than boot protocol 2.08. The values are the header's word
    alone: the reader has to expect them past the end of the file.
    """
    if not _has_setup_header(head) or len(head) < _SHORTEST or _protocol(head) < 0x208:
        return None
    return _setup_length(head) + _number(head, 0x248, "I"), _number(head, 0x24C, "I")
