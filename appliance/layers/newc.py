"""Reads a newc cpio archive as it comes, strictly: what is out of place is an error."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

# Documentation/driver-api/early-userspace/buffer-format.rst: 13 fields of 8 hex digits.
_HEADER = re.compile(rb"070701(?:[0-9A-Fa-f]{8}){13}")
_MODE, _LINKS, _SIZE, _NAME_SIZE = 1, 4, 6, 11
_TRAILER = b"TRAILER!!!"
_LONGEST_NAME = 4096  # PATH_MAX
_PIECE = 1 << 20


class BrokenArchive(Exception):
    """An archive that is none, or is cut off; one line says why."""


class Stream(Protocol):
    """What is read from."""

    def read(self, size: int, /) -> bytes:
        """Return up to so many bytes, none at the end."""


@dataclass(frozen=True)
class Member:
    """A file of an archive; `pieces` are its contents, to be read before the next member is."""

    name: str
    mode: int  # st_mode
    links: int
    size: int  # bytes
    pieces: Iterator[bytes]


def members(stream: Stream) -> Iterator[Member]:
    """Yield what an archive holds, in its order. Raises BrokenArchive, and what reading raises."""
    reader = _Reader(stream)
    while True:
        header = reader.exactly(110)
        if not _HEADER.fullmatch(header):
            raise BrokenArchive("no newc cpio archive")
        fields = [int(header[start : start + 8], 16) for start in range(6, 110, 8)]
        if not 2 <= fields[_NAME_SIZE] <= _LONGEST_NAME:
            raise BrokenArchive(f"a name of {fields[_NAME_SIZE]} bytes")
        name, end = (raw := reader.exactly(fields[_NAME_SIZE]))[:-1], raw[-1:]
        if end != b"\0" or b"\0" in name:
            raise BrokenArchive("a name that does not end where it should")
        reader.skip_padding()
        if name == _TRAILER:
            return
        pieces = reader.pieces(fields[_SIZE])
        yield Member(os.fsdecode(name), fields[_MODE], fields[_LINKS], fields[_SIZE], pieces)
        for _ in pieces:  # what nobody wanted
            pass
        reader.skip_padding()


class _Reader:
    """A stream that knows its position."""

    def __init__(self, stream: Stream) -> None:
        self._stream, self._position = stream, 0

    def exactly(self, size: int) -> bytes:
        return b"".join(self.pieces(size))

    def pieces(self, size: int) -> Iterator[bytes]:
        while size:
            piece = self._stream.read(min(size, _PIECE))
            if not piece:
                raise BrokenArchive("cut off")
            size -= len(piece)
            self._position += len(piece)
            yield piece

    def skip_padding(self) -> None:
        self.exactly(-self._position % 4)
