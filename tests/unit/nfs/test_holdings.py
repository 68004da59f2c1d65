from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.nfs.holdings import Holdings
from appliance.nfs.layer import Record
from appliance.nfs.stage import Stage
from appliance.nfs.storage import Volume
from appliance.paths import Paths


def test_a_layer_that_a_dead_containers_server_has_is_waited_for_until_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy", "/exports")

    monkeypatch.setattr(Stage, "show", held)
    paths = replace(Paths(), boot=tmp_path)
    record = Record(
        root="fedora",
        key="fedora",
        version="00112233445566aa",
        holder="52-54-00-12-34-56",
        made_at=1,
        last_seen=1,
        furnished=True,
    )
    storage = Volume(paths)
    (shelf,) = storage.shelves
    shelf.open()
    tree = paths.roots / "fedora/00112233445566aa/tree"
    tree.mkdir(parents=True)
    layer = shelf.make(record, tree)
    holdings = Holdings(paths, storage, lambda _: False)
    holdings.layers = {layer.path: layer}
    holdings.resume(layer)
    holdings.settle()
    assert holdings.held_elsewhere == {layer.path}
    holdings.doom(layer)
    holdings.settle()
    assert (holdings.layers, holdings.held_elsewhere) == ({}, set())
