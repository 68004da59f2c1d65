from __future__ import annotations

import os
from pathlib import Path

import pytest

from rootfs_builder import status, versions
from rootfs_builder.status import Status, Teller

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


def test_the_same_contents_take_the_place_of_the_old(tmp_path: Path) -> None:
    make(tmp_path, ONE, TWO)
    inode = (tmp_path / ONE).stat().st_ino
    make(tmp_path, ONE)
    assert (tmp_path / ONE).stat().st_ino != inode
    assert versions.current(tmp_path) == ONE
    assert there(tmp_path) == [ONE, TWO, "current"]


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


def test_a_crash_between_the_renames_of_a_version_loses_none(tmp_path: Path) -> None:
    make(tmp_path, ONE)
    (tmp_path / ".old-x").mkdir()
    (tmp_path / ONE).rename(tmp_path / ".old-x" / ONE)
    (tmp_path / ".new-x" / "version").mkdir(parents=True)
    versions.sweep(tmp_path)
    assert versions.current(tmp_path) == ONE
    assert there(tmp_path) == [ONE, "current"]


def test_no_depth_hinders_what_is_deleted(tmp_path: Path) -> None:
    with versions.aside(tmp_path) as work:
        fd = os.open(work, os.O_RDONLY)
        for _ in range(5000):
            os.mkdir("d", dir_fd=fd)
            below = os.open("d", os.O_RDONLY, dir_fd=fd)
            os.close(fd)
            fd = below
        os.close(fd)
    assert there(tmp_path) == []
