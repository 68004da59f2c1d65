from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from appliance.catalog.model import Arch
from appliance.menu.firmware_menu import plan
from appliance.neopxe import conf
from appliance.reconcile import publish_boot_files
from appliance.render import Renderer
from appliance.settings import Settings
from tests.golden.cases import CASES, rendered
from tests.unit.builders import a_kernel, a_menu, a_situation

KERNELS = Settings(interface="eth1", firmware_menu="kernels")


def listed(settings: Settings, *kernels: str) -> list[str]:
    menu = a_menu(settings, *map(a_kernel, kernels))
    return [item.entry.key for item in plan(settings, menu).kernels]


def test_the_loader_alone_is_listed_unless_told_otherwise() -> None:
    assert listed(Settings(interface="eth1"), "a", "b") == []
    assert listed(KERNELS, "a", "b") == ["a", "b"]


def test_as_many_are_listed_as_have_room_newest_first() -> None:
    names = [f"bzImage-{number}" for number in range(30)]
    items = listed(KERNELS, *names)
    assert items == names[: len(items)]
    assert len(items) == 6
    long_prompt = Settings(interface="eth1", firmware_menu="kernels", prompt=69 * ".")
    assert len(listed(long_prompt, *names)) == 4


def test_the_configuration_with_a_full_menu_is_one_that_neopxe_takes() -> None:
    kernels = [a_kernel("k" * length) for length in range(1, 30)]
    tree = rendered(a_situation(KERNELS, *kernels))
    read = conf.parse(tree[PurePosixPath("etc/neopxe.conf")])
    assert read.services[0].name == "Bootdrop"
    assert read.services[-1].type == conf.LOCAL_BOOT
    assert len(read.services) == 9


def test_a_kernel_keeps_its_item_when_others_come_and_go() -> None:
    def type_of(name: str, *names: str) -> int:
        menu = a_menu(KERNELS, *map(a_kernel, names))
        return next(i.type for i in plan(KERNELS, menu).kernels if i.entry.key == name)

    assert type_of("b", "a", "b") == type_of("b", "c", "d", "b") == type_of("b", "b")


def test_two_kernels_never_have_the_same_item() -> None:
    (alone,) = plan(KERNELS, a_menu(KERNELS, a_kernel("k224"))).kernels
    # Their checksums want the same.
    first, second = plan(KERNELS, a_menu(KERNELS, a_kernel("k123"), a_kernel("k224"))).kernels
    assert (first.type, second.type) == (alone.type, alone.type + 1)


def test_what_has_no_loader_is_not_listed() -> None:
    menu = a_menu(KERNELS, a_kernel("arm", arch=Arch.ARM64), a_kernel("b"))
    assert [item.entry.key for item in plan(KERNELS, menu).kernels] == ["b"]


def test_a_long_name_is_cut_to_what_firmware_shows() -> None:
    menu = a_menu(KERNELS, a_kernel("k" * 80))
    (item,) = plan(KERNELS, menu).kernels
    assert item.name == f"{'k' * 33}...{'k' * 23} (6.1.192)"
    assert len(item.name) == conf.LONGEST_TEXT


@pytest.mark.parametrize("loader", ["ipxe", "pxelinux"])
def test_a_kernel_that_only_bios_can_start_is_listed_for_bios_alone(loader: str) -> None:
    settings = KERNELS.model_copy(update={"bios_loader": loader})
    tree = rendered(a_situation(settings, a_kernel("old", efi_stub=False)))
    old = conf.parse(tree[PurePosixPath("etc/neopxe.conf")]).services[1]
    assert {name: old.file_for((name,)) for name in ("bios", "efi-x64", "efi-arm64")} == {
        "bios": "entry/old/pxelinux.0",
        "efi-x64": None,
        "efi-arm64": None,
    }


def test_an_entrys_folder_goes_when_it_is_no_longer_listed(tmp_path: Path) -> None:
    situation = CASES["firmware-menu"]
    situation = replace(situation, paths=replace(situation.paths, boot=tmp_path))
    renderer = Renderer(situation.paths.templates)
    publish_boot_files(situation, renderer)
    entries = tmp_path / "published" / "entry"
    assert (entries / "bzImage" / "pxelinux.cfg" / "default").is_file()
    publish_boot_files(replace(situation, settings=Settings(interface="eth1")), renderer)
    assert list(entries.iterdir()) == []


def test_what_a_link_in_place_of_the_entries_leads_to_is_left_alone(tmp_path: Path) -> None:
    situation = a_situation(Settings(interface="eth1"))
    situation = replace(situation, paths=replace(situation.paths, boot=tmp_path))
    (tmp_path / "kernels" / "os_images").mkdir(parents=True)
    (tmp_path / "published").mkdir()
    (tmp_path / "published" / "entry").symlink_to("../kernels")
    publish_boot_files(situation, Renderer(situation.paths.templates))
    assert (tmp_path / "kernels" / "os_images").is_dir()


def test_a_file_or_a_link_among_the_entries_is_removed_and_not_followed(tmp_path: Path) -> None:
    situation = a_situation(Settings(interface="eth1"))
    situation = replace(situation, paths=replace(situation.paths, boot=tmp_path))
    (tmp_path / "kernels" / "os_images").mkdir(parents=True)
    entries = tmp_path / "published" / "entry"
    entries.mkdir(parents=True)
    (entries / "file").touch()
    (entries / "link").symlink_to(tmp_path / "kernels")
    publish_boot_files(situation, Renderer(situation.paths.templates))
    assert list(entries.iterdir()) == []
    assert (tmp_path / "kernels" / "os_images").is_dir()
