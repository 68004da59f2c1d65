"""What the orchestrator has done with layers, when, and what it does where that fails."""

from __future__ import annotations

import asyncio
import errno
import threading
import uuid
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath
from typing import Any, Literal

import pytest

from appliance.catalog.model import Catalog, ModulesLayer, RootCatalog
from appliance.daemons import rpcbind
from appliance.events.hub import Event
from appliance.layers.commands import CannotDo
from appliance.layers.layer import Layer
from appliance.layers.sizes import Size
from appliance.nfs import export_numbers
from appliance.nfs.choice import Choice
from appliance.nfs.export import Export
from appliance.nfs_roots import nfs_roots
from appliance.nfs_roots.furnishing import Offered
from appliance.nfs_roots.nfs_roots import NfsRoots
from appliance.paths import Paths
from appliance.settings import Settings
from tests.unit.builders import a_menu, a_network, a_record, a_root, a_situation, an_export


class Played:
    """Layers that note what they are asked for."""

    notices = ()

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.there: tuple[Layer, ...] = ()
        self.exported: tuple[Export, ...] = ()
        self.sweeping, self.swept = threading.Event(), threading.Event()
        self.wanted = threading.Semaphore(0)
        self.more = False  # whether a sweep makes room
        self.settles: list[bool] = []
        self.used: dict[str, tuple[str, ...]] = {}
        self.refusing: dict[PurePosixPath, Exception] = {}
        self.refused: frozenset[tuple[str, str]] = frozenset()

    def layers(self) -> tuple[Layer, ...]:
        return self.there

    def exports(self) -> tuple[Export, ...]:
        return self.exported

    def refurnish(self, path: PurePosixPath, put: object) -> None:
        self.asked.append(("refurnish", path))
        if path in self.refusing:
            raise self.refusing[path]

    def settle(self) -> bool:
        self.asked.append(("settle",))
        return self.settles.pop(0)

    def sweep(self) -> bool:
        self.sweeping.set()
        self.swept.wait(10)
        return self.more

    def machine_seen(self, mac: str, address: IPv4Address) -> None:
        self.asked.append(("seen", mac))

    def in_use(self) -> dict[str, tuple[str, ...]]:
        return self.used

    def sizes(self) -> dict[PurePosixPath, Size]:
        return {}

    def want(self, *arguments: Any) -> None:  # noqa: ANN401
        self.asked.append(("want", *arguments[:2]))
        self.wanted.release()


class Served:
    """NfsRoots by nfs-ganesha, over layers that are played."""

    def __init__(self, folder: Path) -> None:
        self.faults: dict[str, str | None] = {}
        self.changes = 0
        self.nfs = NfsRoots(
            Settings(interface="eth1", nfs_store="volume"),
            replace(Paths(), boot=folder / "boot", state=folder / "state"),
            tell=lambda _: None,
            changed=self._changed,
            progressed=lambda: None,
            say=lambda _: None,
            fault=self.faults.__setitem__,
        )
        self.layers = Played()
        self.nfs.layers = self.layers  # type: ignore[assignment]
        self.nfs._choice, self.nfs._has_read = Choice("ganesha", "the test says so"), True

    def _changed(self) -> None:
        self.changes += 1

    def work(self) -> None:
        asyncio.run(self.nfs._work())


KERNEL = PurePosixPath("kernels/bzImage/00112233445566aa/kernel")
MODULES = ModulesLayer("1" * 16, "6.1.192", "modules.tar", PurePosixPath("modules/1/m.gz"), 0)


def a_layer(last: str) -> Layer:
    return Layer(a_record(f"52-54-00-12-34-{last}"), Path("/nowhere"))


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


def test_a_version_that_cannot_be_served_is_not_offered_until_there_is_room(
    served: Served,
) -> None:
    ways = a_root(), replace(a_root("mounted"), formats=("nfs",)), a_root("other")
    roots = RootCatalog(ways)
    served.nfs.want(a_menu(Settings(interface="eth1")), Catalog(), roots)
    served.layers.refused = frozenset((each.name, each.id) for each in ways[:2])
    asyncio.run(served.nfs._want())
    assert served.changes == 1
    left = served.nfs.bootable(roots).roots
    assert [(each.name, "nfs" in each.formats) for each in left] == [
        (ways[0].name, False),
        ("other", True),
    ]
    asyncio.run(served.nfs._want())
    assert served.changes == 1

    async def sweep() -> None:
        done = asyncio.Event()
        served.nfs._fault = lambda *_: done.set()
        task = asyncio.create_task(served.nfs._sweep())
        served.layers.swept.set()
        # What is held for long is looked for every few seconds: most looks find nothing to delete.
        for served.layers.more in (False, True):
            assert not served.nfs._due.is_set()
            done.clear()
            served.nfs._gone.set()
            await asyncio.wait_for(done.wait(), 10)
        task.cancel()

    served.nfs._due.clear()
    asyncio.run(sweep())
    assert served.nfs._wants_now
    served.layers.refused = frozenset()
    asyncio.run(served.nfs._want())
    assert (served.changes, served.nfs.bootable(roots)) == (2, roots)


def test_roots_that_change_are_wanted_again(served: Served) -> None:
    catalogs = [RootCatalog((a_root(name),)) for name in ("alma", "fedora", "alma")]

    async def test() -> None:
        following = asyncio.create_task(served.nfs.follow())
        for roots in catalogs:
            served.nfs.want(a_menu(Settings(interface="eth1")), Catalog(), roots)
            assert await asyncio.to_thread(served.layers.wanted.acquire, timeout=10)
        following.cancel()

    asyncio.run(asyncio.wait_for(test(), 10))
    assert [each[1] for each in served.layers.asked] == [roots.roots for roots in catalogs]


def test_a_layer_that_does_not_take_modules_now_hinders_no_other_and_is_tried_again(
    served: Served,
) -> None:
    hidden, full, good = (a_layer(last) for last in ("01", "02", "03"))
    served.layers.there = (hidden, full, good)
    served.layers.exported = tuple(
        Export(each.path, each.fsid(each.path)) for each in served.layers.there
    )
    served.layers.refusing = {
        hidden.path: CannotDo("no such layer is mounted"),
        full.path: OSError(errno.ENOSPC, "No space left on device", "/layer/lib"),
    }
    served.nfs._furnishing.offers(Offered({KERNEL: MODULES}, (), KERNEL, "fedora"))
    served.work()
    assert served.layers.asked == [("refurnish", each.path) for each in (hidden, full, good)]
    said = f"{full}: no modules: /layer/lib: No space left on device"
    assert served.faults["modules"] == said
    served.layers.asked, served.layers.refusing = [], {}
    served.work()
    assert served.layers.asked == [("refurnish", each.path) for each in (hidden, full)]
    assert served.faults["modules"] is None


def test_who_runs_is_served_on_while_no_new_number_can_be_noted(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    old, new = an_export("/fedora/1/a", number=0), an_export("/fedora/1/b", number=0)
    served.layers.exported = (old,)
    served.work()
    before = served.nfs.service.exports
    assert [each.path for each in before] == [old.path]

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    with monkeypatch.context() as patch:
        patch.setattr(export_numbers, "replace_file", full)
        served.layers.exported = (old, new)
        served.work()
        assert served.nfs.service.exports == before
        assert "No space left on device" in (served.faults["numbers"] or "")
    served.work()
    assert [each.path for each in served.nfs.service.exports] == [old.path, new.path]
    assert served.faults["numbers"] is None


def test_what_somebody_still_holds_is_tried_until_it_is_free(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(nfs_roots, "_HELD", 0.001)
    served.layers.settles = [False, False, True]

    async def test() -> None:
        served.nfs._unsettled = True
        await served.nfs._work()
        while served.layers.settles:
            await served.nfs._due.wait()
            served.nfs._due.clear()
            await served.nfs._work()

    asyncio.run(asyncio.wait_for(test(), 10))
    assert served.layers.asked == [("settle",)] * 3
    assert not served.nfs._unsettled


def test_the_builder_is_told_of_a_version_that_no_layer_is_over_any_more(served: Served) -> None:
    served.layers.used = {"fedora": ("00112233445566aa", "ffeeddccbbaa9988")}
    served.work()
    told = served.changes
    served.layers.used = {"fedora": ("ffeeddccbbaa9988",)}
    served.work()
    assert served.changes == told + 1


def test_machines_get_their_layers_while_what_a_large_one_had_is_deleted(served: Served) -> None:
    mac = "52:54:00:12:34:56"
    served.layers.settles = [True]

    async def test() -> None:
        served.nfs._unsettled = True
        served.nfs._due.set()
        following = asyncio.create_task(served.nfs.follow())
        await asyncio.to_thread(served.layers.sweeping.wait, 10)
        acknowledged = f"DHCPACK on 192.168.10.7 to {mac} via br0"
        served.nfs.hear(Event("dhcpd", acknowledged, "dhcp", mac))
        while ("seen", mac) not in served.layers.asked:
            await asyncio.sleep(0)
        assert not served.layers.swept.is_set()
        served.layers.swept.set()
        following.cancel()

    asyncio.run(asyncio.wait_for(test(), 5))


def test_a_path_of_another_layer_is_served_once_the_server_dropped_the_first(
    served: Served,
) -> None:
    path = PurePosixPath("/tftpboot/192.168.10.7")
    before, after = (Export(path, uuid.uuid4(), number=number) for number in (1, 2))
    situation = a_situation()
    served.nfs._exports = (before,)
    assert served.nfs.service.exports == (before,)
    served.nfs.reconciled(replace(situation, nfs=served.nfs.service))
    served.nfs._exports = (after,)
    changes = served.changes
    assert served.nfs.service.exports == ()
    served.nfs.reconciled(replace(situation, nfs=served.nfs.service))
    assert served.changes == changes + 1
    assert served.nfs.service.exports == (after,)
    served.nfs.reconciled(replace(situation, nfs=served.nfs.service))
    assert served.changes == changes + 1


@pytest.mark.parametrize("share", ["clone", "rw"])
def test_a_root_that_cannot_be_served_now_is_tried_again(
    served: Served, monkeypatch: pytest.MonkeyPatch, share: Literal["clone", "rw"]
) -> None:
    monkeypatch.setattr(nfs_roots, "_ANOTHER_CHOICE", 0.001)
    monkeypatch.setattr(nfs_roots, "_ANOTHER_TRY", 0.001)
    root = a_root(share=share)
    served.nfs.want(a_menu(Settings(interface="eth1")), Catalog(), RootCatalog((root,)))
    served.nfs._due.clear()

    waits: list[float] = []
    within = served.nfs._choosing.within

    def noted(seconds: float) -> None:
        waits.append(seconds)
        within(seconds)

    monkeypatch.setattr(served.nfs._choosing, "within", noted)

    async def wants_again() -> bool:
        waits.clear()
        await served.nfs._want()
        if waits:
            await asyncio.wait_for(served.nfs._due.wait(), 10)
        return served.nfs._wants_now and served.nfs._due.is_set()

    assert asyncio.run(wants_again())
    served.nfs._storage.tree(root.name, root.id).mkdir(parents=True)
    served.layers.exported = (an_export(f"/{root.key}/{root.id}/rw"),)
    served.nfs._due.clear()
    assert not asyncio.run(wants_again())


def test_where_nothing_is_served_strangers_have_nothing_looked_for(served: Served) -> None:
    served.nfs._choice = Choice(None, "the host serves NFS itself", by_host=True)
    served.nfs._furnishing.offers(Offered({}, (a_root(),)))
    mac = "52:54:00:12:34:56"
    for text, kind, client in (
        (f"DHCPACK on 192.168.10.7 to {mac} via br0", "dhcp", mac),
        (f"192.168.10.7 GET 404 0 0.000 /over-nfs/fedora/{KERNEL}", "http", "192.168.10.7"),
    ):
        served.nfs.hear(Event("nginx", text, kind, client))  # type: ignore[arg-type]
    assert not served.nfs._due.is_set()


def test_a_host_whose_paths_are_no_utf8_is_told_what_to_export_all_the_same(
    served: Served, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    boot = tmp_path / "boot"
    line = f"1 2 8:1 /srv/ger\xe4te/boot {boot} rw - ext4 /dev/sda1 rw\n"
    (tmp_path / "mountinfo").write_text(line, "latin-1")
    monkeypatch.setattr(nfs_roots, "_MOUNTS", tmp_path / "mountinfo")
    served.nfs._choice = Choice(None, "the host serves NFS itself", by_host=True)
    served.nfs._network, served.nfs._roots = a_network(), RootCatalog((a_root(),))
    (notice,) = served.nfs.notices
    assert notice.startswith("for the host's /etc/exports: \"/srv/ger\ufffdte/boot/roots/fedora/")


def test_when_the_hosts_rpcbind_has_ended_ours_is_needed(
    served: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    answers = [True, False, True, False, False, False]  # once it is started anew
    needed: list[bool] = []

    async def answer() -> bool:
        needed.append(not served.nfs.service.hosts_rpcbind)
        return answers.pop(0)

    monkeypatch.setattr(rpcbind, "somebody_elses_answers", answer)
    monkeypatch.setattr(rpcbind, "_LOOK", 0.001)
    served.nfs._hosts_rpcbind = True

    async def test() -> None:
        following = asyncio.create_task(served.nfs.follow())
        while not served.changes:
            await asyncio.sleep(0.001)
        following.cancel()

    asyncio.run(asyncio.wait_for(test(), 10))
    assert answers == [] and needed == [False] * 6
    assert not served.nfs.service.hosts_rpcbind


def test_a_layer_that_was_not_measured_yet_is_not_told_to_be_empty(served: Served) -> None:
    layer, other = a_layer("01"), a_layer("02")
    served.layers.there = (layer, other)
    served.nfs._sizes = {layer.path: Size(41, 2_500_000)}
    assert [(each.size, each.files) for each in served.nfs.layer_statuses] == [
        (2_500_000, 41),
        (None, None),
    ]


@pytest.mark.parametrize("fails", ["sizes", "in_use"])
def test_a_disk_that_fails_while_layers_are_measured_ends_nothing(
    served: Served, monkeypatch: pytest.MonkeyPatch, fails: str
) -> None:
    def failing() -> Any:  # noqa: ANN401
        raise OSError(errno.EIO, "Input/output error")

    monkeypatch.setattr(nfs_roots, "_MEASURE", 0.001)
    monkeypatch.setattr(served.layers, fails, failing)
    served.layers.there = (a_layer("01"),)

    async def test() -> bool:
        measuring = asyncio.create_task(served.nfs._measure())
        while "sizes" not in served.faults and not measuring.done():
            await asyncio.sleep(0.001)
        measuring.cancel()
        return served.faults["sizes"] is not None

    assert asyncio.run(asyncio.wait_for(test(), 10))
