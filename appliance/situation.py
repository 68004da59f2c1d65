"""Everything that the generated files depend on, as one value."""

from __future__ import annotations

from dataclasses import dataclass
from ipaddress import IPv4Address

from appliance.menu import firmware_menu
from appliance.menu.entries import Menu
from appliance.menu.firmware_menu import FirmwareMenu
from appliance.network import Network
from appliance.nfs.export import NOT_DECIDED, NfsService
from appliance.paths import Paths
from appliance.settings import Settings


@dataclass(frozen=True)
class Loaders:
    """The first file for each firmware, by its name in the TFTP root."""

    bios: str
    efi_x64: str
    efi_arm64: str


@dataclass(frozen=True)
class Situation:
    """Settings, what the host gives and what the volume holds, at one moment."""

    settings: Settings
    paths: Paths
    menu: Menu
    network: Network | None = None  # None: no network to boot on
    other_router: str | None = None  # address of one that advertises; None while listening for it
    # Addresses of others that answer DHCP; None while listening for them.
    other_dhcp_servers: tuple[IPv4Address, ...] | None = None
    nfs: NfsService = NOT_DECIDED
    # Hardware addresses of machines that are known, such as 52:54:00:12:34:56: those that pxelinux
    # gets files of their own for, where a command line is one machine's.
    machines: tuple[str, ...] = ()
    landlock: bool = True  # the kernel lets a process give up its access to files

    @property
    def loaders(self) -> Loaders:
        """What the boot server hands out."""
        pxelinux = self.settings.bios_loader == "pxelinux"
        return Loaders(
            bios="pxelinux.0" if pxelinux else "undionly.kpxe",
            efi_x64="snponly.efi",
            efi_arm64="ipxe-arm64.efi",
        )

    @property
    def firmware_menu(self) -> FirmwareMenu:
        """What the boot server lists."""
        return firmware_menu.plan(self.settings, self.menu)

    @property
    def base_url(self) -> str | None:
        """Root of the boot files over HTTP, without a slash at its end."""
        return base_url(self.settings, self.network)


def base_url(settings: Settings, network: Network | None) -> str | None:
    """Return where machines find boot files over HTTP; None without a network."""
    return f"http://{network.server}:{settings.http_port}" if network else None
