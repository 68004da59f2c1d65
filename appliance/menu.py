"""The plan: from settings and catalog to one Menu, which is then rendered for every loader."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath

from appliance.catalog.model import Arch, Catalog, KernelConfig, PublishedKernel, RamdiskFormat
from appliance.settings import Settings

# Keys that no kernel can have: a safe name starts with a letter or a digit.
LOCAL = "~local"

# linuxrc and the whole ext2 ramdisk machinery around it left the kernel with 7.0.
_LAST_EXT2_RAMDISK = (6, 99)


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
    title: str  # printable ASCII; each loader's template escapes it
    arch: Arch
    firmware: frozenset[Firmware]  # what can start it, at least one
    kernel: PurePosixPath
    initrds: tuple[PurePosixPath, ...]
    cmdline: str  # without initrd=, which each loader writes its own way


@dataclass(frozen=True)
class Offer:
    """The part of the menu that machines with one firmware see."""

    firmware: Firmware
    entries: tuple[Entry, ...]  # newest kernel first
    default: str | None  # an entry's key, LOCAL, or None: wait for a kernel


@dataclass(frozen=True)
class Menu:
    """What machines are offered. A local disk is always among it."""

    entries: tuple[Entry, ...] = ()  # newest kernel first
    default: str | None = None  # an entry's key, LOCAL, or None: wait for a kernel
    timeout: int = 0  # seconds; 0: the default at once
    notices: tuple[str, ...] = ()  # what could not be offered, and why

    def offer(self, firmware: Firmware) -> Offer:
        """Return what firmware can start; its own newest kernel where the default is another's."""
        entries = tuple(entry for entry in self.entries if firmware in entry.firmware)
        keys = [entry.key for entry in entries]
        if self.default == LOCAL or self.default in keys:
            return Offer(firmware, entries, self.default)
        return Offer(firmware, entries, keys[0] if keys else None)

    @property
    def offers(self) -> tuple[Offer, ...]:
        """Return the menu of each firmware."""
        return tuple(map(self.offer, Firmware))


def plan(
    settings: Settings, catalog: Catalog, rescue: Iterable[RescueRoot], help_url: str | None
) -> Menu:
    """Offer each kernel with its own initrd and with the rescue root, as far as it can boot them.

    `help_url` is shown by the rescue root to whoever sits in front of the machine.
    """
    entries: list[Entry] = []
    notices: list[str] = []
    main_keys: dict[str, str] = {}  # kernel's name: the key of its first entry
    roots = {root.arch: root for root in rescue}
    for kernel in catalog.kernels:
        if not _firmware(kernel):
            notices.append(f"{kernel.name}: no firmware can start it: build it with CONFIG_EFI=y")
            continue
        common = _common_cmdline(settings, kernel.arch)
        offered = []
        if kernel.initrd is not None:
            offered.append(_own_initrd(kernel, common))
        with_rescue = _rescue(kernel, settings.ramdisk, roots.get(kernel.arch), common, help_url)
        if isinstance(with_rescue, Entry):
            offered.append(with_rescue)
        else:
            notices.append(f"{kernel.name}: no rescue shell: {with_rescue}")
        if offered:
            main_keys[kernel.name] = offered[0].key
            entries += offered
    default = _default(settings.default_entry, entries, main_keys)
    if default is None and settings.default_entry != "newest" and entries:
        default = entries[0].key
        notices.append(
            f"BOOTDROP_DEFAULT_ENTRY={settings.default_entry}: not in the menu, so the newest "
            f"kernel is the default; there are: {', '.join(main_keys)}"
        )
    menu = Menu(tuple(entries), default, settings.menu_timeout, tuple(notices))
    return replace(menu, notices=menu.notices + _other_defaults(menu))


def _other_defaults(menu: Menu) -> tuple[str, ...]:
    """Tell which machines cannot start the default, and what they boot instead."""
    titles = {entry.key: entry.title for entry in menu.entries}
    return tuple(
        f"{offer.firmware.machines} boot {titles[offer.default]} when nobody chooses: they cannot "
        f"start {titles[menu.default or '']}"
        for offer in menu.offers
        if offer.default is not None and offer.default != menu.default
    )


def _firmware(kernel: PublishedKernel) -> frozenset[Firmware]:
    """Return what can start a kernel; x86 UEFI is taken to be of 64 bits, as nearly all is."""
    bios = {Firmware.BIOS} if kernel.arch in (Arch.X86_64, Arch.I386) else set()
    efi = {Arch.X86_64: Firmware.EFI_X64, Arch.ARM64: Firmware.EFI_ARM64}.get(kernel.arch)
    return frozenset(bios | {efi} if kernel.efi_stub and efi is not None else bios)


def _common_cmdline(settings: Settings, arch: Arch) -> str:
    console = settings.console_arm64 if arch is Arch.ARM64 else settings.console
    return " ".join(f"{console} {settings.cmdline}".split())


def ramdisk_formats(
    version: str, config: KernelConfig | None
) -> tuple[frozenset[RamdiskFormat], tuple[str, ...]]:
    """Return the forms of ramdisk that a kernel can boot, and the options that it lacks for others.

    A kernel whose configuration is not known is taken to unpack a cpio, as nearly all can.
    """
    if config is None:
        return frozenset({RamdiskFormat.CPIO}), ()
    both = [
        name for name in ("CONFIG_BLK_DEV_INITRD", "CONFIG_RD_GZIP") if not config.built_in(name)
    ]
    if both:
        return frozenset(), tuple(f"{name}=y" for name in both)
    lacks_ext2 = [] if config.built_in("CONFIG_BLK_DEV_RAM") else ["CONFIG_BLK_DEV_RAM=y"]
    if not config.built_in("CONFIG_EXT2_FS") and not (
        config.built_in("CONFIG_EXT4_FS") and config.built_in("CONFIG_EXT4_USE_FOR_EXT2")
    ):
        lacks_ext2.append("CONFIG_EXT2_FS=y")
    if lacks_ext2 or _release(version) > _LAST_EXT2_RAMDISK:
        return frozenset({RamdiskFormat.CPIO}), tuple(lacks_ext2)
    return frozenset(RamdiskFormat), ()


def _release(version: str) -> tuple[int, int]:
    match = re.match(r"(\d+)\.(\d+)", version)
    return (int(match[1]), int(match[2])) if match else (0, 0)


def _own_initrd(kernel: PublishedKernel, common: str) -> Entry:
    assert kernel.initrd is not None
    cmdline = common
    if kernel.initrd_format is not None and kernel.initrd_format.format is RamdiskFormat.EXT2:
        cmdline = _ext2_cmdline(kernel.initrd_format.ramdisk_size or 0, common)
    return _entry(kernel, "", (kernel.initrd,), cmdline)


def _rescue(
    kernel: PublishedKernel,
    preferred: str,
    rescue: RescueRoot | None,
    common: str,
    help_url: str | None,
) -> Entry | str:
    """Return the entry, or why there can be none."""
    if rescue is None:
        return f"it is a kernel for {kernel.arch}, which there is no rescue root for"
    formats, lacking = ramdisk_formats(kernel.version, kernel.config)
    if not formats:
        return f"its configuration lacks {' '.join(lacking)}"
    wanted = RamdiskFormat.EXT2 if preferred == "ext2" else RamdiskFormat.CPIO
    chosen = wanted if wanted in formats else next(iter(formats))
    if help_url is not None:
        common = f"{common} bootdrop.help={help_url}"
    suffix = "rescue" if kernel.initrd is not None else ""
    if chosen is RamdiskFormat.EXT2:
        return _entry(kernel, suffix, (rescue.ext2,), _ext2_cmdline(rescue.ramdisk_size, common))
    layers = (rescue.cpio,) if kernel.modules is None else (rescue.cpio, kernel.modules)
    return _entry(kernel, suffix, layers, common)


def _ext2_cmdline(ramdisk_size: int, common: str) -> str:
    return f"ramdisk_size={ramdisk_size} root=/dev/ram0 rw {common}"


def _entry(
    kernel: PublishedKernel, suffix: str, initrds: tuple[PurePosixPath, ...], cmdline: str
) -> Entry:
    # published/kernels/SAFE/ID/kernel: SAFE is unique and safe in every loader's language.
    safe_name = kernel.kernel.parts[1]
    title = _ascii(f"{kernel.name} ({kernel.version})")
    return Entry(
        # "~" and no hash: no other kernel can have this for its safe name.
        key=f"{safe_name}~{suffix}" if suffix else safe_name,
        title=f"{title}, {suffix} shell" if suffix else title,
        arch=kernel.arch,
        firmware=_firmware(kernel),
        kernel=kernel.kernel,
        initrds=initrds,
        cmdline=cmdline,
    )


def _default(wanted: str, entries: list[Entry], main_keys: dict[str, str]) -> str | None:
    if wanted == "local":
        return LOCAL
    if wanted == "newest":
        return entries[0].key if entries else None
    if wanted in main_keys:
        return main_keys[wanted]
    return next((entry.key for entry in entries if entry.key == wanted), None)


def _ascii(text: str) -> str:
    """Firmware consoles show ASCII: letters lose their accents, what is left becomes `?`."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return re.sub(r"[^\x20-\x7e]", "?", plain)
