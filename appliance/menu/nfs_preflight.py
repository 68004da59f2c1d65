"""What a kernel lacks to mount its root over NFS, told from its configuration before it boots."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

from appliance import ip_parameter
from appliance.catalog.model import KernelConfig
from appliance.menu.nic_drivers import Driver, drivers_of

VERSIONS = ("4.2", "4.1", "4.0", "3")  # of NFS, as nfs(5) writes them

# What Kconfig wants of an option before it takes it (Linux 6.12: net/ipv4/Kconfig, fs/Kconfig,
# fs/nfs/Kconfig, drivers/base/Kconfig, drivers/net/Kconfig). What an option selects needs no word.
_DEPENDS_ON: Mapping[str, tuple[str, ...]] = {
    "INET": ("NET",),
    "PACKET": ("NET",),
    "IP_PNP": ("INET",),
    "IP_PNP_DHCP": ("IP_PNP",),
    "IP_PNP_BOOTP": ("IP_PNP",),
    "IP_PNP_RARP": ("IP_PNP",),
    "NETWORK_FILESYSTEMS": ("NET",),
    "NFS_FS": ("INET", "FILE_LOCKING", "MULTIUSER", "NETWORK_FILESYSTEMS"),
    "NFS_V3": ("NFS_FS",),
    "NFS_V4": ("NFS_FS",),
    "NFS_V4_0": ("NFS_V4",),
    "NFS_V4_1": ("NFS_V4",),
    "NFS_V4_2": ("NFS_V4_1",),
    "ROOT_NFS": ("NFS_FS", "IP_PNP"),
    "DEVTMPFS_MOUNT": ("DEVTMPFS",),
    "TMPFS": ("SHMEM",),
    "TMPFS_XATTR": ("TMPFS",),
    "NETDEVICES": ("NET",),
    "NET_CORE": ("NETDEVICES",),
    "ETHERNET": ("NETDEVICES",),
}
# The release that an option came with; before it, kernels had the thing without asking or not at
# all, so that its absence tells nothing.
_SINCE: Mapping[str, tuple[int, ...]] = {
    "DEVTMPFS": (2, 6, 32),
    "DEVTMPFS_MOUNT": (2, 6, 32),
    "ETHERNET": (3, 2),
    "BINFMT_SCRIPT": (3, 10),
    "MULTIUSER": (4, 1),
}
# NFS_V4 has 4.1 in it, and 4.0 is an option of its own: Linux commits 7537db24806f, 4e0269352534.
_V4_REGROUPED = (7, 0)
# Options of which a module does, if it is in the initrd.
_AS_MODULES = frozenset({"PACKET", "NFS_FS", "NFS_V3", "NFS_V4", "OVERLAY_FS"})

_ASKING = {"dhcp": "IP_PNP_DHCP", "bootp": "IP_PNP_BOOTP", "rarp": "IP_PNP_RARP"}


@dataclass(frozen=True)
class NfsRoot:
    """How a machine is to mount its root."""

    version: str  # one of VERSIONS
    ip: str  # the value of `ip=`; only for kernels that boot without an initrd
    share: str  # clone, rw, or ro: with a layer in the machine's memory
    has_initrd: bool  # of dracut or initramfs-tools, which mounts the root


@dataclass(frozen=True)
class MissingDriver:
    """A network card that was seen, and that a kernel would not."""

    card: str  # "8086:15f3"
    mac: str  # of a machine that has it
    drivers: tuple[Driver, ...]  # any one of them would do

    @property
    def reason(self) -> str:
        """One line for a person."""
        wanted = " or ".join(
            " ".join(f"CONFIG_{option}=y" for option in driver.options) for driver in self.drivers
        )
        return f"no driver built in for {self.card} (seen at {self.mac}): {wanted}"


@dataclass(frozen=True)
class Preflight:
    """What is known of a kernel before it boots. Options are without CONFIG_."""

    works: bool | None  # None: its configuration is not known
    lacking: tuple[str, ...] = ()  # that it cannot do without, in order of their dependencies
    advised: tuple[str, ...] = ()  # that it can do without
    missing_drivers: tuple[MissingDriver, ...] = ()
    command: str = ""  # for the top of its source tree; "" where nothing is lacking


def preflight(
    config: KernelConfig | None,
    root: NfsRoot,
    cards: Mapping[str, str] | None = None,
    release: str = "",
) -> Preflight:
    """Tell what a kernel lacks to mount its root so, on machines with these network cards.

    `cards` names each card with the hardware address of a machine that has it. `release` is the
    kernel's version; without it, it is taken for one of today's.
    """
    if config is None:
        return Preflight(None)
    kernel = _Kernel(config, _numbers(release), root.has_initrd)
    lacks = kernel.lacking(_needed(kernel, root))
    # The builder's trees have a console of their own, and systemd mounts /dev; other trees may
    # have neither, and then start without a word.
    wished = kernel.lacking(() if root.has_initrd else ("DEVTMPFS_MOUNT",))
    advised = tuple(option for option in wished if option not in lacks)
    missing = tuple(_missing_drivers(kernel, cards or {}))
    options = [option for each in missing for option in kernel.options_of(each.drivers)]
    return Preflight(
        not lacks, lacks, advised, missing, command(dict.fromkeys([*lacks, *advised, *options]))
    )


def lacking(  # noqa: PLR0913
    config: KernelConfig | None,
    version: str,
    ip: str,
    share: str,
    has_initrd: bool,
    *,
    release: str = "",
) -> tuple[str, ...]:
    """Return what a kernel lacks to mount its root over NFS, in few words for a menu.

    These are options without CONFIG_, the most telling first; what else they depend on `preflight`
    tells. Of a kernel whose configuration is not known nothing is claimed: ().
    """
    if config is None:
        return ()
    kernel = _Kernel(config, _numbers(release), has_initrd)
    found = [
        option
        for option in _needed(kernel, NfsRoot(version, ip, share, has_initrd))
        if kernel.lacks(option)
    ]
    return tuple(sorted(found, key=lambda option: option != "ROOT_NFS"))


def version_for(
    wanted: str, config: KernelConfig | None, has_initrd: bool, release: str = ""
) -> str:
    """Return the version of NFS that a kernel mounts its root with.

    Where it is "auto": 4.2 if the kernel is known to have it, else 3; what it has if it lacks both.
    """
    if wanted != "auto":
        return wanted
    if config is None:
        return "3"
    kernel = _Kernel(config, _numbers(release), has_initrd)
    having = (each for each in ("4.2", "3", "4.1", "4.0") if not kernel.lacking(kernel.nfs(each)))
    return next(having, "3")


def command(options: Iterable[str]) -> str:
    """Return what to type at the top of a kernel's source to set options; "" for none."""
    words = [f"-e {option}" for option in options]
    return f"scripts/config {' '.join(words)} && make olddefconfig" if words else ""


@dataclass(frozen=True)
class _Kernel:
    config: KernelConfig
    release: tuple[int, ...]  # () for one of today's
    has_initrd: bool

    def lacking(self, needed: Iterable[str]) -> tuple[str, ...]:
        """Return which of the options it lacks, each after those that it depends on."""
        found: dict[str, None] = {}
        for option in needed:
            self._add(option, found)
        return tuple(found)

    def nfs(self, version: str) -> tuple[str, ...]:
        """Return the options for one version of the protocol."""
        if version == "3":
            return ("NFS_V3",)
        # NFS_V4 each time, as it may be a module while the options below it are not.
        regrouped = self._has_regrouped_v4()
        return {
            "4.0": ("NFS_V4", "NFS_V4_0") if regrouped else ("NFS_V4",),
            "4.1": ("NFS_V4",) if regrouped else ("NFS_V4", "NFS_V4_1"),
            "4.2": ("NFS_V4", "NFS_V4_2"),
        }[version]

    def options_of(self, drivers: tuple[Driver, ...]) -> tuple[str, ...]:
        """Return what has to be set for drivers, each after what it depends on."""
        found: dict[str, None] = {}
        for driver in drivers:
            for option in driver.depends_on:
                self._add(option, found)
            # A driver cannot be built in that depends on a module.
            for option in driver.no_modules:
                if (f"CONFIG_{option}", "m") in self.config.options:
                    found[option] = None
            for option in driver.options:
                self._add(option, found)
        return tuple(found)

    def is_there(self, option: str, module_does: bool) -> bool:
        """Tell whether the kernel has what an option gives."""
        name = f"CONFIG_{option}"
        return self.config.built_in(name) or (module_does and (name, "m") in self.config.options)

    def lacks(self, option: str) -> bool:
        """Tell whether an option is neither there nor younger than the kernel."""
        since = _SINCE.get(option)
        if since is not None and self.release and self.release < since:
            return False
        return not self.is_there(option, self.has_initrd and option in _AS_MODULES)

    def _add(self, option: str, found: dict[str, None]) -> None:
        if not self.lacks(option):
            return
        for before in _DEPENDS_ON.get(option, ()):
            if before != "NFS_V4_1" or not self._has_regrouped_v4():
                self._add(before, found)
        found[option] = None

    def _has_regrouped_v4(self) -> bool:
        if self.release:
            return self.release >= _V4_REGROUPED
        built_in = self.config.built_in
        return built_in("CONFIG_NFS_V4_0") or (
            built_in("CONFIG_NFS_V4_2") and not built_in("CONFIG_NFS_V4_1")
        )


def _needed(kernel: _Kernel, root: NfsRoot) -> Iterator[str]:
    """Yield what a kernel needs, in the order in which a person would look for it."""
    if root.has_initrd:
        # Their DHCP clients listen on packet sockets; ROOT_NFS and IP_PNP are not asked.
        yield from ("BLK_DEV_INITRD", "INET", "PACKET", "NFS_FS")
        yield from kernel.nfs(root.version)
    else:
        yield "IP_PNP"
        either = _methods(root.ip)
        if either and not any(kernel.is_there(option, False) for option in either):
            yield either[0]
        yield "NFS_FS"
        yield from kernel.nfs(root.version)
        yield "ROOT_NFS"
    # Without it systemd does not start (its mount-setup.c: MNT_FATAL), nor do both initrds.
    yield "DEVTMPFS"
    if root.share == "ro":
        # Without the attributes a folder cannot be moved in the layer.
        yield from ("OVERLAY_FS", "TMPFS", "TMPFS_XATTR")
        if not root.has_initrd:
            yield "BINFMT_SCRIPT"


def _methods(ip: str) -> tuple[str, ...]:
    """Return the options of which a kernel needs one to find its address by the value of `ip=`.

    A method that is not built in is taken for none (net/ipv4/ipconfig.c, ic_proto_name).
    """
    parameter = ip_parameter.parse(ip)
    if parameter.client is not None:  # it has its address, and asks nobody
        return ()
    options = tuple(option for method, option in _ASKING.items() if method in parameter.asks)
    # What DHCP is built of asks by BOOTP too, if it is told `both`.
    return (*options, _ASKING["dhcp"]) if parameter.method == "both" else options


def _missing_drivers(kernel: _Kernel, cards: Mapping[str, str]) -> Iterator[MissingDriver]:
    for card, mac in cards.items():
        drivers = drivers_of(card)
        if drivers and not any(
            all(kernel.is_there(option, kernel.has_initrd) for option in driver.options)
            for driver in drivers
        ):
            yield MissingDriver(card, mac, drivers)


def _numbers(release: str) -> tuple[int, ...]:
    match = re.match(r"\d+(\.\d+){1,2}", release)
    return tuple(map(int, match[0].split("."))) if match else ()
