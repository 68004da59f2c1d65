"""The plan: from settings and catalog to one Menu, which is then rendered for every loader."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import PurePosixPath

from appliance.bounded import some
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
from appliance.menu.entries import LOCAL, Entry, Firmware, Menu, RescueRoot
from appliance.menu.nfs_boot import nfs_boot, root_path
from appliance.menu.ramdisks import CannotBoot, choose, ramdisk_formats
from appliance.nfs.export import FORMAT
from appliance.settings import Settings

_RESCUE = "rescue"
_MOST_LACKING = 2  # options in a title, so that a line of the screen has room for names too


@dataclass(frozen=True)
class _Case:
    """A kernel, and what is the same for whatever it boots with."""

    kernel: PublishedKernel
    preferred: RamdiskFormat
    layer: ModulesLayer | None  # its modules
    cmdline: str


@dataclass(frozen=True)
class _Nfs:
    """What is the same for every root over NFS."""

    settings: Settings
    server: IPv4Address


def plan(  # noqa: PLR0913
    settings: Settings,
    catalog: Catalog,
    rescue: Iterable[RescueRoot],
    help_url: str | None,
    roots: RootCatalog | None = None,
    *,
    nfs_server: IPv4Address | None = None,
) -> Menu:
    """Offer each kernel with its own initrd and with each root, as far as it can boot them.

    `help_url` is shown by the rescue root to whoever sits in front of the machine; `nfs_server` is
    where machines can mount roots, None where they cannot.
    """
    roots = roots or RootCatalog()
    nfs = None if nfs_server is None else _Nfs(settings, nfs_server)
    entries: list[Entry] = []
    notices: list[str] = []
    main_keys: dict[str, str] = {}  # kernel's name: the key of the entry that it boots by default
    unsettled: set[str] = set()  # keys of those where it will be known in a moment
    unable: dict[tuple[str, str], list[str]] = {}  # root's name, reason: kernels' names
    rescue_roots = {root.arch: root for root in rescue}
    default_root, ordered = _ordered(settings.default_root, roots.roots, nfs, notices)
    for kernel in catalog.kernels:
        if not _firmware(kernel):
            notices.append(f"{kernel.name}: no firmware can start it: build it with CONFIG_EFI=y")
            continue
        case = _Case(
            kernel,
            RamdiskFormat(settings.ramdisk),
            modules_of(kernel, roots.layers),
            _common_cmdline(settings, kernel.arch),
        )
        offered = [each for root in ordered for each in _each_way(case, root, nfs, unable)]
        if kernel.initrd is not None:
            # An initrd that looks for a root boots nothing without one; one that may do is enough.
            roots_found = any(entry.root and not entry.lacks for entry in offered)
            last = roots_found and _looks_for_a_root(kernel)
            offered.insert(len(offered) if last else 0, _own_initrd(case))
        try:
            suffix = _RESCUE if offered else ""
            shell = _with_rescue(case, suffix, rescue_roots.get(kernel.arch), help_url)
            first = default_root == _RESCUE and kernel.initrd is None
            offered.insert(0 if first else len(offered), shell)
        except CannotBoot as reason:
            notices.append(f"{kernel.name}: no rescue shell: {reason}")
        offered.sort(key=lambda entry: bool(entry.lacks))
        if main := next((entry.key for entry in offered if entry.may_be_default), None):
            main_keys[kernel.name] = main
            if offered[0].awaited:
                unsettled.add(main)
        entries += offered
    notices += [
        f"root {root}: not {'in memory ' if nfs else ''}with {some(kernels)}: {reason}"
        for (root, reason), kernels in unable.items()
    ]
    notices += _lacking_notices(entries)
    default = _default(settings.default_entry, entries, main_keys, unsettled)
    if default is None and settings.default_entry != "newest" and main_keys:
        default = next(iter(main_keys.values()))
        if not any(each.awaited and each.key == settings.default_entry for each in entries):
            notices.append(
                f"BOOTDROP_DEFAULT_ENTRY={settings.default_entry}: not in the menu, so the newest "
                f"kernel is the default; there are: {', '.join(main_keys)}"
            )
    path = next((root for root in ordered if FORMAT in root.formats), None) if nfs else None
    menu = Menu(
        tuple(entries),
        default,
        settings.menu_timeout,
        tuple(notices),
        root_path(settings, nfs.server, path) if nfs and path else "",
    )
    return replace(menu, notices=menu.notices + _other_defaults(menu))


def _each_way(
    case: _Case,
    root: PublishedRoot,
    nfs: _Nfs | None,
    unable: dict[tuple[str, str], list[str]],
) -> list[Entry]:
    """Return the entries of a kernel with a root: from memory, over NFS, what comes first first."""
    if root.arch is not case.kernel.arch:
        return []
    ways: list[Entry] = []
    if root.ramdisks:
        try:
            ways.append(_with_root(case, root))
        except CannotBoot as reason:
            unable.setdefault((root.name, str(reason)), []).append(case.kernel.name)
    if nfs is not None and FORMAT in root.formats:
        ways.insert(0 if nfs.settings.nfs_first else len(ways), _over_nfs(case, root, nfs))
    return ways


def _over_nfs(case: _Case, root: PublishedRoot, nfs: _Nfs) -> Entry:
    """Return the entry that mounts a root over NFS, also of a kernel that lacks what it takes."""
    boot = nfs_boot(nfs.settings, nfs.server, case.kernel, root)
    lacks = f": lacks {some(boot.lacks, _MOST_LACKING)}" if boot.lacks else ""
    # A root's key ends in no "~nfs": what stands behind its "~" are hex digits.
    suffix = f"~{root.key}~nfs"
    # What all kernels get comes last: a word of it that is there twice wins.
    cmdline = " ".join(f"{boot.cmdline} {root.cmdline} {case.cmdline}".split())
    return replace(
        _entry(case.kernel, suffix, f", {root.name}", boot.initrds, cmdline),
        manner=f" over NFS{lacks}",
        bootif=boot.bootif,
        root=root.key,
        lacks=boot.lacks,
        awaited=case.kernel.config_awaited,
    )


def _looks_for_a_root(kernel: PublishedKernel) -> bool:
    """Tell whether a kernel's own initrd is known to be no system, but to mount one."""
    return kernel.initrd_format is not None and kernel.initrd_format.made_by is not None


def _lacking_notices(entries: list[Entry]) -> list[str]:
    """Tell which kernels cannot boot a root over NFS, once for all that lack the same."""
    kernels: dict[tuple[str, ...], dict[str, None]] = {}
    for entry in entries:
        if entry.lacks:
            kernels.setdefault(entry.lacks, {})[entry.group_title] = None
    return [
        f"roots over NFS: not with {some(list(names))}: lacks {', '.join(lacks)}"
        for lacks, names in kernels.items()
    ]


def _ordered(
    wanted: str | None,
    roots: tuple[PublishedRoot, ...],
    nfs: _Nfs | None,
    notices: list[str],
) -> tuple[str | None, list[PublishedRoot]]:
    """Return the default root's name, and the roots that can be booted, it first."""
    bootable = [root for root in roots if root.ramdisks or (nfs and FORMAT in root.formats)]
    off = "" if nfs else " and nothing serves NFS"
    notices += [
        f"root {root.name}: not in the menu, as it has no ramdisk{off}: its recipe's formats want "
        "ext2 or cpio"
        for root in roots
        if root not in bootable
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


def modules_of(kernel: PublishedKernel, layers: tuple[ModulesLayer, ...]) -> ModulesLayer | None:
    """Return the modules of a kernel: those that lie beside it, else the newest of its version."""
    fitting = [layer for layer in layers if layer.version == kernel.version]
    path = PurePosixPath(kernel.name)

    def is_beside(layer: ModulesLayer) -> bool:
        source = PurePosixPath(layer.source)  # a name alone where the builder tells no more
        return source.parent in (PurePosixPath(), path.parent) and bool(
            partners(path, kernel.version, kernels=1, beside={source: Role.MODULES_TAR})
        )

    return next(filter(is_beside, fitting), next(iter(fitting), None))


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
    partner: str,
    initrds: tuple[PurePosixPath, ...],
    cmdline: str,
) -> Entry:
    # published/kernels/SAFE/ID/kernel: SAFE is unique and safe in every loader's language.
    safe_name = kernel.kernel.parts[1]
    return Entry(
        # "~" and no hash: no other kernel can have this for its safe name.
        key=f"{safe_name}~{suffix}" if suffix else safe_name,
        arch=kernel.arch,
        firmware=_firmware(kernel),
        group=f"~of~{safe_name}",
        group_title=_ascii(f"{kernel.name} ({kernel.version})"),
        partner=partner,
        manner="",
        kernel=kernel.kernel,
        initrds=initrds,
        cmdline=cmdline,
    )


def _default(
    wanted: str, entries: list[Entry], main_keys: dict[str, str], unsettled: set[str]
) -> str | None:
    if wanted == "local":
        return LOCAL
    if wanted == "newest":
        # An older kernel for a moment, rather than a rescue shell for who starts just then.
        return next(iter(sorted(main_keys.values(), key=unsettled.__contains__)), None)
    if wanted in main_keys:
        return main_keys[wanted]
    return next((each.key for each in entries if each.key == wanted and each.may_be_default), None)


def _ascii(text: str) -> str:
    """Firmware consoles show ASCII: letters lose their accents, what is left becomes `?`."""
    plain = "".join(c for c in unicodedata.normalize("NFKD", text) if not unicodedata.combining(c))
    return re.sub(r"[^\x20-\x7e]", "?", plain)
