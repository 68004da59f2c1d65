from dataclasses import replace

import pytest

from appliance.menu.entries import Submenu
from appliance.render import ipxe, menu_c32, screen
from appliance.settings import Settings
from tests.unit.builders import a_kernel, a_menu


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain 'quoted' \"twice\" \\ %s", "plain 'quoted' \"twice\" \\ %s"),
        ("costs $5", "costs $5"),
        ("${net0/mac} and ${${x}}", "$(net0/mac} and $($(x}}"),
        ("a || b && c ; d", "a ${nothing}|| b ${nothing}&& c ${nothing}; d"),
        ("a||b ;c", "a||b ;c"),
        ("# none of it, #nor this", "${nothing}# none of it, ${nothing}#nor this"),
        ("--name -n", "--name -n"),
    ],
)
def test_ipxe_shows_a_text_and_runs_nothing_of_it(text: str, escaped: str) -> None:
    assert ipxe(text) == escaped


def a_submenu(title: str) -> Submenu:
    return Submenu("~of~it", title, ())


def test_no_letter_of_a_label_becomes_a_key_of_menu_c32() -> None:
    assert menu_c32("^a b^") == "?a b?"


def test_a_long_text_keeps_its_beginning_and_its_end() -> None:
    assert screen(a_submenu("short")) == "short"
    shortened = screen(a_submenu("a" * 150 + "z" * 50 + " (6.1)"))
    assert len(shortened) == 68
    assert shortened.startswith("a" * 33 + "...z")
    assert shortened.endswith("z (6.1)")


@pytest.mark.parametrize(
    ("kernel", "partner", "manner", "shown"),
    [
        ("bzImage (6.1)", ", fedora", "", "bzImage (6.1), fedora"),
        ("k" * 90, ", rescue shell", "", f"{'k' * 26}...{'k' * 25}, rescue shell"),
        (
            "vmlinuz-6.12.9-200.fc41.x86_64 (6.12.9-200.fc41.x86_64)",
            ", fedora",
            " over NFS: lacks ROOT_NFS, IP_PNP and 2 more",
            "vmlinuz...86_64), fedora over NFS: lacks ROOT_NFS, IP_PNP and 2 more",
        ),
        (
            "vmlinuz (6.1)",
            ", the root with the long name",
            " over NFS: lacks ROOT_NFS and IP_PNP",
            "vmlinuz (6.1), the ro...ong name over NFS: lacks ROOT_NFS and IP_PNP",
        ),
        (
            "k" * 30,
            f", {'r' * 30}",
            " over NFS: lacks nfs in its initramfs-tools initrd, NFS_FS and 2 more",
            "kkkk...kkkk, rr...rrrr over NFS: lacks nfs in its initramfs-tools...",
        ),
    ],
)
def test_what_keeps_an_entry_from_booting_is_read_whatever_its_names_are(
    kernel: str, partner: str, manner: str, shown: str
) -> None:
    entry = a_menu(Settings(), a_kernel()).entries[0]
    shortened = screen(replace(entry, group_title=kernel, partner=partner, manner=manner))
    assert shortened == shown
    assert len(shortened) <= 68
