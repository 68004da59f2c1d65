"""Entries that boot a root over NFS: in whose words, by which version, and in which order."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import Literal

import pytest

from appliance.catalog.model import Arch, Initrd, PublishedKernel, PublishedRoot
from appliance.menu.entries import Entry, Firmware, Menu
from appliance.menu.nfs_boot import HOLDER, HOSTNAME, root_path
from appliance.reconcile import publish_boot_files
from appliance.render import Renderer
from appliance.settings import Settings
from appliance.situation import Situation
from tests.unit.builders import (
    CPIO_INITRD,
    DEBIAN_CONFIG,
    DEBIAN_INITRD,
    DRACUT_INITRD,
    NFS_BY_ITSELF,
    NFS_CAPABLE,
    NFS_VERSIONS,
    OVERLAY,
    PLAIN,
    SERVER,
    a_config,
    a_kernel,
    a_menu,
    a_root,
    a_situation,
)

CONSOLES = "console=tty0 console=ttyS0,115200n8"
PATH = "192.168.10.1:/fedora/aabbccddeeff0011"
SIZES = "rsize=1048576,wsize=1048576"
ABLE = a_kernel(config=a_config(*NFS_CAPABLE))
MACHINE = "52:54:00:12:34:56"


def nfs_root(
    name: str = "fedora",
    share: Literal["clone", "ro", "rw"] = "rw",
    init: str = "/sbin/init",
    cmdline: str = "",
) -> PublishedRoot:
    """Return a root that has no ramdisk."""
    return a_root(name, forms=(), share=share, init=init, cmdline=cmdline)


def over_nfs(
    kernel: PublishedKernel, root: PublishedRoot | None = None, settings: Settings | None = None
) -> Entry:
    """Return a kernel's one entry with a root over NFS."""
    menu = a_menu(settings or Settings(), kernel, roots=[root or nfs_root()], nfs=True)
    (entry,) = (each for each in menu.entries if each.key.endswith("~nfs"))
    return entry


def debian(initrd: Initrd | None = DEBIAN_INITRD, *options: str) -> PublishedKernel:
    return a_kernel("vmlinuz", initrd=initrd, config=a_config(*(options or DEBIAN_CONFIG)))


def titles(menu: Menu) -> list[str]:
    """Return what comes behind the kernel in each title."""
    return [entry.title.partition("), ")[2] for entry in menu.entries]


# Words


def test_a_kernel_that_can_mounts_its_root_by_itself() -> None:
    entry = over_nfs(ABLE, nfs_root(cmdline="selinux=0"))
    assert (entry.key, entry.title) == ("bzImage~~fedora~nfs", "bzImage (6.1.192), fedora over NFS")
    assert (entry.initrds, entry.bootif, entry.lacks) == ((), False, ())
    assert entry.cmdline == (
        f"root=/dev/nfs rw nfsroot={PATH}/rw,vers=4.2,tcp,{SIZES},hard ip=::::{HOSTNAME}::dhcp "
        f"selinux=0 {CONSOLES}"
    )


def test_dracut_is_told_in_its_own_words() -> None:
    kernel = debian(DRACUT_INITRD)
    entry = over_nfs(kernel)
    assert (entry.initrds, entry.bootif, entry.lacks) == ((kernel.initrd,), True, ())
    assert entry.cmdline == (
        f"root=nfs4:{PATH}/rw:vers=4.2,tcp,{SIZES},hard rw rd.neednet=1 ip=dhcp {CONSOLES}"
    )
    by_3 = over_nfs(kernel, settings=Settings(nfs_version="3"))
    assert by_3.cmdline.startswith(f"root=nfs:{PATH}/rw:vers=3,tcp,{SIZES},hard rw ")


def test_a_clones_machine_by_dracut_has_a_name_of_its_own_for_nfsv4() -> None:
    cloned = over_nfs(debian(DRACUT_INITRD), nfs_root(share="clone"))
    assert f" ip=dhcp nfs.nfs4_unique_id={HOLDER} {CONSOLES}" in f"{cloned.cmdline} "
    assert "nfs4_unique_id" not in over_nfs(ABLE, nfs_root(share="clone")).cmdline


def test_initramfs_tools_is_told_in_its_own_words_and_mounts_by_version_3_alone() -> None:
    kernel = debian()
    entry = over_nfs(kernel, settings=Settings(nfs_version="4.2"))
    assert (entry.initrds, entry.bootif, entry.lacks) == ((kernel.initrd,), True, ())
    assert entry.cmdline == (
        f"boot=nfs root=/dev/nfs nfsroot={PATH}/rw,vers=3,tcp,{SIZES},hard rw ip=dhcp {CONSOLES}"
    )


def test_its_nfsmount_gets_only_options_that_it_knows() -> None:
    settings = Settings(nfs_options="nconnect=4,noatime,soft,timeo=600,nolock,rsize=65536")
    assert f"/rw,vers=3,tcp,soft,timeo=600,nolock,rsize=65536,{SIZES[14:]} rw" in (
        over_nfs(debian(), settings=settings).cmdline
    )


@pytest.mark.parametrize("initrd", [CPIO_INITRD, None])
def test_an_initrd_by_nobody_known_is_left_out(initrd: Initrd | None) -> None:
    entry = over_nfs(a_kernel(initrd=initrd, config=ABLE.config))
    assert entry.initrds == ()
    assert entry.cmdline.startswith("root=/dev/nfs rw ")


@pytest.mark.parametrize("share", ["clone", "ro", "rw"])
def test_who_shares_a_root_shares_its_path(share: Literal["clone", "ro", "rw"]) -> None:
    entry = over_nfs(ABLE, nfs_root(share=share))
    holder = {"clone": HOLDER}.get(share, share)
    assert f"nfsroot={PATH}/{holder},vers=" in entry.cmdline
    assert entry.is_of_one_machine is (share == "clone")


def test_a_recipe_that_does_not_say_is_shared_as_is_set() -> None:
    root = replace(nfs_root(), share=None)
    assert f"{PATH}/{HOLDER}," in over_nfs(ABLE, root).cmdline
    assert f"{PATH}/ro," in over_nfs(ABLE, root, Settings(nfs_share="ro")).cmdline


@pytest.mark.parametrize("kernel", [ABLE, debian(), debian(DRACUT_INITRD)])
def test_a_root_that_is_only_read_is_overlaid_by_its_own_small_init(
    kernel: PublishedKernel,
) -> None:
    entry = over_nfs(kernel, nfs_root(share="ro", init="/lib/systemd/systemd"))
    words = " ro init=/.bootdrop/overlay-init bootdrop.init=/lib/systemd/systemd "
    assert words in entry.cmdline
    assert " rw " not in entry.cmdline


def test_an_init_that_the_kernel_does_not_look_for_is_named() -> None:
    assert " rw init=/init nfsroot=" in over_nfs(ABLE, nfs_root(init="/init")).cmdline


def test_the_setting_of_ip_is_kept_and_completed() -> None:
    settings = Settings(nfs_ip="::::lab:eth1:bootp", nfs_options="soft")
    able = replace(ABLE, config=a_config(*NFS_CAPABLE, "IP_PNP_BOOTP"))
    assert over_nfs(able, settings=settings).cmdline.startswith(
        f"root=/dev/nfs rw nfsroot={PATH}/rw,vers=4.2,tcp,soft,{SIZES} ip=::::lab:eth1:bootp "
    )


def test_whatever_is_set_fits_into_the_kernels_256_bytes_with_what_dhcp_says() -> None:
    root = nfs_root("x" * 59 + " ", share="clone")
    settings = Settings(nfs_options="a" * 80, server_address="192.168.100.100")
    match = re.search(r"nfsroot=(\S+)", over_nfs(ABLE, root, settings).cmdline)
    assert match and len(match[1].replace(HOLDER, "52-54-00-12-34-56")) < 256
    by_dhcp = root_path(settings, SERVER, root)
    options = match[1].partition(",")[2] + by_dhcp.partition(",")[2]
    assert len(f"vers=2,tcp,rsize=4096,wsize=4096,{options},,nolock,addr=192.168.100.100") < 256


# Versions


@pytest.mark.parametrize(
    ("options", "version"),
    [
        (("NFS_V3", "NFS_V4", "NFS_V4_1", "NFS_V4_2"), "4.2"),
        (("NFS_V3", "NFS_V4", "NFS_V4_1"), "3"),
        (("NFS_V4", "NFS_V4_1"), "4.1"),
        (("NFS_V3",), "3"),
        (("NFS_V3", "NFS_V4=m", "NFS_V4_1", "NFS_V4_2"), "3"),
        (None, "3"),
    ],
)
def test_version_4_2_is_taken_where_a_kernel_is_known_to_have_it(
    options: tuple[str, ...] | None, version: str
) -> None:
    config = None if options is None else a_config(*PLAIN, *NFS_BY_ITSELF, *options)
    assert f",vers={version}," in over_nfs(a_kernel(config=config)).cmdline


def test_modules_are_enough_for_an_initrd() -> None:
    assert ":vers=4.2," in over_nfs(debian(DRACUT_INITRD)).cmdline


def test_a_version_that_is_set_and_that_a_kernel_lacks_is_told() -> None:
    kernel = a_kernel(config=a_config(*PLAIN, *NFS_BY_ITSELF, "NFS_V3"))
    entry = over_nfs(kernel, settings=Settings(nfs_version="4.1"))
    assert entry.lacks == ("NFS_V4", "NFS_V4_1")


# What cannot boot


def test_what_cannot_boot_says_so_stands_last_and_is_never_the_default() -> None:
    noroot = a_kernel("noroot", config=a_config("BLK_DEV_INITRD", "RD_GZIP", "NFS_V3", *PLAIN))
    menu = a_menu(Settings(nfs_first=True), noroot, roots=[nfs_root()], nfs=True)
    lacks = menu.entries[1].lacks
    assert lacks == ("ROOT_NFS", "IP_PNP", "IP_PNP_DHCP", "NFS_FS")
    assert titles(menu) == [
        "rescue shell",
        f"fedora over NFS: lacks {lacks[0]}, {lacks[1]} and 2 more",
    ]
    assert menu.default == "noroot~rescue"
    assert menu.notices == (f"roots over NFS: not with noroot (6.1.192): lacks {', '.join(lacks)}",)
    unable = Settings(default_entry="noroot~~fedora~nfs")
    told = a_menu(unable, noroot, roots=[nfs_root()], nfs=True)
    assert told.default == "noroot~rescue"
    assert told.notices[-1].startswith("BOOTDROP_DEFAULT_ENTRY=noroot~~fedora~nfs: not in the menu")


def test_a_kernel_with_nothing_that_can_boot_is_nobodys_default() -> None:
    kernels = (a_kernel("new", config=a_config("NFS_V3")), a_kernel("old"))
    menu = a_menu(Settings(), *kernels, roots=[nfs_root()], nfs=True)
    assert menu.entries[0].key == "new~~fedora~nfs"
    assert menu.default == "old~~fedora~nfs"
    assert menu.offer(Firmware.EFI_X64).default == "old~~fedora~nfs"
    alone = a_menu(Settings(), kernels[0], roots=[nfs_root()], nfs=True)
    assert (alone.default, alone.offer(Firmware.BIOS).default) == (None, None)


def test_a_kernel_of_which_nothing_is_known_is_offered() -> None:
    assert over_nfs(a_kernel()).lacks == ()


def test_a_kernel_whose_configuration_is_still_looked_for_boots_over_nfs_if_it_is_chosen() -> None:
    awaited = a_kernel(config_awaited=True)
    menu = a_menu(Settings(nfs_first=True), awaited, roots=[a_root()], nfs=True)
    assert titles(menu) == ["fedora over NFS", "fedora", "rescue shell"]
    assert menu.default == "bzImage~~fedora"
    assert menu.offer(Firmware.EFI_X64).default == "bzImage~~fedora"
    known = a_menu(Settings(nfs_first=True), a_kernel(), roots=[a_root()], nfs=True)
    assert (known.entries, known.default) == (
        tuple(replace(entry, awaited=False) for entry in menu.entries),
        "bzImage~~fedora~nfs",
    )


def test_an_older_kernel_stays_the_default_until_more_is_known_of_the_newest() -> None:
    newest, old = a_kernel("new", config_awaited=True), a_kernel("old", config=ABLE.config)
    menu = a_menu(Settings(), newest, old, roots=[nfs_root()], nfs=True)
    assert menu.default == "old~~fedora~nfs"
    from_memory = a_menu(Settings(), newest, old, roots=[a_root()], nfs=True)
    assert from_memory.default == "new~~fedora"


def test_an_initrd_that_looks_for_a_root_is_no_default_while_less_is_known_of_its_kernel() -> None:
    settings, awaited = Settings(), replace(debian(DRACUT_INITRD), config=None, config_awaited=True)
    old = a_kernel("old", config=ABLE.config)
    menu = a_menu(settings, awaited, old, roots=[nfs_root()], nfs=True)
    known = a_menu(settings, debian(DRACUT_INITRD), old, roots=[nfs_root()], nfs=True)
    assert [each.title for each in menu.entries] == [each.title for each in known.entries]
    assert menu.default == "old~~fedora~nfs"


def test_a_default_that_is_not_known_to_boot_yet_is_waited_for_without_a_word() -> None:
    settings = Settings(default_entry="bzImage~~fedora~nfs")
    menu = a_menu(settings, a_kernel(config_awaited=True), roots=[nfs_root()], nfs=True)
    assert (menu.default, menu.notices) == ("bzImage~rescue", ())
    menu = a_menu(settings, a_kernel(), roots=[nfs_root()], nfs=True)
    assert (menu.default, menu.notices) == ("bzImage~~fedora~nfs", ())


@pytest.mark.parametrize(
    ("ip", "has", "lacks"),
    [
        ("dhcp", "IP_PNP_BOOTP", ("IP_PNP_DHCP",)),
        ("bootp", "IP_PNP_DHCP", ("IP_PNP_BOOTP",)),
        ("both", "IP_PNP_RARP", ()),
        ("any", "IP_PNP_BOOTP", ()),
        ("192.168.10.9:::255.255.255.0::eth0:none", "IP_PNP", ()),
    ],
)
def test_what_a_kernel_needs_for_its_address_depends_on_how_it_asks(
    ip: str, has: str, lacks: tuple[str, ...]
) -> None:
    config = a_config("ROOT_NFS", "NFS_FS", "NFS_V3", "IP_PNP", has, *PLAIN)
    assert over_nfs(a_kernel(config=config), settings=Settings(nfs_ip=ip)).lacks == lacks


def test_an_initrd_without_nfs_is_told_unless_the_kernel_needs_none() -> None:
    without = replace(DRACUT_INITRD, nfs_mount=False, nfs_module=False)
    entry = over_nfs(debian(without))
    assert entry.title.endswith(": lacks nfs in its dracut initrd, nfs.ko in its initrd")
    by_itself = over_nfs(a_kernel(initrd=without, config=ABLE.config))
    assert (by_itself.lacks, by_itself.initrds) == ((), ())
    built_in = over_nfs(
        debian(replace(DRACUT_INITRD, nfs_module=False), "NFS_FS", *DEBIAN_CONFIG[1:])
    )
    assert built_in.lacks == ()


def test_a_root_that_is_only_read_needs_an_overlay() -> None:
    kernel = a_kernel(config=a_config(*PLAIN, *NFS_BY_ITSELF, *NFS_VERSIONS))
    assert over_nfs(kernel, nfs_root(share="ro")).lacks == OVERLAY
    assert over_nfs(kernel, nfs_root(share="rw")).lacks == ()


# Order


@pytest.mark.parametrize(
    ("nfs_first", "order"),
    [
        (False, ["a", "a over NFS", "b", "b over NFS", "rescue shell"]),
        (True, ["a over NFS", "a", "b over NFS", "b", "rescue shell"]),
    ],
)
def test_the_setting_says_which_form_of_a_root_comes_first(
    nfs_first: bool, order: list[str]
) -> None:
    kernel = a_kernel(config=a_config(*NFS_CAPABLE, "BLK_DEV_INITRD", "RD_GZIP", "RD_ZSTD"))
    roots = [a_root("a"), a_root("b")]
    menu = a_menu(Settings(nfs_first=nfs_first), kernel, roots=roots, nfs=True)
    assert titles(menu) == order
    assert menu.default == menu.entries[0].key


def test_an_initrd_that_only_looks_for_a_root_gives_way_to_one_that_it_can_mount() -> None:
    roots = [nfs_root()]
    found = a_menu(Settings(), debian(), roots=roots, nfs=True)
    assert titles(found) == ["fedora over NFS", "", "rescue shell"]
    assert titles(a_menu(Settings(), debian(), roots=roots))[0] == ""
    own = a_menu(Settings(nfs_first=True), debian(CPIO_INITRD), roots=roots, nfs=True)
    assert own.default == "vmlinuz"


def test_nothing_is_over_nfs_where_nothing_serves_it() -> None:
    menu = a_menu(Settings(nfs_first=True), ABLE, roots=[a_root()], nfs=False)
    assert not any(entry.key.endswith("~nfs") for entry in menu.entries)
    assert menu.root_path == ""


def test_a_root_of_another_processor_is_not_mounted() -> None:
    arm64 = replace(nfs_root(), arch=Arch.ARM64)
    assert titles(a_menu(Settings(), ABLE, roots=[arm64], nfs=True)) == []


def test_dhcp_tells_the_default_roots_path() -> None:
    roots = [nfs_root("new"), nfs_root("old", share="clone")]
    menu = a_menu(Settings(default_root="old"), ABLE, roots=roots, nfs=True)
    assert menu.root_path == (
        f"192.168.10.1:/old/aabbccddeeff0011/{HOLDER},vers=3,tcp,{SIZES},hard"
    )


# In the loaders' files


def files(situation: Situation) -> dict[str, str]:
    tree = Renderer(situation.paths.templates).boot_files(situation)
    assert set(tree) == set(Renderer.boot_file_names(situation))
    return {str(path): text for path, text in tree.items()}


def with_clones(machines: tuple[str, ...], **settings: object) -> Situation:
    chosen = Settings.model_validate({"interface": "eth1", "bios_loader": "pxelinux"} | settings)
    roots = [nfs_root("own", share="clone"), nfs_root("all")]
    return a_situation(chosen, ABLE, debian(), roots=roots, nfs=True, machines=machines)


def test_ipxe_puts_in_the_card_that_it_booted_from_and_its_name() -> None:
    script = files(with_clones(()))["tftp/boot.ipxe"]
    assert f"/own/aabbccddeeff0011/${{netX/mac:hexhyp}},vers=4.2,tcp,{SIZES},hard " in script
    assert " ip=::::${hostname}::dhcp " in script
    assert f" ip=dhcp {CONSOLES} BOOTIF=01-${{netX/mac:hexhyp}} || goto failed\n" in script
    assert script.isascii()


def test_pxelinux_has_a_file_for_each_known_machine_with_its_clone() -> None:
    tree = files(with_clones((MACHINE, "02:0A:00:00:00:01")))
    names = sorted(name for name in tree if "pxelinux" in name)
    assert [PurePosixPath(name).name for name in names] == [
        "01-02-0a-00-00-00-01",
        "01-52-54-00-12-34-56",
        "default",
    ]
    own = tree["tftp/pxelinux.cfg/01-52-54-00-12-34-56"]
    assert f"/own/aabbccddeeff0011/52-54-00-12-34-56,vers=4.2,tcp,{SIZES},hard ip=:" in own
    assert own.count("MENU DEFAULT") == 1
    assert "\nLABEL bzImage~~own~nfs\n" in own
    assert own.count("\tIPAPPEND 2\n") == 2
    assert all(text.isascii() for text in tree.values())


def test_a_machine_that_is_not_known_sees_no_clone_but_all_else() -> None:
    default = files(with_clones((MACHINE,)))["tftp/pxelinux.cfg/default"]
    assert "~~own~nfs" not in default
    assert re.findall(r"LABEL (\S+)\n.*\n\tMENU DEFAULT", default) == ["bzImage~~all~nfs"]


def test_machines_have_no_files_where_nobody_loads_pxelinux() -> None:
    tree = files(with_clones((MACHINE,), bios_loader="ipxe"))
    assert not any("01-" in name for name in tree)


def test_the_firmwares_menu_leads_to_a_clone_of_a_machine_that_is_known() -> None:
    situation = with_clones((MACHINE,), firmware_menu="kernels", prompt_timeout=5)
    tree = files(situation)
    folder = "tftp/entry/bzImage~~own~nfs/pxelinux.cfg"
    assert "/aabbccddeeff0011/52-54-00-12-34-56," in tree[f"{folder}/01-52-54-00-12-34-56"]
    assert "KERNEL" not in tree[f"{folder}/default"]
    assert "LOCALBOOT -1" in tree[f"{folder}/default"]


def test_files_of_machines_that_are_forgotten_are_removed(
    tmp_path: Path,
) -> None:
    situation = with_clones((MACHINE,), firmware_menu="kernels", prompt_timeout=5)
    situation = replace(situation, paths=replace(situation.paths, boot=tmp_path))
    renderer = Renderer(situation.paths.templates)
    assert publish_boot_files(situation, renderer)
    published = situation.paths.published
    assert len(list(published.rglob("01-*"))) > 1
    assert publish_boot_files(replace(situation, machines=()), renderer) is False
    assert list(published.rglob("01-*")) == []
    assert (published / "pxelinux.cfg/default").exists()


def test_a_hundred_roots_are_a_menu_of_a_moderate_size() -> None:
    roots = [a_root(f"root-{number}", share="clone") for number in range(100)]
    kernel = a_kernel(config=a_config(*NFS_CAPABLE, "BLK_DEV_INITRD", "RD_GZIP", "RD_ZSTD"))
    situation = a_situation(Settings(), kernel, roots=roots, nfs=True)
    script = files(situation)["tftp/boot.ipxe"]
    assert len(situation.menu.entries) == 201
    assert len(situation.menu.offer(Firmware.BIOS).lines) == 2
    assert len(script) < 120_000
