"""What becomes of machines' layers where there is no room to try whether any can be made."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from appliance.nfs import probe, storage
from appliance.nfs.layer import Shelf
from appliance.nfs.storage import Unusable, Volume
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
