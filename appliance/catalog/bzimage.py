"""x86 kernels: the setup header of a bzImage (Documentation/arch/x86/boot.rst)."""

from __future__ import annotations

import re
import struct

from appliance.catalog.model import Arch, CutShort, KernelImage

_SECTOR = 512
_PARAGRAPH = 16
_SHORTEST = 0x268  # end of the header's last field that is read here
_LOAD_64BIT = 1  # xloadflags bit 0, XLF_KERNEL_64
_UNKNOWN_VERSION = "unknown"
_RELEASE = re.compile(rb"[0-9A-Za-z._+~:@-]{1,64}(?=[ \0])")  # UTS_RELEASE, 64 bytes at most


def _number(head: bytes, offset: int, kind: str) -> int:
    value: int = struct.unpack_from("<" + kind, head, offset)[0]
    return value


def _has_setup_header(head: bytes) -> bool:
    return head[0x1FE:0x200] == b"\x55\xaa" and head[0x202:0x206] == b"HdrS"


def _setup_length(head: bytes) -> int:
    return ((head[0x1F1] or 4) + 1) * _SECTOR  # 0 means 4, for the oldest loaders


def _protocol(head: bytes) -> int:
    return _number(head, 0x206, "H")


def _version(head: bytes) -> str:
    pointer = _number(head, 0x20E, "H")
    release = _RELEASE.match(head, 0x200 + pointer) if pointer else None
    return release.group().decode("ascii") if release else _UNKNOWN_VERSION


def _is_64bit(head: bytes) -> bool:
    return _protocol(head) >= 0x20C and bool(_number(head, 0x236, "H") & _LOAD_64BIT)


def _has_pe_header(head: bytes) -> bool:
    pe = _number(head, 0x3C, "I")
    return head[:2] == b"MZ" and head[pe : pe + 4] == b"PE\0\0"


def identify(head: bytes, size: int) -> KernelImage | CutShort | None:
    """Read a bzImage's header; None where it is another format.

    `head` is the file's start (kernel.HEAD_LENGTH bytes, or all of a shorter file), `size` the
    file's length in bytes. Before boot protocol 2.12 nothing tells 64 bit from 32: such a kernel
    counts as i386, which every BIOS machine boots. A signed kernel is longer than its header
    says, a whole one never shorter.
    """
    if not _has_setup_header(head):
        return None
    if len(head) < _SHORTEST:
        return CutShort(size, _SHORTEST)
    # boot.rst: syssize has 16 bits only before protocol 2.04.
    paragraphs = _number(head, 0x1F4, "I" if _protocol(head) >= 0x204 else "H")
    length = _setup_length(head) + paragraphs * _PARAGRAPH
    if size < length:
        return CutShort(size, length)
    return KernelImage(
        version=_version(head),
        arch=Arch.X86_64 if _is_64bit(head) else Arch.I386,
        length=length,
        efi_stub=_has_pe_header(head),
    )


def payload(head: bytes) -> tuple[int, int] | None:
    """Return offset and length, in bytes of the file, of the compressed vmlinux inside.

    None where it is no bzImage or older than boot protocol 2.08. The values are the header's word
    alone: the reader has to expect them past the end of the file.
    """
    if not _has_setup_header(head) or len(head) < _SHORTEST or _protocol(head) < 0x208:
        return None
    return _setup_length(head) + _number(head, 0x248, "I"), _number(head, 0x24C, "I")
