"""What people ask for with layers: which roots are meant, and what is said of what was done."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import cast

import pytest

from appliance.layers.commands import CannotDo
from appliance.layers.layer import Layer
from appliance.layers.layers import Layers
from appliance.nfs_roots.layer_commands import Commands
from tests.unit.builders import a_record

MAC = "52:54:00:12:34:56"


class Played:
    """Layers of a machine, of which some are mounted."""

    def __init__(self, *roots: str, mounted: str = "") -> None:
        self.there = list(roots)
        self.mounted = mounted

    def layers(self) -> tuple[Layer, ...]:
        return tuple(Layer(a_record(root=root, key=root), Path("/")) for root in self.there)

    def forget(self, mac: str, root: str, force: bool) -> None:
        if root == self.mounted and not force:
            raise CannotDo(f"{root}: the machine runs from it")
        self.there.remove(root)


def forget(layers: Played, *, root: str | None = None, force: bool = False) -> str:
    commands = Commands(cast(Layers, layers), lambda: None)
    return asyncio.run(commands.forget(MAC, root, force))


def test_all_that_a_machine_wrote_is_deleted_and_told() -> None:
    layers = Played("alma", "fedora", mounted="fedora")
    assert forget(layers, force=True) == f"{MAC}: what it wrote to alma, fedora is deleted"
    assert layers.there == []


def test_what_was_deleted_before_a_mounted_one_is_told() -> None:
    layers = Played("alma", "fedora", mounted="fedora")
    said = "fedora: the machine runs from it; what it wrote to alma is deleted"
    with pytest.raises(CannotDo, match=f"^{said}$"):
        forget(layers)
    assert layers.there == ["fedora"]


def test_where_nothing_was_deleted_the_reason_is_all_that_is_told() -> None:
    with pytest.raises(CannotDo, match=r"^fedora: the machine runs from it$"):
        forget(Played("fedora", "suse", mounted="fedora"))
