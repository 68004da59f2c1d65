"""Builds files that people drop: header-true kernels, initrds, ext2 images."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from collections.abc import Callable

import zstandard

from appliance.catalog.decompress import Compression


def lz4_legacy(data: bytes) -> bytes:
    """A legacy frame of blocks that hold literals only: valid, not small."""
    frame = b"\x02\x21\x4c\x18"
    for at in range(0, len(data), 8 << 20):
        literals = data[at : at + (8 << 20)]
        block = b"\xf0" if len(literals) >= 15 else bytes([len(literals) << 4])
        if len(literals) >= 15:
            more, last = divmod(len(literals) - 15, 255)
            block += b"\xff" * more + bytes([last])
        block += literals
        frame += struct.pack("<I", len(block)) + block
    return frame


COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {
    Compression.GZIP: gzip.compress,
    Compression.XZ: lzma.compress,
    Compression.LZMA: lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    Compression.BZIP2: bz2.compress,
    Compression.ZSTD: lambda data: zstandard.ZstdCompressor().compress(data),
    Compression.LZ4: lz4_legacy,
}


def make_vmlinux(config: str | None = None) -> bytes:
    text = b"" if config is None else b"IKCFG_ST" + gzip.compress(config.encode()) + b"IKCFG_ED"
    # A false start, as in the string tables of kernels that speak of it.
    return b"\x7fELF" + b"IKCFG_ST, not here" + bytes(300_000) + text + b"\x90" * 1000


def make_bzimage(  # noqa: PLR0913 - one for each field of the header
    version: str = "6.1.0-test",
    *,
    config: str | None = None,
    compression: Compression = Compression.GZIP,
    payload: bytes | None = None,
    efi_stub: bool = True,
    is_64bit: bool = True,
    protocol: int = 0x20F,
    setup_sects: int = 3,
) -> bytes:
    """A file as arch/x86/boot/tools/build.c lays it out, with a payload of the kernel's kind."""
    if payload is None:
        unpacked = make_vmlinux(config)
        payload = COMPRESS[compression](unpacked) + struct.pack("<I", len(unpacked))
    payload_offset = 0x40
    protected = bytes(payload_offset) + payload
    protected += bytes(-len(protected) % 16)
    setup = bytearray((setup_sects + 1) * 512)
    if efi_stub:
        setup[0:2] = b"MZ"
        struct.pack_into("<I", setup, 0x3C, 0x40)
        setup[0x40:0x44] = b"PE\0\0"
    setup[0x1F1] = setup_sects
    struct.pack_into("<I", setup, 0x1F4, len(protected) // 16)
    setup[0x1FE:0x200] = b"\x55\xaa"
    setup[0x202:0x206] = b"HdrS"
    struct.pack_into("<H", setup, 0x206, protocol)
    struct.pack_into("<H", setup, 0x20E, 0x300 - 0x200)
    struct.pack_into("<H", setup, 0x236, int(is_64bit))
    struct.pack_into("<II", setup, 0x248, payload_offset, len(payload))
    text = f"{version} (root@vm) #1 SMP\0".encode()
    setup[0x300 : 0x300 + len(text)] = text
    return bytes(setup) + protected


def make_cpio(content: bytes = b"hello") -> bytes:
    def entry(name: bytes, data: bytes) -> bytes:
        numbers = (1, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % number for number in numbers) + name + b"\0"
        return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)

    return entry(b"init", content) + entry(b"TRAILER!!!", b"")


def make_ext2(blocks: int = 4096, log_block_size: int = 0) -> bytes:
    """The beginning of an ext2 image: as much of its superblock as says what it is."""
    image = bytearray(8192)
    struct.pack_into("<I16xI", image, 1028, blocks, log_block_size)
    image[1080:1082] = b"\x53\xef"
    return bytes(image)
