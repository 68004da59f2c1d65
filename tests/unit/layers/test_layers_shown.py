"""What machines are shown, with what is mounted written down in place of mounts."""

from __future__ import annotations

import errno
import shutil
from dataclasses import dataclass, field, replace
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath
from typing import Any

import pytest

from appliance.catalog.model import PublishedRoot
from appliance.layers.holdings import Holdings
from appliance.layers.layer import Layer, Shelf
from appliance.layers.layers import Layers
from appliance.layers.overlay import Place
from appliance.layers.stage import Stage
from appliance.layers.storage import Volume
from appliance.nfs.export import Export, default_path, layer_path
from appliance.paths import Paths
from appliance.settings import Settings
from tests.unit.builders import a_root

MAC, HOLDER = "52:54:00:12:34:56", "52-54-00-12-34-56"
ADDRESS = IPv4Address("192.168.10.7")
OLD, NEW = "00112233445566aa", "ffeeddccbbaa9988"


@dataclass
class Played:
    """Layers on a volume, and what the kernel would have mounted, what hides the rest last."""

    boot: Path
    mounted: dict[PurePosixPath, list[PurePosixPath]] = field(default_factory=dict)
    busy: set[PurePosixPath] = field(default_factory=set)
    now: float = 1e9

    def layers(self, *, is_open: bool = True, **settings: object) -> Layers:
        paths = replace(Paths(), boot=self.boot)
        chosen = Settings.model_validate({"interface": "eth1"} | settings)
        storage = Volume(paths)
        storage.is_open = True
        for shelf in storage.shelves:
            shelf.open()

        def is_busy(export: Export) -> bool:
            return export.path in self.busy

        layers = Layers(
            paths, chosen, lambda *_: None, is_busy, storage=storage, clock=lambda: self.now
        )
        layers.works, layers._holdings.is_open = True, is_open
        return layers

    def root(self, version: str = OLD) -> PublishedRoot:
        (self.boot / "roots/fedora" / version / "tree").mkdir(parents=True, exist_ok=True)
        return replace(a_root(), id=version, formats=("nfs",))


@pytest.fixture
def played(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    found = Played(tmp_path)

    def show(stage: Stage, layer: Layer, path: PurePosixPath, *_: object) -> None:
        found.mounted.setdefault(path, []).append(layer.path)
        stage.shown[path] = layer.path

    def unmount(stage: Stage, path: PurePosixPath) -> PurePosixPath:
        found.mounted[path].pop()
        return stage.going.pop(path)

    monkeypatch.setattr(Stage, "show", show)
    monkeypatch.setattr(Stage, "unmount", unmount)
    return found


def full(*_: object) -> None:
    raise OSError(errno.ENOSPC, "No space left on device", "layer.json")


def test_who_follows_again_gets_the_new_version_when_nothing_shows_the_kept_layer_there(
    played: Played,
) -> None:
    layers = played.layers()
    layers.want((played.root(),))
    layers.machine_seen(MAC)
    layers.keep(MAC, "fedora")
    layers.want((played.root(NEW),))
    old, new = (layer_path("fedora", version, HOLDER) for version in (OLD, NEW))
    assert played.mounted == {old: [old], new: [old]}
    # The machine runs: its root is not taken from under it.
    played.busy = {new}
    layers.keep(MAC, "fedora", False)
    layers.settle()
    assert played.mounted == {old: [old], new: [old]}
    # The server has the kept layer at that path until it is told to drop it.
    played.busy.clear()
    layers.machine_seen(MAC)
    assert [each.path for each in layers.exports()] == [old]
    layers.settle()
    assert played.mounted == {old: [old], new: [new]}
    assert [each.path for each in layers.exports()] == [old, new]


def test_a_fresh_layer_can_be_written_at_once_whatever_the_one_before_it_had(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = played.layers(nfs_layer_size=16)
    layers.want((played.root(),))
    layers.machine_seen(MAC)
    (layer,) = layers.layers()
    (layer.folder / "upper/large").write_bytes(bytes(17 << 20))
    layers.sizes()
    assert [each.writable for each in layers.exports()] == [False]

    def reset() -> None:
        played.now += 1
        layers.reset(MAC, "fedora")
        layers.settle()

    reset()
    assert [each.writable for each in layers.exports()] == [True]
    # Also where it is measured meanwhile, which takes minutes.
    measure = Holdings.measure

    def meanwhile(holdings: Holdings, places: dict[PurePosixPath, Place]) -> Any:  # noqa: ANN401
        (holdings.layers[layer.path].folder / "upper/large").write_bytes(bytes(17 << 20))
        sizes = measure(holdings, places)
        reset()
        return sizes

    monkeypatch.setattr(Holdings, "measure", meanwhile)
    layers.sizes()
    assert [each.writable for each in layers.exports()] == [True]


def test_no_version_is_deleted_and_no_layer_made_before_it_is_known_which_there_are(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    kept: list[set[tuple[str, str]]] = []
    monkeypatch.setattr(Volume, "keep", lambda _, versions: kept.append(set(versions)))
    monkeypatch.setattr(Volume, "begin", lambda _: "as ever")
    monkeypatch.setattr(Stage, "open", lambda _: frozenset())
    before = played.layers()
    before.want((played.root(),))
    before.machine_seen(MAC)
    kept.clear()
    again = played.layers(is_open=False)
    with monkeypatch.context() as broken:
        broken.setattr(Stage, "open", full)
        with pytest.raises(OSError, match="No space left"):
            again.start()
        again.want((played.root(NEW),))
        again.sweep()
        again.machine_seen(MAC)
        assert (kept, again.exports()) == ([], ())
        assert [each.record.version for each in again.layers()] == [OLD]
        assert any("No space left on device" in each for each in again.notices)
    again.want((played.root(NEW),))
    again.machine_seen(MAC)
    assert [each.record.version for each in again.layers()] == [OLD, NEW]
    assert kept == [{("fedora", OLD), ("fedora", NEW)}]
    assert again.notices == ()


def test_machines_that_somebody_makes_up_fill_no_list_of_what_is_wrong(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = played.layers(nfs_layers=60000)
    layers.want((played.root(),))
    with monkeypatch.context() as broken:
        broken.setattr(Holdings, "make", full)
        for number in range(300):
            layers.machine_seen(f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}")
        layers.machine_seen(MAC)
        assert len(layers.notices) == 10
        said = f"root fedora: no layer for {HOLDER}: layer.json: No space left on device"
        assert layers.notices[-1] == said
    layers.machine_seen(MAC)
    assert len(layers.notices) == 9
    layers.want((played.root(NEW),))
    assert layers.notices == ()


def test_a_clock_that_was_wrong_keeps_no_layer_from_making_room(played: Played) -> None:
    """A host without a battery for its clock had another day when the layer was made."""
    layers = played.layers(nfs_layers=1)
    layers.want((played.root(),))
    layers.machine_seen(MAC)
    played.now -= 1e6
    layers.machine_seen("52:54:00:12:34:57")
    assert [each.mac for each in layers.layers()] == ["52:54:00:12:34:57"]
    # Of one that is seen again, the time is noted by the clock that there is now.
    played.now -= 1e6
    layers.machine_seen("52:54:00:12:34:57")
    assert [each.record.last_seen for each in layers.layers()] == [played.now]


def test_an_address_that_becomes_anothers_shows_its_root_though_the_disk_is_full(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = "52:54:00:12:34:57"
    layers = played.layers(nfs_default_path=True)
    layers.want((played.root(),), "fedora")
    layers.machine_seen(MAC, ADDRESS)
    layers.machine_seen(other)
    own, others = (layer_path("fedora", OLD, each.replace(":", "-")) for each in (MAC, other))
    assert played.mounted[default_path(ADDRESS)] == [own]
    with monkeypatch.context() as no_room:
        no_room.setattr(Shelf, "write", full)
        layers.machine_seen(other, ADDRESS)
        assert not layers.settle()
        assert played.mounted[default_path(ADDRESS)] == [others]
        assert layers.notices == (
            f"root fedora {OLD}, layer of {other}: not noted by which paths it is shown: "
            "layer.json: No space left on device",
        )
    assert layers.settle()
    assert layers.notices == ()
    again = played.layers(is_open=False, nfs_default_path=True)
    monkeypatch.setattr(Volume, "begin", lambda _: "as ever")
    monkeypatch.setattr(Stage, "open", lambda _: frozenset())
    again.start()
    assert again._holdings.stage.shown == {own: own, others: others, default_path(ADDRESS): others}


def test_a_layer_that_somebody_deleted_by_hand_can_be_reset(played: Played) -> None:
    layers = played.layers()
    layers.want((played.root(),))
    layers.machine_seen(MAC)
    shutil.rmtree(played.boot / "machines" / HOLDER)
    layers.reset(MAC, "fedora")
    layers.settle()
    assert [each.folder.exists() for each in layers.layers()] == [True]
    assert layers.notices == ()


def test_the_layers_are_gone_through_once_for_all_machines_and_roots(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers, most = played.layers(), 20
    roots = tuple(replace(played.root(f"{n:016x}"), key=f"root{n}") for n in range(10))
    layers.want(roots, roots[0].key)
    for number in range(most):
        layers.machine_seen(f"52:54:00:12:35:{number:02x}")
    looks = list[Holdings]()
    staying = Holdings.staying

    def look(holdings: Holdings) -> list[Layer]:
        looks.append(holdings)
        return staying(holdings)

    monkeypatch.setattr(Holdings, "staying", look)
    layers.want(roots, roots[0].key)
    assert len(layers.layers()) == most
    assert len(looks) < 5


def test_machines_that_were_seen_get_their_layer_of_another_default_root(played: Played) -> None:
    layers = played.layers()
    roots = tuple(replace(played.root(f"{n:016x}"), key=f"root{n}") for n in range(5))
    for default in ("root0", "root1"):
        layers.want(roots, default)
        layers.machine_seen(MAC)
    layers.want(roots, "root2")
    assert {each.record.key for each in layers.layers()} == {"root0", "root1", "root2"}


def test_a_layer_that_goes_before_its_paths_were_noted_is_forgotten(
    played: Played, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers, root = played.layers(nfs_default_path=True), played.root()
    layers.want((root,), root.key)
    layers.machine_seen(MAC)
    with monkeypatch.context() as disk:
        disk.setattr(Shelf, "write", full)
        layers.machine_seen(MAC, ADDRESS)
        layers.forget(MAC, "fedora")
        layers.settle()
    assert layers.settle()
    assert (layers.layers(), layers.notices) == ((), ())
