from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from appliance.layers import store_image
from appliance.layers.store_image import MIB, Broken, StoreImage
from appliance.run import run_here


@pytest.mark.parametrize(
    ("free", "size"), [(100, 1024), (6000, 2000), (6001, 2000), (1_000_000, 65536)]
)
def test_a_third_of_what_is_free_is_taken_within_limits(
    monkeypatch: pytest.MonkeyPatch, free: int, size: int
) -> None:
    volume = SimpleNamespace(f_frsize=4096, f_bavail=free << 8)
    monkeypatch.setattr(store_image.os, "statvfs", lambda _: volume)
    assert store_image.automatic_size(Path("/")) == size * MIB


def test_a_store_is_made_whole_and_grows_and_is_never_made_smaller(tmp_path: Path) -> None:
    path = tmp_path / "store.ext4"
    assert store_image.make(path, 64 * MIB)
    assert [each.name for each in tmp_path.iterdir()] == ["store.ext4"]
    store_image.check(path)
    before = path.stat()
    assert (before.st_size, before.st_blocks * 512 >= 64 * MIB) == (64 * MIB, True)
    store_image.grow(path, 512 * MIB)
    store_image.check(path)
    assert path.stat().st_size == store_image._size_inside(path) == 512 * MIB
    store_image.grow(path, 64 * MIB)
    assert path.stat().st_size == 512 * MIB


def test_a_growth_that_a_crash_cut_off_is_finished(tmp_path: Path) -> None:
    path = tmp_path / "store.ext4"
    store_image.make(path, 64 * MIB)
    store_image._allocate(path, 512 * MIB)
    store_image.grow(path, 0)
    assert store_image._size_inside(path) == 512 * MIB


def test_what_is_no_ext4_is_told_of_and_left(tmp_path: Path) -> None:
    path = tmp_path / "store.ext4"
    path.write_bytes(b"something" * 1000)
    with pytest.raises(Broken, match="cannot be repaired by itself"):
        store_image.check(path)
    with pytest.raises(OSError, match="no ext4"):
        store_image.grow(path, 0)
    assert path.read_bytes() == b"something" * 1000


def test_without_room_nothing_is_begun(tmp_path: Path) -> None:
    with pytest.raises(OSError, match="MiB are needed and") as error:
        store_image.make(tmp_path / "store.ext4", 1 << 60)
    assert error.value.filename == str(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_errors_that_are_found_when_it_is_to_grow_are_told_like_any_others(tmp_path: Path) -> None:
    file, size = tmp_path / "layers.ext4", 64 * MIB
    store_image.make(file, size)
    run_here(["debugfs", "-w", "-R", "set_inode_field <2> mode 0100644", str(file)])
    store_image.check(file)  # which believes what is marked as clean
    image = StoreImage(file, tmp_path / "mounted", 2 * size, tmp_path / "devices")
    with pytest.raises(Broken, match=r"^boot/machines/layers\.ext4: cannot be repaired by itself"):
        image.mount()
