"""A kernel's modules in layers, from archives as the root builder writes them."""

from __future__ import annotations

import gzip
import io
import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from appliance.layers.modules import ModulesNotPut, put_modules
from appliance.layers.newc import BrokenArchive, members
from rootfs_builder.archive import write_cpio
from rootfs_builder.entries import Entry
from tests.unit.builder.trees import nest

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="what is in a layer is root's")

VERSION = "6.1.192-labtest"
FOLDER, FILE, LINK = stat.S_IFDIR | 0o755, stat.S_IFREG | 0o644, stat.S_IFLNK | 0o777
FILES = {
    "kernel/drivers/net/e1000.ko": b"\x7fELF e1000" * 300_000,
    "kernel/empty.ko": b"",
    "modules.dep": b"kernel/drivers/net/e1000.ko:\n",
}


def entries(files: dict[str, bytes], version: str = VERSION) -> Iterator[Entry]:
    home = Path("lib/modules") / version
    folders = {home, home.parent}
    for name in files:
        folders |= {each for each in (home / name).parents if each.is_relative_to(home)}
    for folder in sorted(folders):
        yield Entry(bytes(folder), FOLDER, links=2)
    for name, content in files.items():
        yield Entry(bytes(home / name), FILE, content=content, size=len(content))


def pack(folder: Path, *archived: Entry, layer_id: str = "1111222233334444") -> Path:
    """Write an archive as the builder does; return where it lies."""
    stream = io.BytesIO()
    write_cpio(archived, stream)
    archive = folder / layer_id / "modules.cpio.gz"
    archive.parent.mkdir(exist_ok=True)
    archive.write_bytes(gzip.compress(stream.getvalue()))
    return archive


@pytest.fixture
def layer(tmp_path: Path) -> Path:
    folder = tmp_path / "layer"
    folder.mkdir()
    return folder


def contents(folder: Path) -> dict[str, bytes]:
    return {
        str(one.relative_to(folder)): one.read_bytes()
        for one in folder.rglob("*")
        if one.is_file() and one.name != ".bootdrop"
    }


def test_a_kernels_modules_are_put_once(layer: Path, tmp_path: Path) -> None:
    archive = pack(tmp_path, *entries(FILES))
    assert put_modules(layer, archive, VERSION)
    place = layer / "lib/modules" / VERSION
    assert contents(layer / "lib/modules") == {
        f"{VERSION}/{name}": content for name, content in FILES.items()
    }
    assert {one.stat().st_mode for one in place.rglob("*")} == {FOLDER, FILE}
    inode = place.stat().st_ino
    assert not put_modules(layer, archive, VERSION)
    assert place.stat().st_ino == inode


def test_other_modules_take_the_place_of_those_of_the_same_version(
    layer: Path, tmp_path: Path
) -> None:
    put_modules(layer, pack(tmp_path, *entries(FILES)), VERSION)
    other = pack(tmp_path, *entries({"new.ko": b"new"}), layer_id="5555666677778888")
    assert put_modules(layer, other, VERSION)
    assert contents(layer / "lib/modules" / VERSION) == {"new.ko": b"new"}


@pytest.mark.parametrize("target", ["usr/lib", "/usr/lib"])
def test_in_a_usr_merged_tree_they_are_in_usr(layer: Path, tmp_path: Path, target: str) -> None:
    (layer / "usr/lib").mkdir(parents=True)
    (layer / "lib").symlink_to(target)
    put_modules(layer, pack(tmp_path, *entries(FILES)), VERSION)
    assert contents(layer / "usr/lib/modules" / VERSION) == FILES
    assert (layer / "lib").is_symlink()


@pytest.mark.parametrize("link", ["lib", "lib/modules", "usr"])
def test_a_link_leads_no_modules_out_of_the_layer(layer: Path, tmp_path: Path, link: str) -> None:
    elsewhere = tmp_path / "elsewhere"
    (elsewhere / "lib/modules").mkdir(parents=True)
    if link == "usr":
        (layer / "lib").symlink_to("usr/lib")
    (layer / link).parent.mkdir(exist_ok=True)
    (layer / link).symlink_to(elsewhere)
    with pytest.raises(NotADirectoryError) as raised:
        put_modules(layer, pack(tmp_path, *entries(FILES)), VERSION)
    assert str(raised.value.filename).startswith(str(layer))
    assert list(elsewhere.rglob("*")) == [elsewhere / "lib", elsewhere / "lib/modules"]


def test_links_in_the_place_of_modules_are_not_followed(layer: Path, tmp_path: Path) -> None:
    theirs = tmp_path / "theirs"
    theirs.mkdir()
    (theirs / "file").write_text("the host's")
    (layer / "lib/modules").mkdir(parents=True)
    (layer / "lib/modules" / VERSION).symlink_to(theirs)
    (layer / "lib/modules/.bootdrop-new-x").symlink_to(theirs)
    put_modules(layer, pack(tmp_path, *entries(FILES)), VERSION)
    assert contents(layer / "lib/modules" / VERSION) == FILES
    assert (theirs / "file").read_text() == "the host's"


def test_what_a_crash_left_half_unpacked_goes(layer: Path, tmp_path: Path) -> None:
    left = layer / "lib/modules/.bootdrop-new-0123"
    left.mkdir(parents=True)
    (left / "half.ko").write_text("")
    put_modules(layer, pack(tmp_path, *entries(FILES)), VERSION)
    assert os.listdir(layer / "lib/modules") == [VERSION]


def test_folders_too_deep_to_delete_are_an_error_in_one_line(layer: Path, tmp_path: Path) -> None:
    (layer / "lib/modules" / VERSION).mkdir(parents=True)
    nest(layer / "lib/modules" / VERSION, 150)
    with pytest.raises(OSError, match="too many folders in each other") as raised:
        put_modules(layer, pack(tmp_path, *entries(FILES)), VERSION)
    assert raised.value.filename == str(layer / "lib/modules" / VERSION)
    assert os.listdir(layer / "lib/modules") == [VERSION]


def evil(path: str, mode: int = FILE, **fields: object) -> tuple[Entry, ...]:
    extra = Entry(path.encode(), mode, **{"content": b"x", "size": 1, **fields})  # type: ignore[arg-type]
    return (*entries(FILES), extra)


NO_CONTENT = {"content": b"", "size": 0}
HOME = f"lib/modules/{VERSION}"


@pytest.mark.parametrize(
    ("archived", "said"),
    [
        (evil(f"{HOME}/../../../etc/passwd"), "is no plain path"),
        (evil("/etc/passwd"), "is not in lib/modules"),
        (evil(f"./{HOME}/x"), "is no plain path"),
        (evil(f"{HOME}//x"), "is no plain path"),
        (evil("etc/passwd"), "is not in lib/modules"),
        (evil("lib/modules/5.0/x.ko"), "is not in lib/modules/6.1.192-labtest"),
        (evil(f"{HOME}/l", LINK, target=b"/etc", **NO_CONTENT), "is no file and no folder"),
        (evil(f"{HOME}/n", stat.S_IFCHR | 0o666, **NO_CONTENT), "is no file and no folder"),
        (evil(f"{HOME}/f", stat.S_IFIFO | 0o666, **NO_CONTENT), "is no file and no folder"),
        (evil(f"{HOME}/h", links=2), "is no file and no folder"),
        (evil(f"{HOME}/d", FOLDER), "is no file and no folder"),
        ((), f"has no {HOME}"),
        (tuple(entries(FILES, "5.0")), "'lib/modules/5.0' is not in"),
    ],
)
def test_an_archive_with_anything_else_puts_nothing(
    layer: Path, tmp_path: Path, archived: tuple[Entry, ...], said: str
) -> None:
    archive = pack(tmp_path, *archived)
    with pytest.raises(ModulesNotPut) as raised:
        put_modules(layer, archive, VERSION)
    assert str(raised.value).startswith(f"{archive}: ")
    assert said in str(raised.value)
    assert [
        one for one in layer.rglob("*") if one not in (layer / "lib", layer / "lib/modules")
    ] == []


def broken(whole: bytes) -> Iterator[bytes]:
    yield b""
    yield b"no gzip at all"
    yield whole[: len(whole) // 2]
    yield gzip.compress(gzip.decompress(whole)[:-200])
    yield gzip.compress(b"070702" + bytes(200))
    yield whole[:-8] + b"\xff" * 4 + whole[-4:]


def test_an_archive_that_is_broken_puts_nothing(layer: Path, tmp_path: Path) -> None:
    archive = pack(tmp_path, *entries(FILES))
    for data in broken(archive.read_bytes()):
        archive.write_bytes(data)
        with pytest.raises(ModulesNotPut):
            put_modules(layer, archive, VERSION)
        assert contents(layer) == {}


def test_a_file_that_says_it_is_too_large_is_not_unpacked(layer: Path, tmp_path: Path) -> None:
    head = b"070701" + b"%08x" * 13 % (1, FILE, 0, 0, 1, 0, 2**32 - 1, 0, 0, 0, 0, 32, 0)
    name = f"{HOME}/a.ko".encode()
    two = (head + name + bytes(32 - len(name)) + bytes(2)) * 2
    archive = pack(tmp_path)
    archive.write_bytes(gzip.compress(two))
    with pytest.raises(ModulesNotPut):
        put_modules(layer, archive, VERSION)


def test_a_name_that_does_not_end_is_an_error() -> None:
    head = b"070701" + b"%08x" * 13 % (1, FILE, 0, 0, 1, 0, 0, 0, 0, 0, 0, 6, 0)
    with pytest.raises(BrokenArchive, match="a name that does not end"):
        list(members(io.BytesIO(head + b"abcdef" + bytes(20))))
    with pytest.raises(BrokenArchive, match="a name of 0 bytes"):
        list(members(io.BytesIO(head[:94] + b"0" * 16 + bytes(20))))


def test_a_version_that_leads_elsewhere_deletes_nothing(layer: Path, tmp_path: Path) -> None:
    victim = tmp_path / "state"
    victim.mkdir()
    (victim / "token").write_text("kept")
    home = Entry(bytes(victim / "x"), FILE, content=b"", size=0)
    archive = pack(tmp_path, home)
    for version in (str(victim), "../../state", "..", "/"):
        with pytest.raises(ModulesNotPut, match="no version of a kernel"):
            put_modules(layer, archive, version)
    assert (victim / "token").read_text() == "kept"
