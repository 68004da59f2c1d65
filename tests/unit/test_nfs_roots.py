"""What the orchestrator has done with layers, when, and what it does where that fails."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.catalog.model import Catalog, RootCatalog
from appliance.nfs.choice import Choice
from appliance.nfs.export import Export
from appliance.nfs.layer import Layer
from appliance.nfs_roots import NfsRoots
from appliance.paths import Paths
from appliance.settings import Settings
from tests.unit.builders import a_menu, a_root


class Played:
    """Layers that note what they are asked for."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.there: tuple[Layer, ...] = ()
        self.exported: tuple[Export, ...] = ()

    def layers(self) -> tuple[Layer, ...]:
        return self.there

    def exports(self) -> tuple[Export, ...]:
        return self.exported

    def want(self, *arguments: Any) -> None:  # noqa: ANN401
        self.asked.append(("want", *arguments))


class Served:
    """NfsRoots by nfs-ganesha, over layers that are played."""

    def __init__(self, folder: Path) -> None:
        self.faults: dict[str, str | None] = {}
        self.changes = 0
        self.nfs = NfsRoots(
            Settings(interface="eth1"),
            replace(Paths(), boot=folder / "boot", state=folder / "state"),
            tell=lambda _: None,
            changed=self._changed,
            progressed=lambda: None,
            say=lambda _: None,
            fault=self.faults.__setitem__,
        )
        self.layers = Played()
        self.nfs.layers = self.layers  # type: ignore[assignment]
        self.nfs._choice = Choice("ganesha", "the test says so")

    def _changed(self) -> None:
        self.changes += 1

    def work(self) -> None:
        asyncio.run(self.nfs._work())


@pytest.fixture
def served(tmp_path: Path) -> Served:
    (tmp_path / "boot/machines").mkdir(parents=True)
    (tmp_path / "state").mkdir()
    return Served(tmp_path)


def test_no_layer_is_judged_before_it_is_known_which_roots_there_are(served: Served) -> None:
    served.nfs._wanted = True
    assert not served.nfs._wants_now
    roots = RootCatalog((a_root(),))
    served.nfs.want(a_menu(Settings(interface="eth1")), Catalog(), roots)
    assert served.nfs._wants_now
    asyncio.run(served.nfs._want())
    assert served.layers.asked == [("want", roots.roots, None)]
