"""The situations whose every generated file is kept; `python -m tests.golden.cases` writes them.

Read the difference before you commit it: it is what machines and daemons will get.
"""

from __future__ import annotations

import shutil
import sys
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path

from appliance.catalog.decompress import Compression
from appliance.catalog.model import Arch, Initrd, RamdiskFormat
from appliance.daemons import ALL
from appliance.hosts import Host
from appliance.nfs.export import NfsService
from appliance.paths import Paths
from appliance.reconcile import everything, write_tree
from appliance.render import Renderer, Tree
from appliance.settings import Settings
from appliance.situation import Situation
from tests.unit.builders import (
    CHECKOUT,
    CPIO_INITRD,
    DEBIAN_CONFIG,
    DEBIAN_INITRD,
    DRACUT_INITRD,
    EXT2_CAPABLE,
    NFS_CAPABLE,
    PLAIN,
    a_config,
    a_kernel,
    a_layer,
    a_root,
    a_situation,
    an_export,
)

HERE = Path(__file__).parent

_KERNELS = (
    a_kernel("bzImage", version="6.12.0-mine", modules=True),
    a_kernel("os_images/fc6/vmlinuz", version="2.6.23-omyx", initrd=CPIO_INITRD, efi_stub=False),
)

CASES: dict[str, Situation] = {
    "empty": a_situation(),
    "kernels": a_situation(Settings(interface="eth1"), *_KERNELS),
    "article": a_situation(
        Settings(
            interface="eth1",
            bios_loader="pxelinux",
            prompt_timeout=10,
            menu_timeout=5,
            ramdisk="ext2",
            tftp_refuse_blksize=True,
            gateway="192.168.10.1",
            cmdline="debug",
        ),
        a_kernel("bzImage", config=a_config(*EXT2_CAPABLE)),
        a_kernel("by-hand", initrd=Initrd(RamdiskFormat.EXT2, 524288)),
    ),
    "roots": a_situation(
        Settings(interface="eth1", menu_timeout=5),
        *_KERNELS,
        a_kernel("Image", version="6.12.0-arm", arch=Arch.ARM64),
        roots=(
            a_root("fedora", cmdline="selinux=0"),
            a_root("my root", is_default=True, compression=Compression.GZIP),
            a_root("only for nfs", forms=()),
            a_root("debian-arm64", arch=Arch.ARM64),
        ),
        layers=(a_layer("6.12.0-mine", "modules-6.12.0-mine.tar.zst"),),
    ),
    "many-roots": a_situation(
        Settings(interface="eth1", menu_timeout=5, ramdisk="ext2", default_root="tumbleweed"),
        *(
            a_kernel(f"bzImage-6.{minor}", version=f"6.{minor}.0", config=a_config(*EXT2_CAPABLE))
            for minor in (12, 11, 6, 1)
        ),
        a_kernel("vmlinuz-2.6", version="2.6.23", initrd=CPIO_INITRD, efi_stub=False),
        a_kernel("alone", version="5.4.0", config=a_config("RD_GZIP", "BLK_DEV_INITRD")),
        roots=(
            a_root("fedora"),
            a_root("tumbleweed", init="/usr/lib/systemd/systemd", variants=["1111222233334444"]),
            a_root("debian", forms=[RamdiskFormat.EXT2]),
            a_root("busybox", forms=[RamdiskFormat.CPIO], compression=Compression.ZSTD),
        ),
        layers=(a_layer("6.12.0", "bzImage-6.12.modules.tar.xz"),),
    ),
    "nfs": a_situation(
        Settings(interface="eth1", menu_timeout=5, bios_loader="pxelinux"),
        a_kernel("bzImage", version="6.12.0-mine", config=a_config(*NFS_CAPABLE)),
        a_kernel("noroot", version="6.12.0", config=a_config(*PLAIN, "RD_GZIP", "BLK_DEV_INITRD")),
        a_kernel(
            "vmlinuz-6.12.9-amd64",
            version="6.12.9-amd64",
            initrd=DEBIAN_INITRD,
            config=a_config(*DEBIAN_CONFIG),
        ),
        roots=(
            a_root("fedora", forms=[RamdiskFormat.CPIO], cmdline="selinux=0"),
            a_root("my debian", forms=(), share="ro", init="/lib/systemd/systemd"),
        ),
        nfs=True,
        machines=("52:54:00:12:34:56", "02:0a:00:00:00:01"),
    ),
    "nfs-first": a_situation(
        Settings(
            interface="eth1",
            nfs_first=True,
            nfs_share="rw",
            nfs_ip=":::::eth0:dhcp",
            firmware_menu="kernels",
            prompt_timeout=10,
        ),
        a_kernel("bzImage", config=a_config(*NFS_CAPABLE)),
        a_kernel(
            "vmlinuz-6.12.9-200.fc41.x86_64",
            version="6.12.9-200.fc41.x86_64",
            initrd=DRACUT_INITRD,
            config=a_config(*DEBIAN_CONFIG),
        ),
        roots=(a_root("fedora"), a_root("own", forms=(), share="clone")),
        nfs=True,
        machines=("52:54:00:12:34:56",),
    ),
    "architectures": a_situation(
        Settings(interface="eth1"),
        a_kernel("Image", version="6.12.0-arm", arch=Arch.ARM64),
        a_kernel("a ${name} || of # its; own ^ Größe", initrd=CPIO_INITRD),
        a_kernel("-" * 100 + "x" * 100),
    ),
    "only-arm64": a_situation(
        Settings(interface="eth1", menu_timeout=5), a_kernel("Image", arch=Arch.ARM64)
    ),
    "before-dhcp": a_situation(
        Settings(
            interface="eth1",
            bootp_lease_time=0,
            rarp_hosts=(
                Host("52:54:00:12:34:56", IPv4Address("192.168.10.5")),
                Host("52:54:00:12:34:57", IPv4Address("192.168.10.6")),
            ),
        )
    ),
    "firmware-menu": a_situation(
        Settings(
            interface="eth1",
            firmware_menu="kernels",
            ipxe_rom="boot-server",
            prompt_timeout=10,
        ),
        *_KERNELS,
    ),
    "ganesha": replace(
        a_situation(Settings(interface="eth1", nfs_writes="sync"), *_KERNELS),
        nfs=NfsService(
            "ganesha",
            exports=(
                an_export("/fedora/aabbccddeeff0011/52-54-00-12-34-56", number=1),
                an_export("/fedora/aabbccddeeff0011/ro", number=2, writable=False),
            ),
        ),
    ),
    "nfsd": replace(
        a_situation(Settings(interface="eth1", nfs_threads=16), *_KERNELS),
        nfs=NfsService(
            "kernel",
            exports=(
                an_export("/fedora/aabbccddeeff0011/52-54-00-12-34-56"),
                an_export("/fedora/aabbccddeeff0011/ro", writable=False),
            ),
            hosts_rpcbind=True,
        ),
    ),
    "local-by-default": a_situation(
        Settings(interface="eth1", default_entry="local", menu_timeout=10), *_KERNELS
    ),
}


def rendered(situation: Situation) -> Tree:
    """Return every file of a situation, with the image's names for what is elsewhere here."""
    tree = everything(situation, ALL, Renderer(situation.paths.templates))
    return {path: _same_everywhere(text) for path, text in tree.items()}


def _same_everywhere(text: str) -> str:
    text = text.replace(str(CHECKOUT / "config"), str(Paths().templates))
    return text.replace(sys.executable, "/opt/venv/bin/python")


def write() -> None:
    """Write every case anew."""
    for name, situation in CASES.items():
        shutil.rmtree(HERE / name, ignore_errors=True)
        write_tree(rendered(situation), HERE / name)


if __name__ == "__main__":
    write()
