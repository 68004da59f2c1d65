import os
import stat
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

import pytest

from appliance.files import delete_inside, make_folder, put_file, read_file, replace_file

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


@pytest.mark.skipif(os.geteuid() != 0, reason="makes a device")
def test_a_device_is_not_even_opened(tmp_path: Path) -> None:
    os.mknod(tmp_path / "tape", stat.S_IFCHR | 0o666, os.makedev(9, 0))
    assert read_file(tmp_path, PurePosixPath("tape")) is None


def test_what_others_put_aside_hinders_no_file(tmp_path: Path) -> None:
    (tmp_path / ".default.new").mkdir()
    path = PurePosixPath("default")
    put_file(tmp_path, path, (b"ou", b"rs"), 0o600)
    assert (tmp_path / path).read_bytes() == b"ours"
    assert (tmp_path / path).stat().st_mode & 0o777 == 0o600


def test_a_file_that_cannot_be_made_whole_leaves_nothing(tmp_path: Path) -> None:
    def pieces() -> Iterator[bytes]:
        yield b"half"
        raise ValueError("the other half")

    with pytest.raises(ValueError, match="half"):
        put_file(tmp_path, MENU, pieces())
    assert list((tmp_path / MENU).parent.iterdir()) == []


def test_links_are_deleted_and_not_what_they_lead_to(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "folder/deeper").mkdir(parents=True)
    (tmp_path / "folder/deeper/link").symlink_to(tmp_path / "elsewhere")
    delete_inside(tmp_path, PurePosixPath("folder"))
    delete_inside(tmp_path, PurePosixPath("folder"))
    assert [one.name for one in tmp_path.iterdir()] == ["elsewhere"]
