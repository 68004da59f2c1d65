import os
from pathlib import Path, PurePosixPath

import pytest

from appliance.files import make_folder, read_file, replace_file

MENU = PurePosixPath("pxelinux.cfg/default")


def test_a_file_is_written_for_all_to_read_whatever_the_umask(tmp_path: Path) -> None:
    before = os.umask(0o077)
    try:
        replace_file(tmp_path, MENU, b"menu")
    finally:
        os.umask(before)
    assert read_file(tmp_path, MENU) == b"menu"
    assert (tmp_path / MENU).stat().st_mode & 0o777 == 0o644
    assert (tmp_path / MENU).parent.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in (tmp_path / MENU).parent.iterdir()] == ["default"]


def test_links_in_the_way_are_replaced_and_not_followed(tmp_path: Path) -> None:
    elsewhere, published = tmp_path / "elsewhere", tmp_path / "published"
    elsewhere.mkdir()
    (elsewhere / "default").write_bytes(b"theirs")
    for link, target in {
        "pxelinux.cfg": elsewhere,
        "boot.ipxe": elsewhere / "default",
        ".boot.ipxe.new": elsewhere / "default",
    }.items():
        published.mkdir(exist_ok=True)
        (published / link).symlink_to(target)
    assert read_file(published, MENU) is None
    assert read_file(published, PurePosixPath("boot.ipxe")) is None
    replace_file(published, MENU, b"ours")
    replace_file(published, PurePosixPath("boot.ipxe"), b"ours")
    assert read_file(published, MENU) == b"ours"
    assert read_file(published, PurePosixPath("boot.ipxe")) == b"ours"
    assert [path.name for path in elsewhere.iterdir()] == ["default"]
    assert (elsewhere / "default").read_bytes() == b"theirs"


def test_a_fifo_in_the_way_is_replaced_and_not_waited_for(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "help.txt")
    os.mkfifo(tmp_path / ".help.txt.new")
    assert read_file(tmp_path, PurePosixPath("help.txt")) is None
    replace_file(tmp_path, PurePosixPath("help.txt"), b"help")
    assert read_file(tmp_path, PurePosixPath("help.txt")) == b"help"


def test_a_folder_is_made_in_place_of_a_link(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir(mode=0o700)
    (tmp_path / "kernels").symlink_to(tmp_path / "elsewhere")
    make_folder(tmp_path / "kernels")
    assert not (tmp_path / "kernels").is_symlink()
    assert (tmp_path / "elsewhere").stat().st_mode & 0o777 == 0o700


def test_a_file_in_place_of_a_folder_is_told(tmp_path: Path) -> None:
    (tmp_path / "pxelinux.cfg").write_bytes(b"a file")
    with pytest.raises(NotADirectoryError) as raised:
        replace_file(tmp_path, MENU, b"menu")
    assert raised.value.filename == str(tmp_path / MENU)
