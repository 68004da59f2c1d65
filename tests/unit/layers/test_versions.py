"""Which versions layers can be made over, where their trees need a place."""

from __future__ import annotations

import errno
from dataclasses import replace
from pathlib import Path

from appliance.layers.layers import Layers
from appliance.layers.storage import Volume
from appliance.layers.versions import Versions
from appliance.paths import Paths
from appliance.settings import Settings
from tests.unit.builders import a_root


class Small(Volume):
    """Takes trees as long as there is room."""

    def __init__(self, folder: Path, room: int) -> None:
        super().__init__(replace(Paths(), boot=folder))
        self.room, self.asked, self.stuck = room, list[str](), False

    def prepare(self, root: str, version: str) -> None:
        self.asked.append(root)
        if self.room == 0:
            raise OSError(errno.ENOSPC, "4 MiB are needed", self.name)
        self.room -= 1

    def keep(self, versions: object) -> bool:
        if self.stuck:
            raise OSError(errno.EIO, "Input/output error", self.name)
        return False


def test_those_without_room_are_told_in_one_line_and_tried_again(tmp_path: Path) -> None:
    storage = Small(tmp_path, 1)
    versions = Versions(storage)
    roots = [a_root(f"root {number}") for number in range(8)]
    for root in roots:
        versions.prepare(root)
    assert [versions.is_ready(root) for root in roots] == [True] + 7 * [False]
    assert versions.refused == {(root.name, root.id) for root in roots[1:]}
    assert versions.notices == (
        "roots root 1, root 2, root 3, root 4, root 5 and 2 more: not served by NFS: "
        "boot/machines: 4 MiB are needed",
    )
    storage.room = 7
    for root in roots:
        versions.prepare(root)
    assert storage.asked == [root.name for root in roots] + [root.name for root in roots[1:]]
    assert (versions.refused, versions.notices) == (frozenset(), ())


def test_of_those_that_are_gone_nothing_is_known(tmp_path: Path) -> None:
    versions = Versions(Small(tmp_path, 1))
    gone, refused, stays = a_root("gone"), a_root("refused"), a_root("stays")
    versions.prepare(gone)
    versions.prepare(refused)
    versions.forget([(stays.name, stays.id)])
    assert not versions.is_ready(gone)
    assert not versions.refused


def test_what_was_not_tidied_up_is_told_until_it_is(tmp_path: Path) -> None:
    storage = Small(tmp_path, 1)
    versions = Versions(storage)
    storage.stuck = True
    assert not versions.keep([])
    assert versions.notices == ("boot/machines: not tidied up: boot/machines: Input/output error",)
    storage.stuck = False
    versions.keep([])
    assert versions.notices == ()


def test_the_default_root_comes_first(tmp_path: Path) -> None:
    storage = Small(tmp_path, 1)
    layers = Layers(
        replace(Paths(), boot=tmp_path),
        Settings(interface="eth1"),
        lambda *_: None,
        lambda _: False,
        storage=storage,
    )
    layers.works = storage.is_open = layers._holdings.is_open = True
    roots = (a_root("one"), a_root("two"), a_root("three"))
    after: list[int] = []
    layers.want(roots, roots[2].key, lambda: after.append(len(storage.asked)))
    assert storage.asked == ["three", "one", "two"]
    assert after == [1, 2, 3]
    assert layers.refused == {(root.name, root.id) for root in roots[:2]}
