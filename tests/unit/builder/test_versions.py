from __future__ import annotations

import json
import os
import sys
from itertools import count
from pathlib import Path

import pytest

from rootfs_builder import status, versions
from rootfs_builder.status import Status, Teller
from tests.unit.builder.trees import nest

ONE, TWO, THREE, FOUR = ("1" * 16, "2" * 16, "3" * 16, "4" * 16)


def make(root: Path, *ids: str) -> None:
    for number, version in enumerate(ids):
        with versions.aside(root) as work:
            made = work / "version"
            (made / "tree").mkdir(parents=True)
            versions.show(root, made, version)
        os.utime(root / version, (number, number))


def there(root: Path) -> list[str]:
    return sorted(one.name for one in root.iterdir())


def test_a_version_appears_whole_and_is_current(tmp_path: Path) -> None:
    make(tmp_path, ONE, TWO)
    assert versions.current(tmp_path) == TWO
    assert there(tmp_path) == [ONE, TWO, "current"]


def make_with(root: Path, version: str, files: dict[str, str]) -> None:
    """Build a version with these files beside its tree; root.json names them."""
    with versions.aside(root) as work:
        made = work / "version"
        (made / "tree").mkdir(parents=True)
        (made / "tree" / "motd").write_text("the same")
        for name, text in files.items():
            (made / name).write_text(text)
        (made / "root.json").write_text(json.dumps(files))
        versions.show(root, made, version)


def beside_tree(place: Path) -> dict[str, str]:
    return {one.name: one.read_text() for one in place.iterdir() if one.is_file()}


EARLIER = {"ramdisk.ext2.gz": "earlier", "root.squashfs": "earlier", "build.log": "earlier"}
LATER = {"ramdisk.ext2.gz": "later", "ramdisk.cpio.zst": "later", "build.log": "later"}


def test_the_same_contents_keep_their_tree_and_get_other_files(tmp_path: Path) -> None:
    make_with(tmp_path, ONE, EARLIER)
    make(tmp_path, TWO)
    tree = tmp_path / ONE / "tree"
    before = (tree.stat().st_ino, (tree / "motd").stat().st_ino)
    opened = os.open(tree, os.O_RDONLY)  # as an overlay holds it that is mounted on it
    make_with(tmp_path, ONE, LATER)
    assert (tree.stat().st_ino, (tree / "motd").stat().st_ino) == before
    assert os.listdir(opened) == ["motd"]
    os.close(opened)
    assert beside_tree(tmp_path / ONE) == {**LATER, "root.json": json.dumps(LATER)}
    assert versions.current(tmp_path) == ONE
    assert there(tmp_path) == [ONE, TWO, "current"]


def die_at(step: int, root: Path) -> bool:
    """Build ONE anew in a child that ends at its so-manieth change; tell whether it came so far."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 9
    changes, number = ("os.rename", "os.link", "os.remove", "os.symlink", "subprocess.Popen"), 0

    def count_changes(event: str, _: object) -> None:
        nonlocal number
        number += event in changes
        if number > step:
            os._exit(9)

    try:
        sys.addaudithook(count_changes)
        make_with(root, ONE, LATER)
    finally:
        os._exit(0)


def test_a_crash_at_any_instant_of_a_replacement_leaves_a_whole_version(tmp_path: Path) -> None:
    seen = set[str]()
    for step in count():
        root = tmp_path / str(step)
        make_with(root, ONE, EARLIER)
        inode = (root / ONE / "tree").stat().st_ino
        if not die_at(step, root):
            break
        named = json.loads((root / ONE / "root.json").read_text())
        assert named.keys() <= beside_tree(root / ONE).keys()
        versions.sweep(root)
        files = beside_tree(root / ONE)
        assert files in ({**each, "root.json": json.dumps(each)} for each in (EARLIER, LATER))
        assert (root / ONE / "tree").stat().st_ino == inode
        assert there(root) == [ONE, "current"]
        seen.add(files["build.log"])
    assert seen == {"earlier", "later"}
    assert step > 12


def test_a_version_whose_tree_somebody_deleted_is_whole_again(tmp_path: Path) -> None:
    make_with(tmp_path, ONE, EARLIER)
    (tmp_path / ONE / "tree" / "motd").unlink()
    (tmp_path / ONE / "tree").rmdir()
    make_with(tmp_path, ONE, LATER)
    assert (tmp_path / ONE / "tree" / "motd").read_text() == "the same"
    assert there(tmp_path) == [ONE, "current"]


def test_a_replacement_of_what_somebody_deleted_goes(tmp_path: Path) -> None:
    make(tmp_path, ONE)
    (tmp_path / f".replacing-{TWO}").mkdir()
    versions.sweep(tmp_path)
    assert there(tmp_path) == [ONE, "current"]


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="x"), versions.aside(tmp_path) as work:
        (work / "version").mkdir()
        raise ValueError("x")
    assert there(tmp_path) == []


def test_versions_in_use_and_the_newest_stay(tmp_path: Path) -> None:
    make(tmp_path, ONE, TWO, THREE, FOUR)
    versions.prune(tmp_path, keep=1, in_use={ONE})
    assert there(tmp_path) == [ONE, THREE, FOUR, "current"]
    versions.prune(tmp_path, keep=0, in_use=set())
    assert there(tmp_path) == [FOUR, "current"]


def test_without_a_current_version_nothing_is_deleted(tmp_path: Path) -> None:
    make(tmp_path, ONE, TWO)
    (tmp_path / "current").unlink()
    versions.prune(tmp_path, keep=0, in_use=set())
    assert there(tmp_path) == [ONE, TWO]


def test_what_a_crash_left_goes_at_the_next_start(tmp_path: Path) -> None:
    make(tmp_path, ONE)
    for name in (".new-abc", ".old-def"):
        (tmp_path / name / "tree").mkdir(parents=True)
    (tmp_path / ".new-current").symlink_to(ONE)
    versions.sweep(tmp_path)
    assert there(tmp_path) == [ONE, "current"]


def test_a_status_is_read_as_it_was_written(tmp_path: Path) -> None:
    told = Status("failed", step="install", error="no", started=3.0, recipe="abc")
    status.write(tmp_path, told, clock=lambda: 7.0)
    assert status.read(tmp_path) == Status(
        "failed", step="install", error="no", started=3.0, recipe="abc", updated=7.0
    )


@pytest.mark.parametrize("content", ["", "[]", "null", "{", '{"unknown": 1}'])
def test_a_status_that_cannot_be_read_is_a_new_one(tmp_path: Path, content: str) -> None:
    (tmp_path / status.FILE).write_text(content)
    assert status.read(tmp_path) == Status()


def test_the_seconds_of_each_step_are_counted(tmp_path: Path) -> None:
    now = [0.0]
    tell = Teller(tmp_path, Status(), clock=lambda: now[0])
    for step in ("download", "install", "ramdisk"):
        tell.step(step)
        now[0] += 2.0
    tell.end(Status("done"))
    assert tell.seconds == {"download": 2.0, "install": 2.0, "ramdisk": 2.0}


def test_no_depth_hinders_what_is_deleted(tmp_path: Path) -> None:
    with versions.aside(tmp_path) as work:
        nest(work, 5000)
    assert there(tmp_path) == []
