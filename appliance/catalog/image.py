"""arm64 kernels: the Image, bare or packed whole (Documentation/arch/arm64/booting.rst)."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import BinaryIO

from appliance.catalog import banner, pe
from appliance.catalog.decompress import (
    Compression,
    Corrupt,
    Section,
    decompress,
    pieces,
    recognise,
)
from appliance.catalog.model import HEAD_LENGTH, Arch, CutShort, KernelImage, NotAKernel

LONGEST = 512 << 20  # bytes of a kernel unpacked; today's have 40 million
# Not lz4: its decoder is our own, and takes seconds while other kernels wait to be published.
_UNPACKED = frozenset(Compression) - {Compression.LZ4, Compression.LZOP}
_HEADER = 0x40  # bytes
_MAGIC_AT = 0x38
_MAGIC = b"ARM\x64"


def is_image(head: bytes) -> bool:
    """Tell from a file's start whether it is an arm64 Image."""
    return head.startswith(_MAGIC, _MAGIC_AT)


def identify(stream: BinaryIO, head: bytes, size: int) -> KernelImage | CutShort | None:
    """Read an arm64 Image; None where it is another format.

    `stream` is the whole file, `head` its start, `size` its length in bytes. image_size in the
    header counts the memory that the kernel needs, zeroed data included, so a whole file is
    shorter: its length is what the PE header says. Without that header, which CONFIG_EFI gives it,
    nothing tells, and no firmware can start it either.
    """
    if not is_image(head):
        return None
    found = _read_header(head, size)
    if isinstance(found, CutShort):
        return found
    # An endless file, or one of holes, would be read for minutes while others wait.
    return replace(found, version=banner.version(pieces(Section(stream, 0, LONGEST))))


def identify_packed(
    stream: BinaryIO, head: bytes, size: int
) -> KernelImage | CutShort | NotAKernel | None:
    """Read an Image.gz or an Image packed otherwise; None where something else is packed.

    Unpacks all of it, some tenths of a second: nothing but its end tells that it is whole.
    """
    compression = recognise(head)
    if compression not in _UNPACKED or not _begins_with_image(stream, compression):
        return None
    stream.seek(0)
    contents = _Contents(decompress(stream, compression, LONGEST))
    try:
        version = banner.version(contents)
        for _ in contents:
            continue
    except Corrupt as error:
        return NotAKernel(f"an arm64 Image, but {error}; copy it again")
    if contents.size >= LONGEST:
        return NotAKernel(f"an arm64 Image that unpacks to more than {LONGEST >> 20} MiB")
    inside = _read_header(contents.head, contents.size)
    if isinstance(inside, CutShort) or not contents.ended:
        return CutShort(size, None)
    return replace(inside, version=version, length=size, packed=compression)


def _begins_with_image(stream: BinaryIO, compression: Compression) -> bool:
    stream.seek(0)
    try:
        return is_image(b"".join(decompress(stream, compression, HEAD_LENGTH)))
    except Corrupt:
        return False


class _Contents:
    """What a stream unpacks to, seen once: its start is kept, all of it is counted."""

    def __init__(self, unpacking: Iterator[bytes]) -> None:
        self._unpacking = unpacking
        self.head = b""
        self.size = 0
        self.ended = False  # the stream had an end, or is of a kind that does not tell

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        try:
            piece = next(self._unpacking)
        except StopIteration as end:
            self.ended = self.ended or bool(end.value)
            raise
        self.head += piece[: HEAD_LENGTH - len(self.head)]
        self.size += len(piece)
        return piece


def _read_header(head: bytes, size: int) -> KernelImage | CutShort:
    firmware = pe.parse(head, size) if len(head) >= _HEADER else CutShort(size, _HEADER)
    if isinstance(firmware, CutShort):
        return firmware
    length = firmware.length if firmware else None
    if length is not None and size < length:
        return CutShort(size, length)
    return KernelImage("", Arch.ARM64, length, efi_stub=firmware is not None)
