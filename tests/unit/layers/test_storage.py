"""What becomes of machines' layers where there is no room to try whether any can be made."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from types import SimpleNamespace

import pytest

from appliance.layers import probe, storage
from appliance.layers.layer import Shelf
from appliance.layers.room import NoRoom, require_free_space
from appliance.layers.storage import Unusable, Volume
from appliance.paths import Paths


@pytest.fixture
def volume(tmp_path: Path) -> Volume:
    return Volume(Paths(boot=tmp_path, state=tmp_path, run=tmp_path))


def full(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    def no_room(_: Path) -> bool:
        raise OSError(number, os.strerror(number), "/srv/boot/machines/.probe-1/layer")

    monkeypatch.setattr(probe, "_try", no_room)


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EDQUOT])
def test_a_full_volume_goes_on_with_the_layers_that_it_has(
    volume: Volume, monkeypatch: pytest.MonkeyPatch, number: int
) -> None:
    full(number, monkeypatch)
    monkeypatch.setattr(storage, "lacking", lambda _: (3 << 20, 1 << 30))
    (volume.shelves[0].folder / "fedora/00112233445566aa/52-54-00-12-34-56").mkdir(parents=True)
    assert volume.begin().endswith("the volume itself")
    assert volume.is_open
    assert volume.notices() == (
        "boot/machines: 3 MiB are free: machines' writes fail when none is left: free some room "
        "there, or reset layers",
    )


def test_a_full_volume_without_layers_is_refused(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    full(errno.ENOSPC, monkeypatch)
    with pytest.raises(Unusable, match=r"No space left on device: no space is left"):
        volume.begin()
    assert not volume.is_open


def test_what_a_full_file_system_refuses_to_tidy_up_is_left_to_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_room(_source: Path, _target: Path) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / ".new-x").mkdir()
    monkeypatch.setattr(os, "rename", no_room)
    shelf = Shelf(tmp_path)
    shelf.open()
    assert shelf.scan() == ((), ())


def test_a_store_without_files_to_be_had_is_as_full_as_one_without_room(
    volume: Volume, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Small files use up ext4's inodes while half of it is free."""
    few = SimpleNamespace(
        f_bavail=1 << 30, f_blocks=1 << 30, f_frsize=4096, f_files=131072, f_favail=5
    )
    monkeypatch.setattr(os, "statvfs", lambda _: few)
    volume.is_open = True
    assert volume.notices() == (
        "boot/machines: 5 more files can be made: machines' writes fail when none is left: free "
        "some room there, or reset layers",
    )
    said = "layers.ext4: 5 more files can be made, 6553 stay free: no new layer is made; delete"
    with pytest.raises(NoRoom, match=said):
        require_free_space(Path("/store"), "layers.ext4")
    few.f_favail = 131000
    assert volume.notices() == ()
    require_free_space(Path("/store"), "layers.ext4")
    few.f_files = few.f_favail = 0  # btrfs has as many as it has room
    assert volume.notices() == ()
    require_free_space(Path("/store"), "layers.ext4")
