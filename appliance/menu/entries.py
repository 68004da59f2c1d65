"""The values that the menu is made of: what machines are offered, by firmware."""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath

from appliance.catalog.model import Arch
from appliance.menu.nfs_boot import HOLDER

# Before a kernel's path: what stands there is taken away by nginx.conf and tftpd's remap.
OVER_NFS = PurePosixPath("over-nfs")
# What nginx and in.tftpd log of a kernel that is fetched to mount a root (Entry.fetched).
FETCHED_OVER_NFS = re.compile(
    rf"\b{OVER_NFS}/(?P<root>[^/\s]+)/(?P<kernel>kernels/[^/\s]+/[0-9a-f]{{16}}/kernel)(?=\s|$)"
)

# Keys that no kernel can have: a safe name starts with a letter or a digit.
LOCAL = "~local"

# Lines that a menu is still overlooked with; beyond, each kernel has a menu of its own.
_MOST_LINES = 16
# Columns that each of the names in a title has at least.
_SHORTEST_NAME = 11


class Firmware(StrEnum):
    """What a machine starts from, by neopxe.conf's names; it decides which kernels it can boot."""

    BIOS = "bios"
    EFI_X64 = "efi-x64"
    EFI_ARM64 = "efi-arm64"

    @property
    def machines(self) -> str:
        """Words for the machines that have it."""
        return _MACHINES[self]


_MACHINES = {
    Firmware.BIOS: "BIOS machines",
    Firmware.EFI_X64: "x86 UEFI machines",
    Firmware.EFI_ARM64: "arm64 machines",
}


@dataclass(frozen=True)
class RescueRoot:
    """A ramdisk of the image, published; paths relative to published/."""

    arch: Arch
    cpio: PurePosixPath
    ext2: PurePosixPath
    ramdisk_size: int  # KiB of the ext2 image, uncompressed


@dataclass(frozen=True)
class Entry:
    """One line of the menu that boots a kernel; paths relative to published/."""

    key: str  # unique in the menu, [A-Za-z0-9._~-]: a label in every loader's language
    arch: Arch
    firmware: frozenset[Firmware]  # what can start it, at least one
    group: str  # key of the kernel's submenu, for when there are too many entries for one menu
    # The title, in printable ASCII which each loader's template escapes: which kernel, with what
    # (", fedora"), and how, with what keeps it from booting (" over NFS: lacks ROOT_NFS").
    group_title: str
    partner: str
    manner: str
    kernel: PurePosixPath
    initrds: tuple[PurePosixPath, ...]
    cmdline: str  # without initrd=, which each loader writes its own way
    # Wants BOOTIF=01-MAC too, the card that the machine booted from, which each loader writes so.
    bootif: bool = False
    root: str = ""  # key of the root that it mounts over NFS, if it does
    lacks: tuple[str, ...] = ()  # what keeps it from booting
    awaited: bool = False  # what it lacks will be known in a moment

    @property
    def title(self) -> str:
        """Return what names it to people."""
        return f"{self.group_title}{self.partner}{self.manner}"

    def fitted(self, columns: int) -> str:
        """Shorten the title: what keeps it from booting stays, the longer name gives way first."""
        manner = self.manner
        if len(manner) > columns - 2 * _SHORTEST_NAME:
            manner = f"{manner[: columns - 2 * _SHORTEST_NAME - 3]}..."
        room = columns - len(manner)
        kernel, partner = len(self.group_title), len(self.partner)
        if kernel + partner > room:
            kernel = min(kernel, max(room - partner, room - room // 2))
            partner = min(partner, room - kernel)
        return f"{shorten(self.group_title, kernel)}{shorten(self.partner, partner)}{manner}"

    @property
    def may_be_default(self) -> bool:
        """Tell whether it boots, as far as can be known."""
        return not self.lacks and not self.awaited

    @property
    def fetched(self) -> PurePosixPath:
        """Return where the kernel is fetched: of the same file, by a name that tells the root."""
        return OVER_NFS / self.root / self.kernel if self.root else self.kernel

    @property
    def is_of_one_machine(self) -> bool:
        """Tell whether each machine's command line is another one."""
        return HOLDER in self.cmdline


@dataclass(frozen=True)
class Submenu:
    """The entries of one kernel, where the first menu has a line for them all."""

    key: str
    title: str
    entries: tuple[Entry, ...]  # two or more

    def fitted(self, columns: int) -> str:
        """Shorten the title."""
        return shorten(self.title, columns)


@dataclass(frozen=True)
class Offer:
    """The part of the menu that machines with one firmware see."""

    firmware: Firmware
    entries: tuple[Entry, ...]  # newest kernel first
    default: str | None  # an entry's key, LOCAL, or None: wait for a kernel
    submenus: tuple[Submenu, ...] = ()

    @property
    def lines(self) -> tuple[Entry | Submenu, ...]:
        """What the first menu shows: what is in no submenu, before all the default."""
        inside = {entry.key: submenu for submenu in self.submenus for entry in submenu.entries}
        lines: dict[str, Entry | Submenu] = {
            entry.key: entry
            for entry in self.entries
            if entry.key == self.default and entry.key in inside
        }
        for entry in self.entries:
            line = inside.get(entry.key, entry)
            lines[line.key] = line
        return tuple(lines.values())


@dataclass(frozen=True)
class Menu:
    """What machines are offered. A local disk is always among it."""

    entries: tuple[Entry, ...] = ()  # newest kernel first
    default: str | None = None  # an entry's key, LOCAL, or None: wait for a kernel
    timeout: int = 0  # seconds; 0: the default at once
    notices: tuple[str, ...] = ()  # what could not be offered, and why
    # What DHCP says of the default root over NFS (option 17), HOLDER in it where each machine has
    # its own; "" where there is none.
    root_path: str = ""

    @property
    def for_any_machine(self) -> Menu:
        """Return what can be offered to a machine that nothing is known of, not even its MAC."""
        return replace(self, entries=tuple(e for e in self.entries if not e.is_of_one_machine))

    def offer(self, firmware: Firmware) -> Offer:
        """Return what firmware can start; its own newest kernel where the default is another's."""
        entries = tuple(entry for entry in self.entries if firmware in entry.firmware)
        keys = [entry.key for entry in entries if entry.may_be_default]
        default = self.default
        if default != LOCAL and default not in keys:
            default = keys[0] if keys else None
        submenus = tuple(each for each in self.submenus if firmware in each.entries[0].firmware)
        return Offer(firmware, entries, default, submenus)

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Return the menu of each firmware."""
        return tuple(map(self.offer, Firmware))

    @property
    def submenus(self) -> tuple[Submenu, ...]:
        """Return a menu for each kernel with several entries, where they are too many for one."""
        if len(self.entries) <= _MOST_LINES:
            return ()
        groups: dict[str, list[Entry]] = {}
        for entry in self.entries:
            groups.setdefault(entry.group, []).append(entry)
        return tuple(
            Submenu(key, entries[0].group_title, tuple(entries))
            for key, entries in groups.items()
            if len(entries) > 1
        )


def shorten(text: str, columns: int) -> str:
    """Shorten a text in its middle."""
    if len(text) <= columns:
        return text
    half = (columns - 3) // 2
    return f"{text[: columns - 3 - half]}...{text[-half:]}"
