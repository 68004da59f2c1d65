"""Makes appliance/menu/nic_drivers.txt: which PCI network card wants which options of a kernel.

    apt-get download linux-image-V-amd64-unsigned linux-source-V
    (unpack both; of the source, drivers/net/ is enough)
    python tools/nic_drivers.py IMAGE SOURCE > appliance/menu/nic_drivers.txt

IMAGE is the unpacked image package: its modules tell by their aliases which cards they drive.
SOURCE is the kernel's source: its Makefiles tell which option builds a module, its Kconfig files
what they depend on. What neither tells is in the tables here.
"""

from __future__ import annotations

import lzma
import re
import sys
from collections import defaultdict
from pathlib import Path

_ALIAS = re.compile(rb"alias=pci:v0000([0-9A-F]{4})d0000([0-9A-F]{4})sv")
_BUILT_BY = re.compile(r"^obj-\$\(CONFIG_(\w+)\)\s*[+:]?=\s*((?:.*\\\n)*.*)$", re.MULTILINE)

# What drivers depend on that every PC has, that has no prompt, or that the menus have.
_NOT_ASKED = {
    *("PCI", "X86", "X86_64", "64BIT", "HAS_IOMEM", "HAS_IOPORT", "HAS_DMA"),
    *("NETDEVICES", "ETHERNET", "INET", "NET", "B44_PCI_AUTOSELECT", "B44_PCICORE_AUTOSELECT"),
    *("SSB_POSSIBLE", "HAS_IOPORT_MAP", "GENERIC_PCI_IOMAP", "PAGE_SIZE_LESS_THAN_64KB", "OF_IRQ"),
}
# Modules that know the card, but make no interface of it without another's help.
_MORE = {
    "mlx4_core": ("MLX4_CORE", "MLX4_EN"),
    "mlx5_core": ("MLX5_CORE", "MLX5_CORE_EN"),
    "qede": ("QED", "QEDE"),
    "b44": ("B44", "B44_PCI"),
    "iavf": ("I40EVF",),  # which selects IAVF; that has no prompt
    "dwmac-intel": ("STMMAC_ETH", "STMMAC_PLATFORM", "DWMAC_INTEL"),
}
# Drivers below a menu of their own.
_MENUS = {"dec/tulip": ("NET_TULIP",)}
# Bound by the device's own bus: drivers/virtio/virtio_pci_common.c has all of 1af4:1000 to 107f,
# of which these two are network cards (VirtIO 1.2, 4.1.2.1 and 5.1).
_BY_HAND = {
    ("virtio_net", ("VIRTIO_PCI", "VIRTIO_NET"), ("NET_CORE", "VIRTIO_MENU")): {
        ("1af4", "1000"),
        ("1af4", "1041"),
    },
}
_NO_CARDS = {"cavium_ptp"}  # modules below drivers/net/ethernet that drive no network card


def main(image: Path, source: Path) -> None:
    """Print the table."""
    drivers = dict(_BY_HAND)
    for module in [*image.rglob("drivers/net/ethernet/**/*.ko.xz"), *image.rglob("vmxnet3.ko.xz")]:
        name = module.name.removesuffix(".ko.xz")
        found = _ALIAS.findall(lzma.decompress(module.read_bytes()))
        cards = {(vendor.decode().lower(), device.decode().lower()) for vendor, device in found}
        if cards and name not in _NO_CARDS:
            (kernel,) = [parent for parent in module.parents if parent.name == "kernel"]
            folder = source / module.relative_to(kernel).parent
            options = _MORE.get(name) or (_option(folder, name),)
            depends_on = _menus(source, folder) + _wants(folder, options)
            drivers[(name, options, depends_on)] = cards
    print(f"# Network cards on PCI and their drivers, from {_release(image)}")
    print("# by tools/nic_drivers.py: module, options that build it, options that they depend on")
    print("# (X? must not be a module), and vendor:device,device and so on.")
    for (name, options, menus), cards in sorted(drivers.items()):
        print(name, ",".join(options), ",".join(menus) or "-", *_grouped(cards))


def _option(folder: Path, module: str) -> str:
    """Return the option that builds a module, by the Makefile beside its source or above."""
    for makefile in (folder / "Makefile", folder.parent / "Makefile"):
        for option, objects in _BUILT_BY.findall(makefile.read_text()):
            if f"{module}.o" in objects.replace("\\\n", " ").split():
                return str(option)
    raise SystemExit(f"{folder}/Makefile: nothing builds {module}.o")


def _menus(source: Path, folder: Path) -> tuple[str, ...]:
    ethernet = source / "drivers/net/ethernet"
    if not folder.is_relative_to(ethernet):
        return ()
    below = folder.relative_to(ethernet)
    if not below.parts:
        return ("ETHERNET",)
    vendor = [
        option
        for option, built in _BUILT_BY.findall((ethernet / "Makefile").read_text())
        if f"{below.parts[0]}/" in built.split() and option.startswith("NET_VENDOR_")
    ]
    return ("ETHERNET", *vendor, *_MENUS.get(str(below), ()))


def _wants(folder: Path, options: tuple[str, ...]) -> tuple[str, ...]:
    """Return what Kconfig wants of drivers: options that have to be set, and such as have not to.

    `X?` is an option that may be set or not but must not be a module: `depends on X || !X`.
    """
    found: dict[str, None] = {}
    for above in (folder, folder.parent, folder.parent.parent):
        kconfig = above / "Kconfig"
        text = kconfig.read_text() if kconfig.exists() else ""
        for entry in re.split(r"^(?=(?:menu)?config )", text, flags=re.MULTILINE):
            name = re.match(r"config (\w+)", entry)
            if name and name[1] in options:
                for terms in re.findall(r"^\tdepends on (.*)$", entry, re.MULTILINE):
                    found |= dict.fromkeys(filter(None, map(_want, terms.split("&&"))))
    return tuple(each for each in found if each not in options)


def _want(term: str) -> str | None:
    option = term.strip(" ()")
    if option == "PTP_1588_CLOCK_OPTIONAL":  # drivers/ptp/Kconfig: PTP_1588_CLOCK or not
        return "PTP_1588_CLOCK?"
    if either := re.fullmatch(r"(\w+) \|\| (?:!\1|\1 ?= ?n)", option):
        return f"{either[1]}?"
    return option if re.fullmatch(r"\w+", option) and option not in _NOT_ASKED else None


def _grouped(cards: set[tuple[str, str]]) -> list[str]:
    vendors = defaultdict(list)
    for vendor, device in sorted(cards):
        vendors[vendor].append(device)
    return [f"{vendor}:{','.join(devices)}" for vendor, devices in sorted(vendors.items())]


def _release(image: Path) -> str:
    return "Debian's Linux " + next((image / "lib/modules").iterdir()).name


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
