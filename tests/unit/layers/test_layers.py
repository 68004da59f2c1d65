"""What machines are shown, where it needs no mount to tell."""

from __future__ import annotations

import asyncio
import errno
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath

import pytest

from appliance.layers.commands import CannotDo
from appliance.layers.layer import Layer, Record, Shelf
from appliance.layers.layers import Layers
from appliance.layers.stage import Stage
from appliance.layers.storage import Volume
from appliance.layers.told import tell
from appliance.nfs.export import default_path
from appliance.nfs_roots.layer_commands import Commands
from appliance.paths import Paths
from appliance.settings import Settings
from tests.unit.builders import a_record, a_root

MAC, HOLDER = "52:54:00:12:34:56", "52-54-00-12-34-56"
OTHER_HOLDER, OLD = "52-54-00-12-34-57", "8899aabbccddeeff"
ADDRESS = IPv4Address("192.168.10.7")


def show(stage: Stage, one: Layer, path: PurePosixPath, *_: object) -> None:
    """Take a layer for mounted."""
    stage.shown[path] = one.path


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
    layers._holdings.layers, layers._holdings.is_open = {layer.path: layer}, True
    layers.machine_seen(MAC, ADDRESS)
    assert [each.path for each in layers.exports()] == [layer.path, default_path(ADDRESS)]
    assert any("No space left on device" in each for each in layers.notices)


class Played:
    """Layers of which nothing is mounted or made: only what is decided."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, *records: Record) -> None:
        monkeypatch.setattr(Stage, "show", show)
        self.busy: set[PurePosixPath] = set()
        paths = replace(Paths(), boot=folder)
        self.layers = Layers(
            paths,
            Settings(interface="eth1"),
            lambda *_: None,
            lambda export: export.path in self.busy,
            storage=Volume(paths),
        )
        found = [Layer(record, folder) for record in records]
        self.layers._roots = (a_root(),)
        self.layers._holdings.layers = {each.path: each for each in found}
        self.layers._holdings.is_open = True
        for each in found:
            self.layers._holdings.stage.shown[each.path] = each.path

    @property
    def doomed(self) -> set[str]:
        return set(map(str, self.layers._holdings.doomed))


def a_layers_record(holder: str, version: str = a_root().id, **changed: object) -> Record:
    return a_record(holder, version=version, furnished=True, **changed)


@pytest.mark.parametrize("command", ["reset", "forget"])
def test_what_all_machines_write_is_made_afresh_when_nobody_runs_from_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: str
) -> None:
    played = Played(tmp_path, monkeypatch, a_layers_record("rw"), a_layers_record(HOLDER))
    path = f"/fedora/{a_root().id}/rw"
    change = getattr(played.layers, command)
    played.busy = {PurePosixPath(path)}
    with pytest.raises(CannotDo, match="layer of everybody: machines run from it: shut them "):
        change("rw", "fedora")
    change("rw", "fedora", force=True)
    assert played.doomed == {path}
    assert played.layers._pending == {"rw"}


def test_what_all_machines_share_stays_on_no_version(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    layers = Played(tmp_path, monkeypatch, a_layers_record("rw")).layers
    layers._told = tell(layers._holdings, 1)
    commands = Commands(layers, lambda: None)
    for asked in (commands.keep("rw", None), commands.follow("rw", "fedora")):
        with pytest.raises(CannotDo, match="rw: only a machine of its own can stay"):
            asyncio.run(asked)
    assert asyncio.run(commands.reset("rw", None, False)) == (
        "rw: it gets a fresh layer of the root fedora"
    )


def played_versions(folder: Path, monkeypatch: pytest.MonkeyPatch) -> Played:
    """Return layers of the version that is there, and of one before it."""
    played = Played(
        *(folder, monkeypatch),
        a_layers_record(HOLDER),
        a_layers_record(HOLDER, OLD, used=True),
        a_layers_record("rw", OLD),
        a_layers_record(OTHER_HOLDER, OLD, keep=True),
        a_layers_record(HOLDER, OLD, root="suse", key="suse"),
    )
    played.layers._current = {("fedora", a_root().id)}
    return played


@pytest.mark.parametrize(
    ("who", "root", "holders"),
    [
        (None, None, {f"/fedora/{OLD}/{HOLDER}", f"/fedora/{OLD}/rw", f"/suse/{OLD}/{HOLDER}"}),
        (MAC, None, {f"/fedora/{OLD}/{HOLDER}", f"/suse/{OLD}/{HOLDER}"}),
        (MAC, "fedora", {f"/fedora/{OLD}/{HOLDER}"}),
        ("rw", None, {f"/fedora/{OLD}/rw"}),
        ("52:54:00:00:00:01", None, set()),
    ],
)
def test_layers_of_old_versions_are_forgotten_but_for_kept_ones(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    who: str | None,
    root: str | None,
    holders: set[str],
) -> None:
    played = played_versions(tmp_path, monkeypatch)
    going, busy = played.layers.forget_old(who, root)
    assert ({str(each.path) for each in going}, busy) == (holders, [])
    assert played.doomed == holders


def test_an_old_version_that_a_machine_runs_from_stays_unless_it_is_forced(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = played_versions(tmp_path, monkeypatch)
    path = PurePosixPath(f"/fedora/{OLD}/{HOLDER}")
    played.busy = {path}
    commands = Commands(played.layers, lambda: None)
    with pytest.raises(CannotDo) as refused:
        asyncio.run(commands.forget_old(MAC, None, False))
    assert str(refused.value) == (
        f"deleted: root suse {OLD}, layer of {MAC}; machines run from: root fedora {OLD}, layer of "
        f"{MAC}: shut them down, or say --force"
    )
    assert str(path) not in played.doomed
    assert asyncio.run(commands.forget_old(MAC, "fedora", True)) == (
        f"deleted: root fedora {OLD}, layer of {MAC}"
    )
    assert str(path) in played.doomed
    assert asyncio.run(commands.forget_old(MAC, "fedora", True)) == (
        f"no layer of an old version is of {MAC} fedora"
    )


def test_before_it_is_known_which_roots_there_are_nothing_is_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = played_versions(tmp_path, monkeypatch)
    played.layers._current = set()
    with pytest.raises(CannotDo, match="which versions are old is not known"):
        played.layers.forget_old(None, None)
    assert played.doomed == set()


def test_no_version_of_a_root_that_is_there_is_old_when_it_is_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(tmp_path, monkeypatch, a_layers_record(HOLDER))
    played.layers.want((replace(a_root(), formats=("cpio",)),))
    assert played.layers.forget_old(None, None) == ([], [])
