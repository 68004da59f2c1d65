"""The menu that firmware shows, neopxe's: which of the menu's entries it lists as well."""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath

from appliance.catalog.model import Arch
from appliance.menu.entries import Entry, Menu
from appliance.neopxe import conf
from appliance.settings import Settings

ENTRIES = PurePosixPath("entry")  # in published/: one folder for each entry that is listed

# Types for anybody's use (PXE 2.1 table 2-2).
_VENDOR_TYPES = range(0x8000, 0xFFFF)


@dataclass(frozen=True)
class KernelItem:
    """An item that leads straight to an entry."""

    type: int
    name: str
    entry: Entry

    @property
    def folder(self) -> PurePosixPath:
        """The folder in its loaders' names, relative to the TFTP root.

        Nothing else of the choice reaches a loader: pxelinux looks for its configuration beside
        itself, iPXE knows by which name it was loaded.
        """
        return ENTRIES / self.entry.key


@dataclass(frozen=True)
class FirmwareMenu:
    """What firmware shows, in this order."""

    kernels: tuple[KernelItem, ...] = ()
    loader: str = "Bootdrop"  # the first item: the loader with its own menu
    local: str = "Boot from local disk"  # the last one


def plan(settings: Settings, menu: Menu) -> FirmwareMenu:
    """List as many kernels as the firmware's menu has room for, newest first, where that is set."""
    if settings.firmware_menu == "loader":
        return FirmwareMenu()
    items: list[KernelItem] = []
    for item in _items(menu):
        names = [*(each.name for each in items), item.name]
        if not _has_room(settings.prompt, names):
            break
        items.append(item)
    return FirmwareMenu(tuple(items))


def _items(menu: Menu) -> Iterator[KernelItem]:
    taken: set[int] = set()
    for entry in menu.entries:
        if entry.arch in (Arch.X86_64, Arch.I386):  # there are loaders for these only
            type_ = _type(entry.key, taken)
            taken.add(type_)
            yield KernelItem(type_, entry.fitted(conf.LONGEST_TEXT).strip(), entry)


def _type(key: str, taken: set[int]) -> int:
    """Return an item's type by the entry's key, not by its place in the menu.

    A machine asks for the item that it was shown, perhaps minutes ago: that must not have become
    another kernel.
    """
    wanted = zlib.crc32(key.encode()) % len(_VENDOR_TYPES)
    while _VENDOR_TYPES[wanted] in taken:
        wanted = (wanted + 1) % len(_VENDOR_TYPES)
    return _VENDOR_TYPES[wanted]


def _has_room(prompt: str, kernels: list[str]) -> bool:
    names = [FirmwareMenu.loader, *kernels, FirmwareMenu.local]
    return len(names) <= conf.MOST_ITEMS and conf.menu_size(prompt, names) <= conf.LONGEST_MENU
