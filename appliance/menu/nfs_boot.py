"""How a kernel is told to mount its root over NFS: words for its command line, or what it lacks.

The kernel's own words are those of Documentation/admin-guide/nfs/nfsroot.rst and fs/nfs/nfsroot.c,
dracut's those of dracut.cmdline(7), initramfs-tools' those of initramfs-tools(7).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import PurePosixPath

from appliance.catalog.model import (
    InitrdMaker,
    PublishedKernel,
    PublishedRoot,
    RootCatalog,
)
from appliance.menu.nfs_preflight import lacking, version_for
from appliance.nfs.export import EVERYBODY, FORMAT, layer_path, share
from appliance.settings import Settings

# Stand in a command line for what is the machine's own, until a loader's file puts it in. Nobody
# else's words can be these: command lines are ASCII.
HOLDER = "⟨mac⟩"  # the machine's part of paths, such as 52-54-00-12-34-56
HOSTNAME = "⟨hostname⟩"

# NFSv4 servers know a machine by its name, which none has yet in an initramfs: of two by one name
# the second is taken for the first after a reboot, whose locks are then gone
# (Documentation/filesystems/nfs/client-identifier.rst).
CLIENT_ID = "nfs.nfs4_unique_id="

# What the small init of a read-only root is called in it; the real one it is told by a word.
_OVERLAY_INIT = "/.bootdrop/overlay-init"
_KERNELS_FIRST = "/sbin/init"  # what kernel and initramfs start by themselves
_SIZES = ("rsize=1048576", "wsize=1048576")  # without them a kernel's own mount takes 4096
# What the kernel has room for in the options of DHCP and of the command line together: 256, without
# its default (vers=2,tcp,rsize=4096,wsize=4096) and its own at the end (nolock,addr=…).
_ROOM_FOR_OPTIONS = 194

# klibc's nfsmount knows these, and stops at any other; of versions it knows 2 and 3.
_NFSMOUNT_VALUES = frozenset(
    {"port", "rsize", "wsize", "timeo", "retrans", "acregmin", "acregmax", "acdirmin", "acdirmax"}
)
_NFSMOUNT_WORDS = frozenset(
    f"{no}{word}" for word in ("intr", "posix", "cto", "ac", "lock", "acl") for no in ("", "no")
) | {"soft", "hard"}


@dataclass(frozen=True)
class NfsBoot:
    """How one kernel boots one root over NFS."""

    initrds: tuple[PurePosixPath, ...]  # its own, or none
    cmdline: str  # with HOLDER and HOSTNAME in it
    bootif: bool  # wants BOOTIF=01-MAC too, as pxelinux writes it; the kernel itself knows no such
    lacks: tuple[str, ...]  # what keeps it from booting so


def nfs_boot(
    settings: Settings, server: IPv4Address, kernel: PublishedKernel, root: PublishedRoot
) -> NfsBoot:
    """Return how a kernel boots a root: through its initrd, where that is known to be able to.

    `server` is where machines mount from. The command line is without what all kernels get.
    """
    by_itself = _Case(settings, server, kernel, root)
    maker = mounted_by(kernel, lambda: by_itself.is_able)
    if maker is None or kernel.initrd is None:
        return NfsBoot((), _by_itself(by_itself), bootif=False, lacks=by_itself.lacks)
    case = replace(by_itself, maker=maker)
    words = _dracut(case) if maker is InitrdMaker.DRACUT else _initramfs_tools(case)
    lacks = (*initrd_lacks(kernel), *case.lacks)
    return NfsBoot((kernel.initrd,), words, bootif=True, lacks=lacks)


def mounted_by(kernel: PublishedKernel, is_able: Callable[[], bool]) -> InitrdMaker | None:
    """Return by whom the initrd is that mounts a root over NFS; None: the kernel does.

    `is_able` tells whether the kernel is known to be able to. An initrd by nobody known does not
    mount what it is told.
    """
    if kernel.initrd is None or kernel.initrd_format is None:
        return None
    return None if initrd_lacks(kernel) and is_able() else kernel.initrd_format.made_by


def version_by(maker: InitrdMaker | None, settings: Settings, kernel: PublishedKernel) -> str:
    """Return the version of NFS by which an initrd, or the kernel itself, mounts a root."""
    # klibc's nfsmount knows no other that is still served.
    wanted = "3" if maker is InitrdMaker.INITRAMFS_TOOLS else settings.nfs_version
    return version_for(wanted, kernel.config, maker is not None, kernel.version)


@dataclass(frozen=True)
class _Case:
    settings: Settings
    server: IPv4Address
    kernel: PublishedKernel
    root: PublishedRoot
    maker: InitrdMaker | None = None  # of the initrd that mounts the root; None: the kernel does

    @property
    def version(self) -> str:
        return version_by(self.maker, self.settings, self.kernel)

    @property
    def place(self) -> str:
        return f"{self.server}:{export_path(self.settings, self.root)}"

    @property
    def options(self) -> str:
        return _options(self.settings, self.version)

    @property
    def lacks(self) -> tuple[str, ...]:
        return lacking(
            self.kernel.config,
            self.version,
            str(self.settings.nfs_ip),
            share(self.settings, self.root),
            self.maker is not None,
            release=self.kernel.version,
        )

    @property
    def is_able(self) -> bool:
        """Tell whether it is known to lack nothing."""
        return self.kernel.config is not None and not self.lacks


def _by_itself(case: _Case) -> str:
    ip = case.settings.nfs_ip.named(hostname=HOSTNAME)
    return f"root=/dev/nfs {_init(case)} nfsroot={case.place},{case.options} ip={ip}"


def _dracut(case: _Case) -> str:
    # `nfs` is version 3 for it, whatever the options say (parse-nfsroot.sh).
    kind = "nfs" if case.version == "3" else "nfs4"
    words = f"root={kind}:{case.place}:{case.options} {_init(case)} rd.neednet=1 ip=dhcp"
    return f"{words} {CLIENT_ID}{HOLDER}" if HOLDER in case.place else words


def _initramfs_tools(case: _Case) -> str:
    options = _nfsmount_options(case.options)
    return f"boot=nfs root=/dev/nfs nfsroot={case.place},{options} {_init(case)} ip=dhcp"


def export_path(settings: Settings, root: PublishedRoot) -> PurePosixPath:
    """Return what machines mount of a root, HOLDER in it where each has its own."""
    return layer_path(root.key, root.id, EVERYBODY.get(share(settings, root), HOLDER))


def over_nfs_without(refused: Collection[tuple[str, str]], roots: RootCatalog) -> RootCatalog:
    """Return roots without NFS among the formats of some versions, by their root's name and ID.

    Those that are for NFS alone are left out.
    """
    offered = (
        replace(each, formats=tuple(way for way in each.formats if way != FORMAT))
        if (each.name, each.id) in refused
        else each
        for each in roots.roots
    )
    return replace(roots, roots=tuple(each for each in offered if each.formats))


def root_path(settings: Settings, server: IPv4Address, root: PublishedRoot) -> str:
    """Return DHCP's option 17 as the kernel reads it: SERVER:PATH,OPTIONS, HOLDER in it.

    It joins them with those of its command line, so they are few where all would be too many.
    """
    version = version_for(settings.nfs_version, None, has_initrd=False)
    options = _options(settings, version)
    if 2 * len(options) > _ROOM_FOR_OPTIONS:
        options = f"vers={version},tcp"
    return f"{server}:{export_path(settings, root)},{options}"


def _init(case: _Case) -> str:
    init = case.root.init
    if share(case.settings, case.root) == "ro":
        return f"ro init={_OVERLAY_INIT} bootdrop.init={init}"
    return "rw" if init == _KERNELS_FIRST else f"rw init={init}"


def initrd_lacks(kernel: PublishedKernel) -> tuple[str, ...]:
    """Return what an initrd by a known maker lacks for NFS; nothing where nobody knows."""
    initrd = kernel.initrd_format
    if initrd is None or initrd.made_by is None:
        return ()
    built_in = kernel.config is not None and kernel.config.built_in("CONFIG_NFS_FS")
    lacks = {
        f"nfs in its {initrd.made_by} initrd": initrd.nfs_mount is False,
        "nfs.ko in its initrd": initrd.nfs_module is False and not built_in,
    }
    return tuple(name for name, is_lacking in lacks.items() if is_lacking)


def _options(settings: Settings, version: str) -> str:
    words = [word for word in settings.nfs_options.split(",") if word]
    sizes = [size for size in _SIZES if not any(word.startswith(size[:6]) for word in words)]
    return ",".join([f"vers={version}", "tcp", *words, *sizes])


def _nfsmount_options(options: str) -> str:
    """Return those options that klibc's nfsmount knows: it mounts nothing for any other."""
    return ",".join(
        word
        for word in options.split(",")
        if word in _NFSMOUNT_WORDS | {"vers=3", "tcp"} or word.partition("=")[0] in _NFSMOUNT_VALUES
    )
