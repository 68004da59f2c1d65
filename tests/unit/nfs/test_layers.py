"""What machines are shown, where it needs no mount to tell."""

from __future__ import annotations

import errno
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath

import pytest

from appliance.nfs.export import default_path
from appliance.nfs.layer import Layer, Record, Shelf
from appliance.nfs.layers import Layers
from appliance.nfs.stage import Stage
from appliance.nfs.storage import Volume
from appliance.paths import Paths
from appliance.settings import Settings
from tests.unit.builders import a_root

MAC, HOLDER = "52:54:00:12:34:56", "52-54-00-12-34-56"
ADDRESS = IPv4Address("192.168.10.7")


def test_a_machine_finds_its_root_on_a_volume_too_full_to_note_that_it_was_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "layer.json")

    monkeypatch.setattr(Shelf, "write", full)
    root = a_root()
    record = Record(
        root=root.name,
        key=root.key,
        version=root.id,
        holder=HOLDER,
        made_at=1,
        last_seen=1,
        furnished=True,
        also=(str(default_path(ADDRESS)),),
    )
    layer = Layer(record, tmp_path)

    def show(stage: Stage, one: Layer, path: PurePosixPath, *_: object) -> None:
        stage.shown[path] = one.path

    monkeypatch.setattr(Stage, "show", show)
    paths = replace(Paths(), boot=tmp_path)
    layers = Layers(
        paths,
        Settings(interface="eth1", nfs_default_path=True),
        lambda *_: None,
        lambda _: False,
        storage=Volume(paths),
    )
    layers._roots, layers._default = (root,), root.key
    layers._holdings.layers = {layer.path: layer}
    layers.machine_seen(MAC, ADDRESS)
    assert [each.path for each in layers.exports()] == [layer.path, default_path(ADDRESS)]
    assert any("No space left on device" in each for each in layers.notices)
