"""EFI zboot kernels: an EFI program that unpacks the kernel in it (efi/libstub/zboot-header.S)."""

from __future__ import annotations

import struct
from typing import BinaryIO

from appliance.catalog import banner, pe
from appliance.catalog.decompress import Compression, Corrupt, Section, decompress, recognise
from appliance.catalog.image import LONGEST
from appliance.catalog.model import UNKNOWN_VERSION, Arch, CutShort, KernelImage, NotAKernel

_MAGIC_AT = 4
_MAGIC = b"zimg"
_PAYLOAD = struct.Struct("<II")  # offset, length
_PAYLOAD_AT = 8
# The compression's name comes next, at 0x18; the payload's own magic number is what counts.
_HEADER = 0x40


def payload(head: bytes) -> tuple[int, int] | None:
    """Return offset and length, in bytes of the file, of the packed kernel; None for no zboot.

    The values are the header's word alone.
    """
    if head[:2] != b"MZ" or not head.startswith(_MAGIC, _MAGIC_AT) or len(head) < _HEADER:
        return None
    offset, length = _PAYLOAD.unpack_from(head, _PAYLOAD_AT)
    return offset, length


def identify(
    stream: BinaryIO, head: bytes, size: int
) -> KernelImage | CutShort | NotAKernel | None:
    """Read a zboot kernel; None where it is another format.

    `stream` is the whole file, `head` its start, `size` its length in bytes. Its version is in what
    it unpacks to, which takes tenths of a second.
    """
    where = payload(head)
    if where is None:
        return None
    firmware = pe.parse(head, size)
    if isinstance(firmware, CutShort):
        return firmware
    if firmware is None or firmware.machine != pe.Machine.ARM64:
        machine = pe.machine_name(firmware.machine) if firmware else "no machine"
        return NotAKernel(f"an EFI zboot kernel for {machine}: not served, only arm64's are")
    length = max(firmware.length, sum(where))
    if size < length:
        return CutShort(size, length)
    version = _version(stream, where)
    if isinstance(version, NotAKernel):
        return version
    return KernelImage(version, Arch.ARM64, length, efi_stub=True)


def _version(stream: BinaryIO, where: tuple[int, int]) -> str | NotAKernel:
    compression = recognise(Section(stream, *where).read(16))
    if compression is None:
        return NotAKernel("an EFI zboot image with nothing packed in it")
    if compression is Compression.LZOP:
        return UNKNOWN_VERSION
    try:
        return banner.version(decompress(Section(stream, *where), compression, LONGEST))
    except Corrupt as error:
        return NotAKernel(f"an EFI zboot image, but {error}; copy it again")
