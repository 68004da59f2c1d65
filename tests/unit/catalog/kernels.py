"""Builds files that people drop: header-true kernels, initrds, ext2 images."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
from collections.abc import Callable, Sequence

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


def packed_gzip(data: bytes) -> bytes:
    """Pack the same bytes to the same bytes, whatever the time."""
    return gzip.compress(data, mtime=0)


COMPRESS: dict[Compression, Callable[[bytes], bytes]] = {
    Compression.GZIP: packed_gzip,
    Compression.XZ: lzma.compress,
    Compression.LZMA: lambda data: lzma.compress(data, lzma.FORMAT_ALONE),
    Compression.BZIP2: bz2.compress,
    Compression.ZSTD: lambda data: zstandard.ZstdCompressor().compress(data),
    Compression.LZ4: lz4_legacy,
}


def make_vmlinux(config: str | None = None) -> bytes:
    text = b"" if config is None else b"IKCFG_ST" + packed_gzip(config.encode()) + b"IKCFG_ED"
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
    certificates: bytes = b"",
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
    if certificates:
        struct.pack_into("<HI", setup, 0x58, 0x20B, 0)
        struct.pack_into("<H", setup, 0x54, 160)
        struct.pack_into("<I", setup, 0x58 + 108, 6)
        where = (len(setup) + len(protected), len(certificates))
        struct.pack_into("<II", setup, 0x58 + 112 + 4 * 8, *where)
    return bytes(setup) + protected + certificates


def make_pe(
    machine: int, *, header: bytes = b"MZ", data: bytes = b"", certificates: bytes = b""
) -> bytes:
    """A PE32+ file: one section that has `data`, and behind it what signs it.

    `header` is its first bytes, up to the 0x3c where the PE header's place stands.
    """
    start, optional_header, headers = 0x40, 160, 0x1000
    where = (headers + len(data), len(certificates)) if certificates else (0, 0)
    coff = struct.pack("<4sHH12xHH", b"PE\0\0", machine, 1, optional_header, 0x206)
    optional = bytearray(optional_header)
    struct.pack_into("<H", optional, 0, 0x20B)
    struct.pack_into("<I", optional, 108, 6)  # NumberOfRvaAndSizes
    struct.pack_into("<II", optional, 112 + 4 * 8, *where)
    section = struct.pack("<8sIIII16x", b".text", len(data), headers, len(data), headers)
    head = header.ljust(0x3C, b"\0") + struct.pack("<I", start) + coff + optional + section
    return head.ljust(headers, b"\0") + data + certificates


def image_header(image_size: int, *, efi_stub: bool = True) -> bytes:
    """The 64 bytes that begin an arm64 Image, without the last four (arm64/booting.rst)."""
    code = b"MZ@\xfa" if efi_stub else b"\x40\xfa\x94\x14"
    return struct.pack("<4sIQQQ24x4s", code, 0, 0, image_size, 10, b"ARM\x64")


def make_image(
    version: str = "6.12.0-arm",
    *,
    config: str | None = None,
    efi_stub: bool = True,
    certificates: bytes = b"",
) -> bytes:
    """An arm64 Image whose header counts more memory than the file has, as real ones do."""
    banner = f"Linux version {version} (root@vm) (gcc) #1 SMP\n\0".encode()
    kernel = make_vmlinux(config) + banner + bytes(5000)
    header = image_header(2 * len(kernel), efi_stub=efi_stub)
    if not efi_stub:
        return header + bytes(4) + kernel
    return make_pe(0xAA64, header=header, data=kernel, certificates=certificates)


def make_zboot(
    image: bytes, compression: Compression = Compression.GZIP, *, machine: int = 0xAA64
) -> bytes:
    """What efi/libstub/zboot-header.S and Makefile.zboot make of an Image.

    The payload is the Image with the memory that it needs besides, packed; all but gzip have that
    length behind them, which the payload's own length leaves out.
    """
    names = {Compression.ZSTD: b"zstd22", Compression.XZ: b"xzkern"}
    unpacked = image.ljust(int.from_bytes(image[16:24], "little"), b"\0")
    payload = COMPRESS[compression](unpacked)
    behind = b"" if compression is Compression.GZIP else struct.pack("<I", len(unpacked))
    name = names.get(compression, compression.value.encode())
    header = struct.pack("<4s4sII8x32s", b"MZ\0\0", b"zimg", 0x1000, len(payload), name)
    return make_pe(machine, header=header + b"\xcd\x23\x82\x81", data=payload + behind)


def make_cpio(content: bytes = b"hello", names: Sequence[str] = ("init",)) -> bytes:
    def entry(name: bytes, data: bytes) -> bytes:
        numbers = (1, 0o100644, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(name) + 1, 0)
        head = b"070701" + b"".join(b"%08x" % number for number in numbers) + name + b"\0"
        return head + bytes(-len(head) % 4) + data + bytes(-len(data) % 4)

    entries = b"".join(entry(name.encode(), content) for name in names)
    return entries + entry(b"TRAILER!!!", b"")


def make_ext2(blocks: int = 4096, log_block_size: int = 0) -> bytes:
    """The beginning of an ext2 image: as much of its superblock as says what it is."""
    image = bytearray(8192)
    struct.pack_into("<I16xI", image, 1028, blocks, log_block_size)
    image[1080:1082] = b"\x53\xef"
    return bytes(image)
