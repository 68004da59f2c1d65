from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

import pytest

from appliance.layers.holdings import Holdings
from appliance.layers.stage import Stage
from appliance.layers.storage import Volume
from appliance.paths import Paths
from tests.unit.builders import a_record


def test_a_layer_that_a_dead_containers_server_has_is_waited_for_until_it_goes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def held(*_: object) -> None:
        raise OSError(errno.EBUSY, "Device or resource busy", "/exports")

    monkeypatch.setattr(Stage, "show", held)
    paths = replace(Paths(), boot=tmp_path)
    storage = Volume(paths)
    (shelf,) = storage.shelves
    shelf.open()
    tree = paths.roots / "fedora/00112233445566aa/tree"
    tree.mkdir(parents=True)
    layer = shelf.make(a_record(furnished=True), tree)
    holdings = Holdings(paths, storage, lambda _: False)
    holdings.layers = {layer.path: layer}
    holdings.resume(layer)
    holdings.settle()
    assert holdings.held_elsewhere == {layer.path}
    holdings.doom(layer)
    holdings.settle()
    assert (holdings.layers, holdings.held_elsewhere) == ({}, set())
