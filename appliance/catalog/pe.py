"""The PE header of what UEFI firmware starts (Microsoft's "PE Format"; UEFI 2.10 section 2.1.1)."""

from __future__ import annotations

import struct
from dataclasses import dataclass
from enum import IntEnum

from appliance.catalog.model import CutShort

_POINTER = 0x3C  # where the DOS header says where the PE header is
_COFF = struct.Struct("<4sHH12xHH")  # signature, machine, sections, (…), optional header, flags
_PE32PLUS = 0x20B
_DIRECTORIES = {0x10B: 96, _PE32PLUS: 112}  # by the optional header's magic: offset of the table
_CERTIFICATES = 4  # index in the table of directories; a file offset, not an address
_DIRECTORY = struct.Struct("<II")  # offset, size
_SECTION = struct.Struct("<8s8xII16x")  # name, (…), size in the file, offset in the file
_MOST_SECTIONS = 96
_FARTHEST = 0x10000  # bytes; Linux and every loader end their header far before


class Machine(IntEnum):
    """IMAGE_FILE_MACHINE_…: for which processors a PE file is."""

    I386 = 0x14C
    X86_64 = 0x8664
    ARM = 0x1C2
    ARM64 = 0xAA64
    RISCV64 = 0x5064
    LOONGARCH64 = 0x6264


@dataclass(frozen=True)
class PeHeader:
    """What a PE header says; lengths in bytes of the file."""

    machine: int  # IMAGE_FILE_MACHINE_…
    sections: frozenset[bytes]  # their names
    sections_end: int  # where the last section's data end
    certificates_end: int  # where the signatures end, behind all else; 0 without any

    @property
    def length(self) -> int:
        """The least that a whole file has."""
        return max(self.sections_end, self.certificates_end)


def machine_name(machine: int) -> str:
    """Return the name of a machine in a PE header, or its number."""
    known = machine in Machine.__members__.values()
    return Machine(machine).name.lower() if known else f"machine {machine:#x}"


def parse(head: bytes, size: int) -> PeHeader | CutShort | None:
    """Read the header of a PE file from the file's start; None where it is none.

    `size` is the file's length in bytes. CutShort where the file ends within the header.
    """
    if head[:2] != b"MZ" or len(head) < _POINTER + 4:
        return None
    start: int = struct.unpack_from("<I", head, _POINTER)[0]
    if start + _COFF.size > len(head):
        return _missing(head, size, start + _COFF.size)
    signature, machine, sections, optional, _ = _COFF.unpack_from(head, start)
    if signature != b"PE\0\0" or sections > _MOST_SECTIONS:
        return None
    table = start + _COFF.size + optional
    end = table + sections * _SECTION.size
    if end > len(head):
        return _missing(head, size, end)
    names, sections_end = set(), 0
    for index in range(sections):
        name, length, offset = _SECTION.unpack_from(head, table + index * _SECTION.size)
        names.add(name.rstrip(b"\0"))
        if length:  # else it is in memory alone, as .bss is
            sections_end = max(sections_end, offset + length)
    optional_header = head[start + _COFF.size : table]
    return PeHeader(machine, frozenset(names), sections_end, _certificates_end(optional_header))


def _missing(head: bytes, size: int, need: int) -> CutShort | None:
    """Tell a header that was cut off from one that lies where none is looked for."""
    return CutShort(size, need) if len(head) == size and need <= _FARTHEST else None


def _certificates_end(optional_header: bytes) -> int:
    if len(optional_header) < 2:
        return 0
    directories = _DIRECTORIES.get(int.from_bytes(optional_header[:2], "little"))
    if directories is None or len(optional_header) < directories:
        return 0
    count = int.from_bytes(optional_header[directories - 4 : directories], "little")
    at = directories + _CERTIFICATES * _DIRECTORY.size
    if count <= _CERTIFICATES or len(optional_header) < at + _DIRECTORY.size:
        return 0
    offset, length = _DIRECTORY.unpack_from(optional_header, at)
    return offset + length if length else 0
