"""The plan: from settings and catalog to one Menu, which is then rendered for every loader."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import PurePosixPath

from appliance.catalog.decompress import Compression
from appliance.catalog.model import (
    Arch,
    Catalog,
    ModulesLayer,
    PublishedKernel,
    PublishedRoot,
    Ramdisk,
    RamdiskFormat,
    RootCatalog,
)
from appliance.catalog.pairing import Role, partners
from appliance.ramdisks import CannotBoot, choose, ramdisk_formats
from appliance.settings import Settings

# Keys that no kernel can have: a safe name starts with a letter or a digit.
LOCAL = "~local"

_RESCUE = "rescue"
# Lines that a menu is still overlooked with; beyond, each kernel has a menu of its own.
_MOST_LINES = 16
_MOST_NAMES = 5  # of kernels in one notice


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
    group: str  # key of the kernel's submenu, for when there are too many entries for one menu
    group_title: str
    kernel: PurePosixPath
    initrds: tuple[PurePosixPath, ...]
    cmdline: str  # without initrd=, which each loader writes its own way


@dataclass(frozen=True)
class Submenu:
    """The entries of one kernel, where the first menu has a line for them all."""

    key: str
    title: str
    entries: tuple[Entry, ...]  # two or more


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

    def offer(self, firmware: Firmware) -> Offer:
        """Return what firmware can start; its own newest kernel where the default is another's."""
        entries = tuple(entry for entry in self.entries if firmware in entry.firmware)
        keys = [entry.key for entry in entries]
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


@dataclass(frozen=True)
class _Case:
    """A kernel, and what is the same for whatever it boots with."""

    kernel: PublishedKernel
    preferred: RamdiskFormat
    layer: ModulesLayer | None  # its modules
    cmdline: str


def plan(
    settings: Settings,
    catalog: Catalog,
    rescue: Iterable[RescueRoot],
    help_url: str | None,
    roots: RootCatalog | None = None,
) -> Menu:
    """Offer each kernel with its own initrd and with each root, as far as it can boot them.

    `help_url` is shown by the rescue root to whoever sits in front of the machine.
    """
    roots = roots or RootCatalog()
    entries: list[Entry] = []
    notices: list[str] = []
    main_keys: dict[str, str] = {}  # kernel's name: the key of the entry that it boots by default
    unable: dict[tuple[str, str], list[str]] = {}  # root's name, reason: kernels' names
    rescue_roots = {root.arch: root for root in rescue}
    default_root, ordered = _ordered(settings.default_root, roots.roots, notices)
    for kernel in catalog.kernels:
        if not _firmware(kernel):
            notices.append(f"{kernel.name}: no firmware can start it: build it with CONFIG_EFI=y")
            continue
        case = _Case(
            kernel,
            RamdiskFormat(settings.ramdisk),
            _layer(kernel, roots.layers),
            _common_cmdline(settings, kernel.arch),
        )
        offered = [] if kernel.initrd is None else [_own_initrd(case)]
        for root in ordered:
            try:
                if root.arch is kernel.arch:
                    offered.append(_with_root(case, root))
            except CannotBoot as reason:
                unable.setdefault((root.name, str(reason)), []).append(kernel.name)
        try:
            suffix = _RESCUE if offered else ""
            shell = _with_rescue(case, suffix, rescue_roots.get(kernel.arch), help_url)
            first = default_root == _RESCUE and kernel.initrd is None
            offered.insert(0 if first else len(offered), shell)
        except CannotBoot as reason:
            notices.append(f"{kernel.name}: no rescue shell: {reason}")
        if offered:
            main_keys[kernel.name] = offered[0].key
            entries += offered
    notices += [
        f"root {root}: not with {_some(kernels)}: {reason}"
        for (root, reason), kernels in unable.items()
    ]
    default = _default(settings.default_entry, entries, main_keys)
    if default is None and settings.default_entry != "newest" and entries:
        default = entries[0].key
        notices.append(
            f"BOOTDROP_DEFAULT_ENTRY={settings.default_entry}: not in the menu, so the newest "
            f"kernel is the default; there are: {', '.join(main_keys)}"
        )
    menu = Menu(tuple(entries), default, settings.menu_timeout, tuple(notices))
    return replace(menu, notices=menu.notices + _other_defaults(menu))


def _ordered(
    wanted: str | None, roots: tuple[PublishedRoot, ...], notices: list[str]
) -> tuple[str | None, list[PublishedRoot]]:
    """Return the default root's name, and the roots that can be booted from memory, it first."""
    bootable = [root for root in roots if root.ramdisks]
    notices += [
        f"root {root.name}: not in the menu, as it has no ramdisk: its recipe's formats want "
        "ext2 or cpio"
        for root in roots
        if not root.ramdisks
    ]
    names = [root.name for root in bootable]
    if wanted not in (None, _RESCUE, "newest", *names):
        notices.append(
            f"BOOTDROP_DEFAULT_ROOT={wanted}: no such root in the menu, so it is chosen as if that "
            f"was not set; there are: {', '.join([_RESCUE, *names])}"
        )
        wanted = None
    if wanted is None:
        wanted = next((root.name for root in bootable if root.is_default), "newest")
    if wanted == "newest":
        return next(iter(names), None), bootable
    return wanted, sorted(bootable, key=lambda root: root.name != wanted)


def _layer(kernel: PublishedKernel, layers: tuple[ModulesLayer, ...]) -> ModulesLayer | None:
    """Return the modules of a kernel: those that lie beside it, else the newest of its version."""
    fitting = [layer for layer in layers if layer.version == kernel.version]
    path = PurePosixPath(kernel.name)

    def is_beside(layer: ModulesLayer) -> bool:
        source = PurePosixPath(layer.source)  # a name alone where the builder tells no more
        return source.parent in (PurePosixPath(), path.parent) and bool(
            partners(path, kernel.version, kernels=1, beside={source: Role.MODULES_TAR})
        )

    return next(filter(is_beside, fitting), next(iter(fitting), None))


def _some(names: list[str]) -> str:
    """List the first of many names."""
    more = len(names) - _MOST_NAMES
    return ", ".join(names[:_MOST_NAMES]) + (f" and {more} more" if more > 0 else "")


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


def _own_initrd(case: _Case) -> Entry:
    kernel, cmdline = case.kernel, case.cmdline
    assert kernel.initrd is not None
    if kernel.initrd_format is not None and kernel.initrd_format.format is RamdiskFormat.EXT2:
        cmdline = _ext2_cmdline(kernel.initrd_format.ramdisk_size or 0, cmdline)
    return _entry(kernel, "", "", (kernel.initrd,), cmdline)


def _with_root(case: _Case, root: PublishedRoot) -> Entry:
    """Return the entry that boots a root. Raises CannotBoot."""
    form = choose(case.kernel, case.preferred, root.ramdisks)
    ramdisk = root.ramdisks[form]
    cmdline = f"{root.cmdline} {case.cmdline}".strip()
    # Two "~" stand in no safe name: no other kernel and root can have this together.
    suffix, title = f"~{root.key}", f", {root.name}"
    if form is RamdiskFormat.CPIO:
        return _entry(case.kernel, suffix, title, _with_modules(case, ramdisk), cmdline)
    if case.layer is not None:
        ramdisk = root.variants.get(case.layer.id, ramdisk)
    if root.init != "/sbin/init":  # what the kernel itself starts first
        cmdline = f"init={root.init} {cmdline}"
    cmdline = _ext2_cmdline(ramdisk.ramdisk_size, cmdline)
    return _entry(case.kernel, suffix, title, (ramdisk.path,), cmdline)


def _with_rescue(
    case: _Case, suffix: str, rescue: RescueRoot | None, help_url: str | None
) -> Entry:
    """Return the entry that boots the rescue root. Raises CannotBoot."""
    kernel, cmdline = case.kernel, case.cmdline
    if rescue is None:
        raise CannotBoot(f"it is a kernel for {kernel.arch}, which there is no rescue root for")
    cpio = Ramdisk(rescue.cpio, Compression.GZIP, rescue.ramdisk_size)
    ext2 = Ramdisk(rescue.ext2, Compression.GZIP, rescue.ramdisk_size)
    form = choose(kernel, case.preferred, {RamdiskFormat.CPIO: cpio, RamdiskFormat.EXT2: ext2})
    if help_url is not None:
        cmdline = f"{cmdline} bootdrop.help={help_url}"
    title = f", {suffix} shell" if suffix else ""
    if form is RamdiskFormat.EXT2:
        return _entry(
            kernel, suffix, title, (ext2.path,), _ext2_cmdline(ext2.ramdisk_size, cmdline)
        )
    # What the user packed for it, else what was made of it for any root.
    layers = (cpio.path, kernel.modules) if kernel.modules else _with_modules(case, cpio)
    return _entry(kernel, suffix, title, layers, cmdline)


def _with_modules(case: _Case, cpio: Ramdisk) -> tuple[PurePosixPath, ...]:
    """Put a kernel's modules over a root, if the kernel can unpack them."""
    if case.layer is None or not ramdisk_formats(case.kernel.version, case.kernel.config)[0]:
        return (cpio.path,)
    return (cpio.path, case.layer.path)


def _ext2_cmdline(ramdisk_size: int, common: str) -> str:
    return f"ramdisk_size={ramdisk_size} root=/dev/ram0 rw {common}"


def _entry(
    kernel: PublishedKernel,
    suffix: str,
    title: str,
    initrds: tuple[PurePosixPath, ...],
    cmdline: str,
) -> Entry:
    # published/kernels/SAFE/ID/kernel: SAFE is unique and safe in every loader's language.
    safe_name = kernel.kernel.parts[1]
    kernel_title = _ascii(f"{kernel.name} ({kernel.version})")
    return Entry(
        # "~" and no hash: no other kernel can have this for its safe name.
        key=f"{safe_name}~{suffix}" if suffix else safe_name,
        title=f"{kernel_title}{title}",
        arch=kernel.arch,
        firmware=_firmware(kernel),
        group=f"~of~{safe_name}",
        group_title=kernel_title,
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
