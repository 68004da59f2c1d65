from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath

import pytest

from appliance.events.hub import Event
from appliance.nfs import connections
from appliance.nfs.connections import Connection
from appliance.nfs.export import Export, NfsService, fsid, layer_path
from appliance.nfs_roots import nfs_clients
from appliance.nfs_roots.nfs_clients import NfsClients
from appliance.paths import Paths
from appliance.run import CommandFailed
from appliance.status import ClientStatus
from tests.unit.builders import a_situation

MACHINE = IPv4Address("192.168.10.5")
MAC = "52:54:00:12:34:56"
VERSION = "0011223344556677"
LAYER = Export(
    layer_path("my~20root", VERSION, "52-54-00-12-34-56"), fsid("my~20root", VERSION, "x")
)


class Watched:
    def __init__(self, tmp_path: Path, server: str = "kernel", *exports: Export) -> None:
        self.told: list[Event] = []
        self.changes = 0
        self.mounted: list[PurePosixPath] = []
        self.clients = NfsClients(
            self.told.append, self._changed, self.mounted.append, Paths(), tmp_path
        )
        service = NfsService(server, exports=exports or (LAYER,))  # type: ignore[arg-type]
        self.clients.serve(replace(a_situation(), nfs=service))

    def _changed(self) -> None:
        self.changes += 1

    def hear(self, daemon: str, text: str, kind: str = "log", client: str = "") -> None:
        self.clients.hear(Event(daemon, text, kind, client))  # type: ignore[arg-type]

    async def look(self, *connections: Connection) -> None:
        await self.clients._look(connections)

    @property
    def texts(self) -> list[str]:
        return [event.text for event in self.told]


@pytest.fixture
def watched(tmp_path: Path) -> Callable[..., Watched]:
    return lambda *arguments: Watched(tmp_path, *arguments)


def test_a_mount_is_told_with_machine_path_and_version(watched: Callable[..., Watched]) -> None:
    seen = watched()
    seen.hear("dhcpd", f"DHCPACK on {MACHINE} to {MAC} via br0", "dhcp", MAC)
    mount = f"authenticated mount request from {MACHINE}:700 for {LAYER.path} ({LAYER.path})"
    seen.hear("mountd", f"rpc.mountd: {mount}")
    asyncio.run(seen.look(Connection(MACHINE, 700, "1", 10, 20)))
    (event,) = seen.told
    assert (event.daemon, event.kind, event.client) == ("nfs", "nfs", MAC)
    assert event.text == f"{MAC} ({MACHINE}) mounted {LAYER.path} by NFS 3"
    assert (seen.changes, seen.mounted) == (1, [LAYER.path])
    assert seen.clients.is_busy(LAYER)
    assert seen.clients.has_mounted(MAC)
    assert seen.clients.has_mounted(str(MACHINE))


def test_a_machine_that_boots_anew_is_told_as_gone(watched: Callable[..., Watched]) -> None:
    seen = watched()
    seen.hear("dhcpd", f"DHCPACK on {MACHINE} to {MAC} via br0", "dhcp", MAC)
    asyncio.run(seen.look(Connection(MACHINE, 700, "1", 10, 20)))
    seen.hear("dhcpd", f"stage=firmware mac={MAC}", "dhcp", MAC)
    assert seen.texts[1:] == [f"{MAC} ({MACHINE}) is gone: {LAYER.path}; read 20 bytes, wrote 10"]
    assert not seen.clients.is_busy(LAYER)
    assert not seen.clients.has_mounted(MAC)


def test_the_status_names_the_root_as_people_do(watched: Callable[..., Watched]) -> None:
    seen = watched()
    seen.hear("dhcpd", f"DHCPACK on {MACHINE} to {MAC} via br0", "dhcp", MAC)
    asyncio.run(seen.look(Connection(MACHINE, 700, "1", 10, 20)))
    (status,) = seen.clients.statuses({"my~20root": "my root"})
    assert replace(status, since=0, idle=0) == ClientStatus(
        address=str(MACHINE),
        mac=MAC,
        root="my root",
        version=VERSION,
        share="clone",
        paths=(str(LAYER.path),),
        certain=True,
        nfs="",
        read=20,
        written=10,
        state="mounted",
    )
    assert seen.clients.statuses({})[0].root == "my~20root"


@pytest.mark.parametrize(
    ("address", "path", "said"),
    [
        (
            "10.0.0.9",
            str(LAYER.path),
            f"10.0.0.9 asked for {LAYER.path}: refused: it is outside of 192.168.10.0/24, the only "
            "network that is served",
        ),
        (
            "192.168.10.5",
            "/x/y",
            f"192.168.10.5 asked for /x/y: refused: there is no such root; there are {LAYER.path}",
        ),
        (
            "192.168.10.5",
            "/x\x1b[2J",
            "192.168.10.5 asked for /x\\x1b[2J: refused: there is no such root; there are "
            f"{LAYER.path}",
        ),
        (
            "192.168.10.5",
            str(LAYER.path),
            f"192.168.10.5 asked for {LAYER.path}: refused: the export is not for this machine",
        ),
    ],
)
def test_a_refusal_is_told_with_its_reason(
    watched: Callable[..., Watched], address: str, path: str, said: str
) -> None:
    seen = watched()
    seen.hear("mountd", f"refused mount request from {address} for {path} (/): no export entry")
    assert [(event.text, event.client) for event in seen.told] == [(said, address)]


def test_ganeshas_refusals_are_told_too(watched: Callable[..., Watched]) -> None:
    seen = watched("ganesha")
    client = f"does not support NFS v3 for client ::ffff:{MACHINE}"
    seen.hear("ganesha", f"mnt_Mnt :NFS3 :INFO :MOUNT: Export entry / {client}")
    assert seen.texts == [
        f"{MACHINE} asked for an export: refused: there is no such root; there are {LAYER.path}"
    ]


def test_of_many_exports_a_few_are_named(watched: Callable[..., Watched]) -> None:
    exports = tuple(
        Export(PurePosixPath(f"/root{number}/{VERSION}/rw"), fsid("a", VERSION, str(number)))
        for number in range(9)
    )
    seen = watched("kernel", *exports)
    seen.hear("mountd", f"refused mount request from {MACHINE} for /x (/): not exported")
    named = ", ".join(f"/root{number}/{VERSION}/rw" for number in range(3))
    assert seen.texts == [
        f"{MACHINE} asked for /x: refused: there is no such root; there are {named} and 6 more"
    ]


def test_a_storm_of_refusals_does_not_fill_the_log(watched: Callable[..., Watched]) -> None:
    seen = watched()
    for _ in range(5000):
        seen.hear("mountd", f"refused mount request from {MACHINE} for /x (/): not exported")
    assert len(seen.told) == 101
    assert seen.told[-1].client == ""
    assert "`bootdrop clients` lists all" in seen.texts[-1]


def test_our_own_probes_are_nobody(watched: Callable[..., Watched]) -> None:
    seen = watched()
    for address in ("192.168.10.1", "127.0.0.1"):
        seen.hear("mountd", f"refused mount request from {address} for /x (/): not exported")
        assert seen.clients._is_ours(IPv4Address(address))
    assert seen.told == []


def test_what_other_daemons_print_is_no_mount(watched: Callable[..., Watched]) -> None:
    seen = watched()
    seen.hear("nginx", f"refused mount request from {MACHINE} for /x (/): not exported")
    assert seen.told == []


def test_a_look_that_fails_is_followed_by_another(
    watched: Callable[..., Watched], monkeypatch: pytest.MonkeyPatch
) -> None:
    ours = Connection(IPv4Address("192.168.10.1"), 5, "2", 1, 1)
    answers = [CommandFailed(["ss"], "cannot be started", ""), ours]
    known = asyncio.Event()

    async def established() -> tuple[Connection, ...]:
        answer = answers.pop(0) if answers else ours
        if isinstance(answer, CommandFailed):
            raise answer
        return Connection(MACHINE, 700, "1", 10, 20), answer

    monkeypatch.setattr(connections, "established", established)
    monkeypatch.setattr(nfs_clients, "_PERIOD", 0)

    async def followed() -> None:
        seen = watched()
        seen.clients._changed = known.set
        seen.hear("dhcpd", f"DHCPACK on {MACHINE} to {MAC} via br0", "dhcp", MAC)
        task = asyncio.create_task(seen.clients.follow())
        await asyncio.wait_for(known.wait(), 10)
        task.cancel()
        assert [client.mac for client in seen.clients.statuses({})] == [MAC]

    asyncio.run(followed())


def test_before_the_first_look_every_export_may_be_in_use(watched: Callable[..., Watched]) -> None:
    seen = watched()
    assert seen.clients.is_busy(LAYER)
    asyncio.run(seen.look())
    assert not seen.clients.is_busy(LAYER)


def test_nothing_is_looked_at_while_nothing_is_served(watched: Callable[..., Watched]) -> None:
    seen = watched()
    assert seen.clients._serves.is_set()
    seen.clients.serve(replace(a_situation(), nfs=NfsService(None, exports=(LAYER,))))
    assert not seen.clients._serves.is_set()
    seen.clients.serve(replace(a_situation(), nfs=NfsService("ganesha")))
    assert not seen.clients._serves.is_set()
    assert nfs_clients.see((), NfsService(None), Path("/"), Path("/"), True).connections == ()


def test_an_orchestrator_that_was_started_anew_takes_every_export_for_used(tmp_path: Path) -> None:
    clients = NfsClients(lambda _: None, lambda: None, lambda _: None, Paths(), tmp_path)
    assert clients.is_busy(LAYER)
