"""Small values that tests start from; each argument says what the test is about."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import replace
from ipaddress import IPv4Address, IPv4Interface, IPv4Network
from pathlib import Path, PurePosixPath
from typing import Any, Literal

from appliance.catalog.decompress import Compression
from appliance.catalog.model import (
    Arch,
    Catalog,
    Initrd,
    InitrdMaker,
    KernelConfig,
    ModulesLayer,
    PublishedKernel,
    PublishedRoot,
    Ramdisk,
    RamdiskFormat,
    RootCatalog,
)
from appliance.layers.layer import Record
from appliance.menu.entries import Menu, RescueRoot
from appliance.menu.menu import plan
from appliance.network import Interface, Network
from appliance.nfs.export import Export, fsid
from appliance.paths import Paths
from appliance.settings import Settings
from appliance.settings_types import AddressRange
from appliance.situation import Situation
from appliance.store import safe_name

SAFE = re.compile(r"[A-Za-z0-9._/-]{1,60}")
CHECKOUT = Path(__file__).parents[2]


def a_rescue_root(arch: Arch) -> RescueRoot:
    version = PurePosixPath("rescue", arch, "0123456789abcdef")
    return RescueRoot(arch, version / "rescue.cpio.gz", version / "rescue.ext2.gz", 4096)


RESCUE = a_rescue_root(Arch.X86_64)
ARM64_RESCUE = a_rescue_root(Arch.ARM64)
SERVER = IPv4Address("192.168.10.1")
HELP = "http://192.168.10.1:8069/help.txt"
EXT2_CAPABLE = ("BLK_DEV_INITRD", "RD_GZIP", "BLK_DEV_RAM", "EXT2_FS")


# What nearly all kernels have, and need for a root over NFS.
PLAIN = (
    *("NET", "INET", "PACKET", "NETWORK_FILESYSTEMS", "MULTIUSER", "FILE_LOCKING"),
    *("DEVTMPFS", "DEVTMPFS_MOUNT", "SHMEM", "BINFMT_SCRIPT"),
)
# What a kernel needs besides that mounts its root by itself, by any version, or that overlays it.
NFS_BY_ITSELF = ("IP_PNP", "IP_PNP_DHCP", "NFS_FS", "ROOT_NFS")
NFS_VERSIONS = ("NFS_V3", "NFS_V4", "NFS_V4_1", "NFS_V4_2")
OVERLAY = ("OVERLAY_FS", "TMPFS", "TMPFS_XATTR")
NFS_CAPABLE = (*PLAIN, *NFS_BY_ITSELF, *NFS_VERSIONS, *OVERLAY)


def a_config(*options: str) -> KernelConfig:
    """Return options that are built in, or what stands behind a `=`."""
    pairs = (option.partition("=") for option in options)
    return KernelConfig(frozenset((f"CONFIG_{name}", value or "y") for name, _, value in pairs))


def a_kernel(  # noqa: PLR0913
    name: str = "bzImage",
    *,
    version: str = "6.1.192",
    initrd: Initrd | None = None,
    modules: bool = False,
    config: KernelConfig | None = None,
    config_awaited: bool = False,
    arch: Arch = Arch.X86_64,
    efi_stub: bool = True,
    dropped_at: float = 0,
) -> PublishedKernel:
    safe = name.replace("/", "_") if SAFE.fullmatch(name) else safe_name(name)
    folder = PurePosixPath("kernels", safe, "00112233445566aa")
    return PublishedKernel(
        name=name,
        id=folder.name,
        version=version,
        arch=arch,
        efi_stub=efi_stub,
        kernel=folder / "kernel",
        initrd=folder / "initrd" if initrd else None,
        initrd_format=initrd,
        modules=folder / "modules" if modules else None,
        config=config,
        config_awaited=config_awaited,
        dropped_at=dropped_at,
    )


def a_root(  # noqa: PLR0913
    name: str = "fedora",
    *,
    arch: Arch = Arch.X86_64,
    is_default: bool = False,
    cmdline: str = "",
    init: str = "/sbin/init",
    compression: Compression = Compression.ZSTD,
    forms: Iterable[RamdiskFormat] = tuple(RamdiskFormat),
    variants: Iterable[str] = (),
    share: Literal["clone", "ro", "rw"] | None = None,
) -> PublishedRoot:
    folder = PurePosixPath("roots", safe_name(name), "aabbccddeeff0011")
    every = {
        RamdiskFormat.CPIO: Ramdisk(folder / "ramdisk.cpio.zst", compression, 500_000),
        RamdiskFormat.EXT2: Ramdisk(folder / "ramdisk.ext2.gz", Compression.GZIP, 600_000),
    }
    return PublishedRoot(
        name=name,
        id=folder.name,
        key=safe_name(name),
        title=f"The root {name}",
        arch=arch,
        is_default=is_default,
        cmdline=cmdline,
        init=init,
        share=share,
        formats=("nfs", *forms),
        size=200_000_000,
        built_at=0,
        ramdisks={form: every[form] for form in forms},
        variants={
            layer: Ramdisk(
                folder.with_name(f"{folder.name}-{layer}") / "ramdisk.ext2.gz",
                Compression.GZIP,
                650_000,
            )
            for layer in variants
        },
    )


def a_layer(version: str, source: str = "", layer_id: str = "1111222233334444") -> ModulesLayer:
    path = PurePosixPath("modules", layer_id, "modules.cpio.gz")
    return ModulesLayer(layer_id, version, source, path, built_at=0)


CPIO_INITRD = Initrd(RamdiskFormat.CPIO)
DRACUT_INITRD = Initrd(
    RamdiskFormat.CPIO, made_by=InitrdMaker.DRACUT, nfs_mount=True, nfs_module=True
)
DEBIAN_INITRD = replace(DRACUT_INITRD, made_by=InitrdMaker.INITRAMFS_TOOLS)
# As Debian 13 has them.
DEBIAN_CONFIG = (
    *("NFS_FS=m", "NFS_V3=m", "NFS_V4=m", "NFS_V4_1", "NFS_V4_2"),
    *("OVERLAY_FS=m", "TMPFS", "TMPFS_XATTR", "BLK_DEV_INITRD", "RD_GZIP", "RD_ZSTD", *PLAIN),
)


def an_interface(name: str = "eth1", *addresses: str, link_local: bool = True) -> Interface:
    return Interface(name, 2, tuple(map(IPv4Interface, addresses)), True, link_local)


def an_export(
    path: str = "/fedora/aabbccddeeff0011/52-54-00-12-34-56",
    *,
    number: int = 1,
    writable: bool = True,
) -> Export:
    return Export(PurePosixPath(path), fsid(*path.split("/")[1:4]), writable, number)


def a_record(holder: str = "52-54-00-12-34-56", **changed: Any) -> Record:  # noqa: ANN401
    values: dict[str, Any] = {
        "root": "fedora",
        "key": "fedora",
        "version": "00112233445566aa",
        "made_at": 1,
        "last_seen": 1,
    }
    return Record(holder=holder, **values | changed)


def a_network(interface: str = "eth1") -> Network:
    return Network(
        interface=interface,
        index=2,
        server=SERVER,
        subnet=IPv4Network("192.168.10.0/24"),
        ranges=(AddressRange.parse("192.168.10.10-192.168.10.254"),),
        gateway=None,
        link_local=True,
    )


def a_menu(
    settings: Settings,
    *kernels: PublishedKernel,
    roots: Iterable[PublishedRoot] = (),
    layers: Iterable[ModulesLayer] = (),
    nfs: bool = False,
) -> Menu:
    catalog = RootCatalog(tuple(roots), tuple(layers))
    server = SERVER if nfs else None
    rescue = (RESCUE, ARM64_RESCUE)
    return plan(settings, Catalog(kernels), rescue, HELP, catalog, nfs_server=server)


def a_situation(
    settings: Settings | None = None,
    *kernels: PublishedKernel,
    roots: Iterable[PublishedRoot] = (),
    layers: Iterable[ModulesLayer] = (),
    nfs: bool = False,
    machines: Iterable[str] = (),
) -> Situation:
    settings = settings or Settings(interface="eth1")
    paths = replace(Paths(), templates=CHECKOUT / "config")
    return Situation(
        settings,
        paths,
        a_menu(settings, *kernels, roots=roots, layers=layers, nfs=nfs),
        a_network(),
        other_router="",
        other_dhcp_servers=(),
        machines=tuple(machines),
    )
