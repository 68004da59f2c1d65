"""A kernel's .config: inside a kernel built with CONFIG_IKCONFIG, and as text."""

from __future__ import annotations

import re
import zlib
from collections.abc import Iterator
from typing import BinaryIO

from appliance.catalog import kernel
from appliance.catalog.decompress import Corrupt
from appliance.catalog.model import KernelConfig

LONGEST_TEXT = 4 << 20  # bytes of a .config; today's have 0.3 million
_START = b"IKCFG_ST"  # kernel/configs.c: IKCFG_ST, gzip data, IKCFG_ED
_GZIP = b"\x1f\x8b\x08"
_OPTION = re.compile(r"^(CONFIG_\w+)=(.*)$", re.MULTILINE | re.ASCII)


def _unpack(first: bytes, rest: Iterator[bytes]) -> bytes | None:
    """Return what a gzip stream holds; None where it is none, broken, or too long for a .config."""
    decoder = zlib.decompressobj(wbits=31)
    text = bytearray()
    try:
        data = first
        while data and len(text) < LONGEST_TEXT:
            text += decoder.decompress(data, LONGEST_TEXT - len(text))
            if decoder.eof:
                return bytes(text)
            data = decoder.unconsumed_tail or next(rest, b"")
    except zlib.error:
        return None
    return None


def _find(pieces: Iterator[bytes]) -> bytes | None:
    """Return the text behind the first IKCFG_ST that gzip data follow."""
    marker = _START + _GZIP
    window = b""
    for piece in pieces:
        window = window[-(len(marker) - 1) :] + piece
        at = window.find(marker)
        if at >= 0:
            return _unpack(window[at + len(_START) :], pieces)
    return None


def extract(stream: BinaryIO) -> str | None:
    """Return the .config that a kernel carries inside; None where it has none that can be read.

    Unpacks the kernel piece by piece in constant memory, at most 512 MiB of it: some tenths of a
    second, but seconds for lz4, whose decoder is our own.
    """
    try:
        found = _find(kernel.contents(stream))
    except Corrupt:
        return None
    return None if found is None else found.decode("utf-8", "replace")


def parse_config(text: str) -> KernelConfig:
    """Read the options that a .config sets; other lines are passed over, the last of two counts."""
    return KernelConfig(frozenset(dict(_OPTION.findall(text)).items()))
