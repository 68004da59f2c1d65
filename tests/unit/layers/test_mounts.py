from __future__ import annotations

import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.layers.mounts import Mount, by_descriptor, mounts, parse_mounts, unmount

LINES = rb"""
22 27 0:21 / /proc rw,relatime - proc proc rw
99 27 0:77 / /run/my\040lab\134x\011 rw,nosuid shared:3 master:1 - overlay bootdrop/a/b rw,index=on
a line that is none
98 27 0:78 / /cut
"""


def test_mountinfo_is_read_with_its_escapes_and_without_its_optional_fields() -> None:
    assert parse_mounts(LINES) == (
        Mount(Path("/proc"), "proc", "proc", "0:21", "rw"),
        Mount(Path("/run/my lab\\x\t"), "overlay", "bootdrop/a/b", "0:77", "rw,index=on"),
    )


def test_this_systems_own_mounts_are_read() -> None:
    assert Path("/") in {each.point for each in mounts()}


@given(st.binary(max_size=300))
def test_no_text_confuses_the_reader(text: bytes) -> None:
    parse_mounts(text)


def test_a_folder_of_any_name_has_a_plain_one_and_a_link_has_none(tmp_path: Path) -> None:
    folder = tmp_path / "a,b:c\\d e"
    folder.mkdir()
    (folder / "file").touch()
    with by_descriptor(folder) as (name,):
        assert set(name) <= set("/procselfd0123456789")
        assert os.listdir(name) == ["file"]
    (tmp_path / "link").symlink_to(folder)
    with pytest.raises(NotADirectoryError), by_descriptor(tmp_path / "link"):
        pass


def test_an_error_names_the_mount_point(tmp_path: Path) -> None:
    with pytest.raises(OSError) as error:
        unmount(tmp_path)
    assert error.value.filename == str(tmp_path)
