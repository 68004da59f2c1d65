"""What serves roots over NFS goes on when a layer cannot have what it should."""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath
from typing import Literal

import pytest

from appliance.catalog.model import ModulesLayer
from appliance.layers import holdings, room
from appliance.layers.commands import CannotDo
from appliance.layers.layer import Layer, Shelf
from appliance.layers.told import versions_on
from appliance.nfs import choice, kernel_server
from appliance.nfs.choice import Choice
from appliance.nfs.export import NfsService
from appliance.nfs_roots import nfs_roots
from appliance.nfs_roots.furnishing import Offered
from appliance.nfs_roots.nfs_roots import NfsRoots
from appliance.paths import Paths
from appliance.run import CommandFailed
from appliance.settings import Settings
from tests.unit.builders import a_record

KERNEL = PurePosixPath("kernels/bzImage/00112233445566aa/kernel")
MODULES = ModulesLayer("1" * 16, "6.1.192", "modules.tar", PurePosixPath("modules/1/m.gz"), 0)


class Played:
    """Machines' layers over the default root, for whose kernel there are modules."""

    def __init__(
        self, tmp_path: Path, *, mounted: bool, nfs_store: Literal["image", "volume"] = "image"
    ) -> None:
        (tmp_path / "machines").mkdir()
        self.faults: dict[str, str | None] = {}
        self.nfs = NfsRoots(
            Settings(nfs_store=nfs_store),
            Paths(boot=tmp_path, state=tmp_path, run=tmp_path),
            tell=print,
            changed=lambda: None,
            progressed=lambda: None,
            say=print,
            fault=self.faults.__setitem__,
        )
        self.nfs._choice = Choice("kernel", "")  # open() may come to another
        self.nfs._furnishing.offers(Offered({KERNEL: MODULES}, (), KERNEL, "fedora"))
        layer = Layer(a_record(furnished=True), tmp_path)
        with self.nfs.layers._change() as holdings:
            holdings.layers[layer.path] = layer
            if mounted:
                holdings.stage.shown[layer.path] = layer.path

    def work(self) -> None:
        asyncio.run(self.nfs._work())


def test_a_layer_that_cannot_be_mounted_is_given_no_modules(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[object] = []
    played = Played(tmp_path, mounted=False)
    monkeypatch.setattr(played.nfs.layers, "refurnish", lambda *each: asked.append(each))
    played.work()
    assert asked == []


def test_a_layer_that_is_reset_meanwhile_hinders_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[PurePosixPath] = []

    def refurnish(path: PurePosixPath, furnish: Callable[[Layer, Path], None]) -> None:
        asked.append(path)
        raise CannotDo("no such layer is mounted")

    played = Played(tmp_path, mounted=True)
    monkeypatch.setattr(played.nfs.layers, "refurnish", refurnish)
    played.work()
    played.work()
    assert len(asked) == 2


def test_modules_do_not_fill_the_volume(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_folder: Path, name: str) -> None:
        raise room.NoRoom(f"{name}: full")

    monkeypatch.setattr(holdings, "require_free_space", full)
    played = Played(tmp_path, mounted=True)
    for _ in range(2):  # it is tried again, and told as long as there is no room
        played.work()
        assert played.faults["modules"] == "boot/machines/layers.ext4: full"


def test_on_a_full_disk_room_is_made_before_mounts_are_noted_and_none_is_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(tmp_path, mounted=True)
    done: list[str] = []

    def mounted(_: PurePosixPath) -> None:
        done.append("mounted")
        raise OSError(errno.ENOSPC, "No space left on device", "layer.json")

    monkeypatch.setattr(played.nfs.layers, "settle", lambda: not done.append("settle"))
    monkeypatch.setattr(played.nfs.layers, "mounted", mounted)
    played.nfs._mounted(PurePosixPath("/fedora/1/rw"))
    played.nfs._unsettled = True
    with pytest.raises(OSError, match="No space left"):
        played.work()
    with pytest.raises(OSError, match="No space left"):
        played.work()
    assert done == ["settle", "mounted", "mounted"]


def test_a_volume_without_a_folder_for_machines_is_no_obstacle(tmp_path: Path) -> None:
    assert versions_on([Shelf(tmp_path / "machines")]) == {}


def test_versions_of_layers_that_cannot_be_mounted_are_kept(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(tmp_path, mounted=False, nfs_store="volume")
    record = a_record(version="ffeeddccbbaa9988", furnished=True)
    folder = tmp_path / "machines" / record.holder / record.key / record.version
    folder.mkdir(parents=True)
    (folder / "layer.json").write_text(record.model_dump_json())

    def refused() -> None:
        raise OSError(errno.EIO, "Input/output error", str(tmp_path))

    async def nobody() -> None:
        return None

    async def choose(*_: object) -> Choice:
        return Choice("kernel", "found out")

    monkeypatch.setattr(nfs_roots, "somebody_elses_answers", nobody)
    monkeypatch.setattr(choice, "choose", choose)
    monkeypatch.setattr(played.nfs.layers, "start", refused)
    asyncio.run(played.nfs.open({"nfsd": "RUNNING"}))
    assert played.nfs.in_use() == {record.root: (record.version,)}


def test_a_flood_of_addresses_keeps_nothing_else_waiting(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    played = Played(tmp_path, mounted=False)

    def machine_seen(mac: str, address: IPv4Address) -> None:
        number = int(address)
        if number < 1000:
            played.nfs._seen[f"{mac}{number}"] = IPv4Address(number + 1)

    monkeypatch.setattr(played.nfs.layers, "machine_seen", machine_seen)
    played.nfs._seen["a"] = IPv4Address(0)
    monkeypatch.setattr(played.nfs.layers, "settle", lambda: True)
    played.nfs._unsettled = True
    played.work()
    assert not played.nfs._unsettled and len(played.nfs._seen) == 1


@pytest.mark.parametrize(
    ("programs", "server"),
    [({}, None), ({"nfsd": "RUNNING"}, "kernel"), ({"ganesha": "RUNNING"}, "ganesha")],
)
def test_a_server_that_runs_goes_on_when_it_cannot_be_found_out_what_serves(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    programs: dict[str, str],
    server: choice.Server | None,
) -> None:
    async def too_slow() -> str | None:
        raise CommandFailed(["ss"], "did not end within 10 s", "")

    async def look_again() -> str | None:
        return None

    async def choose(wanted: choice.Wanted, paths: Paths) -> Choice:
        await choice.foreign_server()
        return Choice("kernel", "found out")

    async def begin_and_look_again() -> NfsService:
        monkeypatch.setattr(choice, "foreign_server", too_slow)
        await played.nfs.open(programs)
        first = played.nfs.service
        assert played.faults["nfs"] is not None
        monkeypatch.setattr(choice, "foreign_server", look_again)
        await played.nfs._work()
        return first

    played = Played(tmp_path, mounted=True)
    monkeypatch.setattr(nfs_roots, "somebody_elses_answers", look_again)
    monkeypatch.setattr(choice, "choose", choose)
    monkeypatch.setattr(played.nfs.layers, "start", lambda: None)
    monkeypatch.setattr(played.nfs.layers, "works", True)
    monkeypatch.setattr(played.nfs.layers, "refurnish", lambda *_: None)
    monkeypatch.setattr(played.nfs.layers, "settle", lambda: True)
    first = asyncio.run(begin_and_look_again())
    assert first.server == server
    assert bool(first.exports) == (server is not None)
    assert played.nfs.service.server == "kernel"
    assert played.faults["nfs"] is None


def test_a_host_that_ends_its_server_is_taken_over_from(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Leftovers end before layers are mounted, and there is a new menu."""
    done: list[str] = []
    choices = [Choice(None, "the host serves NFS itself", by_host=True), Choice("kernel", "")]

    async def choose(wanted: choice.Wanted, paths: Paths) -> Choice:
        return choices.pop(0)

    async def foreign_server() -> str | None:
        return None

    async def end_leftovers(paths: Paths, *, elsewhere: bool) -> bool:
        done.append("leftovers")
        return False

    async def nobody_answers() -> bool:
        return False

    async def open_and_work() -> None:
        await played.nfs.open({})
        assert played.nfs.service.server is None
        assert done == ["leftovers"]
        await played.nfs._work()

    played = Played(tmp_path, mounted=False)
    monkeypatch.setattr(choice, "choose", choose)
    monkeypatch.setattr(choice, "foreign_server", foreign_server)
    monkeypatch.setattr(kernel_server, "end_leftovers", end_leftovers)
    monkeypatch.setattr(nfs_roots, "somebody_elses_answers", nobody_answers)
    monkeypatch.setattr(played.nfs, "_changed", lambda: done.append("changed"))
    monkeypatch.setattr(played.nfs.layers, "start", lambda: done.append("layers"))
    monkeypatch.setattr(played.nfs.layers, "works", True)
    monkeypatch.setattr(played.nfs.layers, "settle", lambda: True)
    played.nfs._choice = Choice(None, "not decided yet")
    asyncio.run(open_and_work())
    assert done == ["leftovers", "leftovers", "layers", "changed"]
    assert played.nfs.service.server == "kernel"
