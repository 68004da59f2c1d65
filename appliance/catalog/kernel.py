"""Tells what kernel a file is; one small function per format, in a file of its own."""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

from appliance.catalog import bzimage, image, other, zboot
from appliance.catalog.decompress import Section, decompress, pieces, recognise
from appliance.catalog.model import HEAD_LENGTH, CutShort, KernelImage, NotAKernel


def identify(stream: BinaryIO, size: int) -> KernelImage | CutShort | NotAKernel:
    """Tell which kernel a file is, or why it is none; docs/formats.md has what is read.

    `stream` is the file, `size` its length in bytes. An x86 kernel tells by its first HEAD_LENGTH
    bytes; of an arm64 kernel the version alone lies megabytes in, packed or not.
    """
    stream.seek(0)
    head = stream.read(HEAD_LENGTH)
    return (
        bzimage.identify(head, size)
        or zboot.identify(stream, head, size)
        or image.identify(stream, head, size)
        or image.identify_packed(stream, head, size)
        or other.describe(head, size)
    )


def contents(stream: BinaryIO) -> Iterator[bytes]:
    """Yield a kernel's code and data, unpacked as it unpacks itself; nothing for what is none.

    Raises decompress.Corrupt, after all that could be unpacked.
    """
    stream.seek(0)
    head = stream.read(HEAD_LENGTH)
    where = bzimage.payload(head) or zboot.payload(head)
    if where is not None:
        compression = recognise(Section(stream, *where).read(16))
        if compression is not None:
            yield from decompress(Section(stream, *where), compression, image.LONGEST)
    elif image.is_image(head):
        stream.seek(0)
        yield from pieces(stream)
