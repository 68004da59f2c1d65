from __future__ import annotations

from pathlib import Path

import pytest

from appliance.catalog.ikconfig import extract, parse_config
from appliance.catalog.model import KernelConfig
from appliance.menu.nfs_preflight import NfsRoot, lacking, preflight, version_for
from tests.unit.builders import a_config

CONFIGS = Path(__file__).parent / "kernel_configs"

# A kernel for one purpose.
WHOLE = (
    *("NET", "INET", "IP_PNP", "IP_PNP_DHCP", "FILE_LOCKING", "MULTIUSER", "NETWORK_FILESYSTEMS"),
    *("NFS_FS", "NFS_V3", "NFS_V4", "NFS_V4_1", "NFS_V4_2", "ROOT_NFS", "DEVTMPFS"),
    *("DEVTMPFS_MOUNT", "BINFMT_SCRIPT"),
)
# Of x86-64 kernels, where Debian's tells by a file. Fedora 39: kernel-x86_64-fedora.config;
# openSUSE: kernel-source, config/x86_64/default.
DISTRIBUTION = "\n".join(
    [
        *(f"CONFIG_{name}=y" for name in ("NET", "INET", "PCI", "FILE_LOCKING", "MULTIUSER")),
        *(f"CONFIG_{name}=y" for name in ("NETWORK_FILESYSTEMS", "NFS_V4_1", "NFS_V4_2", "SHMEM")),
        *(f"CONFIG_{name}=y" for name in ("TMPFS", "TMPFS_XATTR", "DEVTMPFS", "DEVTMPFS_MOUNT")),
        *(f"CONFIG_{name}=y" for name in ("BLK_DEV_INITRD", "BINFMT_SCRIPT")),
        *(f"CONFIG_{name}=m" for name in ("NFS_FS", "NFS_V3", "NFS_V4", "OVERLAY_FS")),
        "# CONFIG_IP_PNP is not set",
    ]
)
DISTRIBUTIONS = {
    "Debian": (CONFIGS / "debian-6.12-amd64").read_text(),
    "Debian cloud": (CONFIGS / "debian-6.12-cloud-amd64").read_text(),
    "Fedora": DISTRIBUTION + "\nCONFIG_PACKET=y\n",
    "openSUSE": DISTRIBUTION + "\nCONFIG_PACKET=m\n",
}


def without(*options: str, whole: tuple[str, ...] = WHOLE) -> KernelConfig:
    return a_config(*(option for option in whole if option not in options))


@pytest.fixture(scope="module")
def whole(test_kernel: Path) -> KernelConfig:
    """The configuration inside the test kernel with everything built in."""
    return config_of(test_kernel)


def config_of(kernel: Path) -> KernelConfig:
    with kernel.open("rb") as stream:
        text = extract(stream)
    assert text is not None
    return parse_config(text)


@pytest.mark.parametrize("version", ["3", "4.0", "4.1", "4.2"])
@pytest.mark.parametrize("ip", ["dhcp", "bootp", "rarp", "both", "any", "on", "off", "none"])
@pytest.mark.parametrize("share", ["clone", "rw", "ro"])
def test_a_kernel_with_everything_raises_no_alarm(
    whole: KernelConfig, version: str, ip: str, share: str
) -> None:
    found = preflight(whole, NfsRoot(version, ip, share, False))
    assert (found.works, found.lacking, found.advised, found.command) == (True, (), (), "")


def test_a_kernel_that_cannot_boot_over_nfs_is_told_exactly_what_it_lacks(
    test_kernel_dir: Path,
) -> None:
    config = config_of(next(test_kernel_dir.glob("bzImage-*-noroot")))
    wanted = ("IP_PNP", "IP_PNP_DHCP", "NFS_FS", "NFS_V3", "ROOT_NFS")
    lacks = tuple(option for option in wanted if not config.built_in(f"CONFIG_{option}"))
    assert "ROOT_NFS" in lacks
    found = preflight(config, NfsRoot("3", "dhcp", "clone", False))
    assert (found.works, found.lacking, found.advised) == (False, lacks, ())
    words = " ".join(f"-e {option}" for option in lacks)
    assert found.command == f"scripts/config {words} && make olddefconfig"


def test_of_a_kernel_whose_configuration_is_not_known_nothing_is_claimed() -> None:
    found = preflight(None, NfsRoot("3", "dhcp", "clone", False), {"8086:15f3": "52:54:00:1:2:3"})
    assert (found.works, found.lacking, found.missing_drivers, found.command) == (None, (), (), "")
    assert lacking(None, "3", "dhcp", "clone", False) == ()


@pytest.mark.parametrize("name", list(DISTRIBUTIONS))
def test_a_distributions_kernel_mounts_its_root_only_from_an_initrd(name: str) -> None:
    config = parse_config(DISTRIBUTIONS[name])
    for share in ("clone", "rw", "ro"):
        for version in ("3", "4.0", "4.1", "4.2"):
            assert lacking(config, version, "dhcp", share, True) == ()
    most = ("ROOT_NFS", "IP_PNP", "IP_PNP_DHCP", "NFS_FS")
    assert lacking(config, "3", "dhcp", "clone", False) == (*most, "NFS_V3")
    for version in ("4.0", "4.1", "4.2"):
        assert lacking(config, version, "dhcp", "rw", False) == (*most, "NFS_V4")
    assert lacking(config, "3", "dhcp", "ro", False)[-1] == "OVERLAY_FS"


def test_a_menu_has_no_room_for_what_options_depend_on() -> None:
    assert lacking(a_config(), "3", "dhcp", "clone", False) == (
        *("ROOT_NFS", "IP_PNP", "IP_PNP_DHCP", "NFS_FS", "NFS_V3", "DEVTMPFS"),
    )
    assert lacking(a_config(), "4.2", "dhcp", "ro", True) == (
        *("BLK_DEV_INITRD", "INET", "PACKET", "NFS_FS", "NFS_V4", "NFS_V4_2", "DEVTMPFS"),
        *("OVERLAY_FS", "TMPFS", "TMPFS_XATTR"),
    )


def test_debians_kernel_is_advised_to_mount_dev_by_itself() -> None:
    config = parse_config(DISTRIBUTIONS["Debian"])
    assert preflight(config, NfsRoot("3", "dhcp", "clone", False)).advised == ("DEVTMPFS_MOUNT",)
    assert preflight(config, NfsRoot("3", "dhcp", "clone", True)).advised == ()


@pytest.mark.parametrize("option", ["IP_PNP_DHCP", "NFS_V3", "ROOT_NFS", "DEVTMPFS"])
def test_each_option_is_missed_by_itself(option: str) -> None:
    assert lacking(without(option), "3", "dhcp", "clone", False) == (option,)


def test_options_come_after_those_that_kconfig_wants_first() -> None:
    found = preflight(a_config(), NfsRoot("4.2", "dhcp", "ro", False))
    assert found.lacking == (
        *("NET", "INET", "IP_PNP", "IP_PNP_DHCP", "FILE_LOCKING", "MULTIUSER"),
        *("NETWORK_FILESYSTEMS", "NFS_FS", "NFS_V4", "NFS_V4_1", "NFS_V4_2", "ROOT_NFS"),
        *("DEVTMPFS", "OVERLAY_FS", "SHMEM", "TMPFS", "TMPFS_XATTR", "BINFMT_SCRIPT"),
    )
    assert found.advised == ("DEVTMPFS_MOUNT",)
    words = " ".join(f"-e {option}" for option in (*found.lacking, "DEVTMPFS_MOUNT"))
    assert found.command == f"scripts/config {words} && make olddefconfig"


@pytest.mark.parametrize(
    ("version", "missing"),
    [
        ("3", ()),
        ("4.0", ("NFS_V4",)),
        ("4.1", ("NFS_V4", "NFS_V4_1")),
        ("4.2", ("NFS_V4", "NFS_V4_1", "NFS_V4_2")),
    ],
)
def test_each_version_of_the_protocol_has_its_options(
    version: str, missing: tuple[str, ...]
) -> None:
    config = without("NFS_V4", "NFS_V4_1", "NFS_V4_2")
    assert preflight(config, NfsRoot(version, "dhcp", "clone", False)).lacking == missing


@pytest.mark.parametrize(
    ("version", "options", "missing"),
    [
        ("4.1", ("NFS_V4",), ()),
        ("4.2", ("NFS_V4",), ("NFS_V4_2",)),
        ("4.2", ("NFS_V4", "NFS_V4_2"), ()),
        ("4.0", ("NFS_V4", "NFS_V4_2"), ("NFS_V4_0",)),
        ("4.0", ("NFS_V4", "NFS_V4_0"), ()),
    ],
)
def test_from_linux_7_on_version_4_has_other_options(
    version: str, options: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    rest = [option for option in WHOLE if not option.startswith("NFS_V4")]
    config = a_config(*rest, *options)
    assert lacking(config, version, "dhcp", "clone", False, release="7.0.1-arch1") == missing


@pytest.mark.parametrize(
    ("ip", "built_in", "missing"),
    [
        ("dhcp", (), ("IP_PNP_DHCP",)),
        ("dhcp,1,lab", ("IP_PNP_BOOTP",), ("IP_PNP_DHCP",)),
        ("bootp", ("IP_PNP_DHCP",), ("IP_PNP_BOOTP",)),
        ("rarp", ("IP_PNP_DHCP",), ("IP_PNP_RARP",)),
        ("both", ("IP_PNP_RARP",), ()),
        ("both", (), ("IP_PNP_BOOTP",)),
        ("any", (), ("IP_PNP_DHCP",)),
        ("on", ("IP_PNP_BOOTP",), ()),
        ("off", (), ()),
        ("none", (), ()),
        (":::::eth0:dhcp", (), ("IP_PNP_DHCP",)),
        ("::::lab1:eth0:bootp", (), ("IP_PNP_BOOTP",)),
        ("::::lab1::dhcp:192.168.10.1", (), ("IP_PNP_DHCP",)),
        ("::::lab1", (), ("IP_PNP_DHCP",)),
        ("192.168.10.5::192.168.10.1:255.255.255.0:lab1:eth0:off", (), ()),
        ("192.168.10.5::192.168.10.1:255.255.255.0::eth0", (), ()),
        ("192.168.10.5", (), ()),
        ("", (), ("IP_PNP_DHCP",)),
    ],
)
def test_the_method_that_ip_names_must_be_built_in(
    ip: str, built_in: tuple[str, ...], missing: tuple[str, ...]
) -> None:
    config = a_config(*(option for option in WHOLE if option != "IP_PNP_DHCP"), *built_in)
    assert lacking(config, "3", ip, "clone", False) == missing


def test_an_old_kernel_does_not_lack_what_came_later() -> None:
    config = without("MULTIUSER", "DEVTMPFS", "DEVTMPFS_MOUNT", "BINFMT_SCRIPT")
    root = NfsRoot("3", "dhcp", "clone", False)
    assert preflight(config, root, release="2.6.18-1.fc6").lacking == ()
    assert preflight(config, root, release="3.2.0").lacking == ("DEVTMPFS",)


def test_an_initrd_needs_a_kernel_that_unpacks_it() -> None:
    config = parse_config(DISTRIBUTIONS["Fedora"].replace("CONFIG_BLK_DEV_INITRD=y", ""))
    assert lacking(config, "4.2", "dhcp", "clone", True) == ("BLK_DEV_INITRD",)


@pytest.mark.parametrize(
    ("lacks", "version"),
    [
        ((), "4.2"),
        (("NFS_V4_2",), "3"),
        (("NFS_V4_2", "NFS_V3"), "4.1"),
        (("NFS_V4_2", "NFS_V4_1", "NFS_V3"), "4.0"),
        (("NFS_FS", "NFS_V4", "NFS_V4_2", "NFS_V4_1", "NFS_V3"), "3"),
    ],
)
def test_the_version_is_the_best_that_the_kernel_has(lacks: tuple[str, ...], version: str) -> None:
    assert version_for("auto", without(*lacks), False) == version
    assert version_for("4.0", without(*lacks), False) == "4.0"


def test_the_version_is_3_where_nothing_is_known() -> None:
    assert version_for("auto", None, False) == "3"


def test_a_distributions_modules_count_only_with_an_initrd() -> None:
    config = parse_config(DISTRIBUTIONS["Fedora"])
    assert version_for("auto", config, True) == "4.2"


MAC = "52:54:00:12:34:56"
PLAIN = NfsRoot("4.2", "dhcp", "clone", False)
CARDED = (*WHOLE, "PCI", "NETDEVICES", "ETHERNET", "NET_VENDOR_INTEL")


def test_a_card_without_a_driver_is_named_with_the_machine_that_has_it() -> None:
    found = preflight(a_config(*CARDED, "E1000E"), PLAIN, {"8086:15f3": MAC, "8086:10d3": MAC})
    assert [each.reason for each in found.missing_drivers] == [
        f"no driver built in for 8086:15f3 (seen at {MAC}): CONFIG_IGC=y"
    ]
    # Another machine may have another card.
    assert (found.works, found.command) == (True, "scripts/config -e IGC && make olddefconfig")


def test_a_card_that_two_drivers_know_needs_one_of_them() -> None:
    card = {"10ec:8139": MAC}
    assert preflight(a_config(*CARDED, "8139TOO"), PLAIN, card).missing_drivers == ()
    (missing,) = preflight(a_config(*CARDED), PLAIN, card).missing_drivers
    assert missing.reason.endswith("CONFIG_8139CP=y or CONFIG_8139TOO=y")


def test_a_virtual_card_needs_its_bus_too() -> None:
    (missing,) = preflight(a_config(*CARDED), PLAIN, {"1af4:1000": MAC}).missing_drivers
    assert missing.reason.endswith("CONFIG_VIRTIO_PCI=y CONFIG_VIRTIO_NET=y")


def test_a_card_that_nobody_knows_is_passed_over() -> None:
    assert preflight(a_config(*CARDED), PLAIN, {"dead:beef": MAC}).missing_drivers == ()


def test_a_driver_stands_in_menus_that_have_to_be_set_first() -> None:
    config = parse_config(
        "".join(f"CONFIG_{name}=y\n" for name in (*WHOLE, "PCI")) + "CONFIG_PTP_1588_CLOCK=m\n"
    )
    found = preflight(config, PLAIN, {"8086:15f3": MAC})
    options = "-e NETDEVICES -e ETHERNET -e NET_VENDOR_INTEL -e PTP_1588_CLOCK -e IGC"
    assert found.command == f"scripts/config {options} && make olddefconfig"


@pytest.mark.parametrize("card", ["8086:100e", "8086:10d3", "1af4:1000", "1af4:1041"])
def test_the_labs_cards_have_their_drivers_in_the_test_kernel(
    whole: KernelConfig, card: str
) -> None:
    assert preflight(whole, PLAIN, {card: MAC}).missing_drivers == ()


def test_debians_drivers_are_modules_which_an_initrd_may_have() -> None:
    config = parse_config(DISTRIBUTIONS["Debian"])
    cards = {"8086:15f3": MAC, "1af4:1000": MAC}
    found = preflight(config, PLAIN, cards)
    assert [each.card for each in found.missing_drivers] == ["8086:15f3", "1af4:1000"]
    with_initrd = NfsRoot("4.2", "dhcp", "clone", True)
    assert preflight(config, with_initrd, cards).missing_drivers == ()
