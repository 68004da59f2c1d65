"""What the kernel's own decompressors read (lib/decompress*.c), piece by piece within limits."""

from __future__ import annotations

import bz2
import lzma
import zlib
from collections.abc import Callable, Generator, Iterator
from enum import StrEnum
from typing import BinaryIO, Protocol, TypeAlias

import zstandard

_PIECE = 1 << 18  # bytes of output at a time
_INPUT = 1 << 16
_WINDOW = 1 << 27  # bytes; `zstd -22 --ultra`, with which kernels are packed, needs 128 MiB
_LZ4_BLOCK = 8 << 20  # output of one block of the legacy format
_LZ4_BOUND = _LZ4_BLOCK + _LZ4_BLOCK // 255 + 16  # LZ4_COMPRESSBOUND


class Compression(StrEnum):
    """A compression, by the name that people know it by."""

    GZIP = "gzip"
    XZ = "xz"
    ZSTD = "zstd"
    LZ4 = "lz4"  # the legacy frame, the only one that the kernel reads
    LZMA = "lzma"
    BZIP2 = "bzip2"
    LZOP = "lzop"  # recognised, never read: no decoder


_MAGICS = (
    (b"\x1f\x8b", Compression.GZIP),
    (b"\xfd7zXZ\0", Compression.XZ),
    (b"\x28\xb5\x2f\xfd", Compression.ZSTD),
    (b"\x02\x21\x4c\x18", Compression.LZ4),
    (b"\x5d\0\0", Compression.LZMA),
    (b"BZh", Compression.BZIP2),
    (b"\x89LZO\0\r\n\x1a\n", Compression.LZOP),
)


class Corrupt(Exception):
    """Compressed data that its format does not allow, or that no decoder here reads."""


class Readable(Protocol):
    """Something that is read from its start to its end."""

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, b"" at the end."""
        ...


class Section:
    """A part of a file, read from its start to its end; offset and length in bytes."""

    def __init__(self, stream: BinaryIO, offset: int, length: int) -> None:
        stream.seek(offset)
        self._stream = stream
        self._left = length

    def read(self, size: int, /) -> bytes:
        """Return at most `size` bytes, b"" at the section's or the file's end."""
        data = self._stream.read(min(size, self._left))
        self._left -= len(data)
        return data


def pieces(source: Readable) -> Iterator[bytes]:
    """Yield all that a source has."""
    return iter(lambda: source.read(_PIECE), b"")


# Yields what a stream unpacks to; returns False where the data end before the stream does. zstd and
# lz4 do not tell, so True.
_Unpacking: TypeAlias = Generator[bytes, None, bool]


def recognise(head: bytes) -> Compression | None:
    """Tell the compression from a stream's first 9 bytes; None where no magic fits."""
    return next((kind for magic, kind in _MAGICS if head.startswith(magic)), None)


def _gzip(source: Readable) -> _Unpacking:
    decoder = zlib.decompressobj(wbits=31)
    while not decoder.eof and (data := decoder.unconsumed_tail or source.read(_INPUT)):
        yield decoder.decompress(data, _PIECE)
    return decoder.eof


def _all_of(decoder: lzma.LZMADecompressor | bz2.BZ2Decompressor, source: Readable) -> _Unpacking:
    while not decoder.eof:
        data = source.read(_INPUT) if decoder.needs_input else b""
        if decoder.needs_input and not data:
            return False
        yield decoder.decompress(data, _PIECE)
    return True


def _xz(source: Readable) -> _Unpacking:
    return _all_of(lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=_WINDOW), source)


def _lzma(source: Readable) -> _Unpacking:
    return _all_of(lzma.LZMADecompressor(lzma.FORMAT_ALONE, memlimit=_WINDOW), source)


def _bzip2(source: Readable) -> _Unpacking:
    return _all_of(bz2.BZ2Decompressor(), source)


def _zstd(source: Readable) -> _Unpacking:
    decoder = zstandard.ZstdDecompressor(max_window_size=_WINDOW)
    with decoder.stream_reader(source, read_size=_INPUT, closefd=False) as reader:  # type: ignore[arg-type]
        while piece := reader.read1(_PIECE):
            yield piece
    return True


def _lz4(source: Readable) -> _Unpacking:
    source.read(4)
    while len(word := source.read(4)) == 4:
        if word == b"\x02\x21\x4c\x18":  # frames may follow each other
            continue
        length = int.from_bytes(word, "little")
        if length > _LZ4_BOUND:  # what follows the frame: the kernel's build appends the size
            break
        yield _lz4_block(source.read(length))
    return True


def _lz4_block(block: bytes) -> bytes:
    """Decode one block (lz4_Block_format.md): literals, then a copy from what is there already."""
    out = bytearray()
    at = 0
    while at < len(block):
        token = block[at]
        at, literals = _lz4_length(block, at + 1, token >> 4)
        out += block[at : at + literals]
        at += literals
        if at >= len(block):
            break
        distance = int.from_bytes(block[at : at + 2], "little")
        at, length = _lz4_length(block, at + 2, token & 15)
        length += 4
        if not 0 < distance <= len(out) or len(out) + length > _LZ4_BLOCK:
            raise Corrupt("lz4 block copies from or to outside of itself")
        start = len(out) - distance
        out += (out[start : start + length] * (length // distance + 1))[:length]
    return bytes(out)


def _lz4_length(block: bytes, at: int, length: int) -> tuple[int, int]:
    if length == 15:
        while block[at] == 255:
            length += 255
            at += 1
        length += block[at]
        at += 1
    return at, length


_DECODERS: dict[Compression, Callable[[Readable], _Unpacking]] = {
    Compression.GZIP: _gzip,
    Compression.XZ: _xz,
    Compression.ZSTD: _zstd,
    Compression.LZ4: _lz4,
    Compression.LZMA: _lzma,
    Compression.BZIP2: _bzip2,
}


def decompress(source: Readable, compression: Compression, limit: int) -> _Unpacking:
    """Yield what a stream unpacks to, `limit` bytes of it at most, in constant memory.

    The first stream alone is read. Ends early, without an error, where the stream is cut off, and
    then returns False; zstd and lz4 streams do not tell. Raises Corrupt, after all that could be
    unpacked, where the data are broken, ask for more memory than the kernel's own tools do, or have
    no decoder here (lzop); of zstd also where something else follows the stream, as its library
    does not tell that from broken data.
    """
    if compression not in _DECODERS:
        raise Corrupt(f"no decoder for {compression}")
    try:
        unpacking = _DECODERS[compression](source)
        while True:
            piece = next(unpacking)
            yield piece[:limit]
            limit -= len(piece)
            if limit <= 0:
                return True
    except StopIteration as end:
        return bool(end.value)
    except (
        zlib.error,
        lzma.LZMAError,
        zstandard.ZstdError,
        OSError,
        EOFError,
        IndexError,
    ) as error:
        raise Corrupt(f"broken {compression} data: {error}") from None
