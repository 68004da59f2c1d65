from __future__ import annotations

import asyncio
import os
import socket
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath

import pytest

from appliance.daemons.base import (
    ConfigurationRejected,
    Daemon,
    NotServing,
    ServesInPart,
    Silent,
)
from appliance.daemons.ganesha import Ganesha, is_readable
from appliance.daemons.nfsd import Nfsd
from appliance.daemons.rpcbind import Rpcbind
from appliance.nfs import rpc
from appliance.nfs.export import Export, NfsService
from appliance.settings import Settings
from appliance.situation import Situation
from tests.golden.cases import HERE, rendered
from tests.unit.builders import a_situation, an_export

SECTION = PurePosixPath("etc/supervisor/conf.d/ganesha.conf")


def serving(*exports: Export, settings: Settings | None = None) -> Situation:
    return replace(a_situation(settings), nfs=NfsService("ganesha", exports=exports))


@pytest.mark.parametrize(
    ("service", "ganesha", "rpcbind"),
    [
        (NfsService(None, "BOOTDROP_NFS=off"), "BOOTDROP_NFS=off", "BOOTDROP_NFS=off"),
        (NfsService("kernel"), "the kernel's NFS server runs", "no layer to serve yet"),
        (NfsService("kernel", exports=(an_export(),)), "the kernel's NFS server runs", None),
        (NfsService("ganesha"), "no layer to serve yet", "no layer to serve yet"),
        (NfsService("ganesha", exports=(an_export(),)), None, None),
        (
            NfsService("ganesha", exports=(an_export(),), hosts_rpcbind=True),
            None,
            "the host's own rpcbind is used",
        ),
    ],
)
def test_what_runs_is_what_was_decided_on(
    service: NfsService, ganesha: str | None, rpcbind: str | None
) -> None:
    situation = replace(a_situation(), nfs=service)
    assert (Ganesha().idle(situation), Rpcbind().idle(situation)) == (ganesha, rpcbind)


def test_another_address_or_version_is_a_new_start_and_another_export_is_not() -> None:
    before = rendered(serving(an_export()))
    more = rendered(serving(an_export(), an_export("/a/1/ro", number=2, writable=False)))
    assert more != before
    assert more[SECTION] == before[SECTION]
    only_4 = rendered(serving(an_export(), settings=Settings(interface="eth1", nfs_version="4.2")))
    assert only_4[SECTION] != before[SECTION]
    network = a_situation().network
    assert network is not None
    moved = replace(
        serving(an_export()), network=replace(network, server=IPv4Address("192.168.10.2"))
    )
    assert rendered(moved)[SECTION] != before[SECTION]


@pytest.mark.parametrize(
    ("line", "text", "kind", "client"),
    [
        (
            ": EXPORT :INFO :MOUNT: Export entry /r1/v1/ro does not allow access for client "
            "::ffff:10.77.0.5",
            "refused: MOUNT: Export entry /r1/v1/ro does not allow access for client "
            "::ffff:10.77.0.5",
            "nfs",
            "10.77.0.5",
        ),
        (
            ": NFS V4 :INFO :Access not allowed on Export_Id 0 / for client ::ffff:10.77.0.5",
            "refused: Access not allowed on Export_Id 0 / for client ::ffff:10.77.0.5",
            "nfs",
            "10.77.0.5",
        ),
        (
            ": DISP :INFO :Client ::ffff:10.77.0.5 is not allowed to access Export_Id 2 /a/b/c, "
            "vers=3, proc=1",
            "refused: Client ::ffff:10.77.0.5 is not allowed to access Export_Id 2 /a/b/c, "
            "vers=3, proc=1",
            "nfs",
            "10.77.0.5",
        ),
        (
            "26/11/2026 17:53:41 : epoch 6b08 : host : nfs-ganesha-39[main] main :MAIN :EVENT "
            ":nfs-ganesha Starting: Ganesha Version 6.5",
            "nfs-ganesha Starting: Ganesha Version 6.5",
            "log",
            "",
        ),
        (
            ": CONFIG :CRIT :Config File (/etc/x:9): Unknown parameter (Monitoring_Port)",
            "Config File (/etc/x:9): Unknown parameter (Monitoring_Port)",
            "fault",
            "",
        ),
        ("/lib/libc.so.6(+0x29ca8) [0x7f]", "/lib/libc.so.6(+0x29ca8) [0x7f]", "log", ""),
    ],
)
def test_a_line_tells_whom_it_refused_and_what_it_could_not_do(
    line: str, text: str, kind: str, client: str
) -> None:
    event = Ganesha().event(line)
    assert (event.text, event.kind, event.client) == (text, kind, client)


def test_a_name_that_a_machine_asks_for_makes_nobody_else_the_refused() -> None:
    line = ": NFS PROTO :EVENT :MOUNT: Export entry for /a client 192.168.10.9 not found"
    assert Ganesha().event(line).client == ""


@pytest.mark.parametrize(
    ("line", "noise"),
    [
        (": EXPORT :INFO :Export 0x55fce1e72e98     2 pseudo (/a/1/ro) with path (/b)", True),
        (": EXPORT :INFO :   NETWORK_CLIENT: 192.168.10.0/24 (options=033031e2/000001e0)", True),
        (": EXPORT :INFO :Exports after update", True),
        (": EXPORT :INFO :MOUNT: Export entry /a does not allow access for client 10.0.0.1", False),
        (": STATE :EVENT :NFS Server Now NOT IN GRACE", False),
        ("XPRT :WARN :svc_vc_wait: 0x7f2b70000b70 fd 14 recv errno 104 (will set dead)", True),
        ("XPRT :WARN :svc_vc_wait: 0x7f2b70000b70 fd 14 recv errno 110 (will set dead)", False),
    ],
)
def test_the_list_of_all_exports_is_nobodys_business(line: str, noise: bool) -> None:
    assert Ganesha().is_noise(line) is noise


GOLDEN = HERE / "ganesha"


def rejection(situation: Situation, configuration: Path = GOLDEN) -> str:
    with pytest.raises(ConfigurationRejected) as rejected:
        asyncio.run(Ganesha().check(configuration, situation))
    return str(rejected.value)


@pytest.mark.parametrize(
    "damage",
    [
        lambda text: text + "EXPORT {\n",
        lambda text: text.replace("}", "", 1),
        lambda text: text.replace("3, 4;", "3, 4", 1),
        lambda text: text.replace("Squash = no_root_squash", 'Squash = "no_root_squash'),
        lambda text: text + "}\n",
        # As a root's name with spaces has it in its path; between quotes it is none.
        lambda text: text + "EXPORT { Pseudo = /my-root~a0097e72/ro; }\n",
    ],
)
def test_a_file_at_which_it_would_give_up_every_export_is_rejected(
    tmp_path: Path, damage: Callable[[str], str]
) -> None:
    file = tmp_path / "etc/ganesha/ganesha.conf"
    file.parent.mkdir(parents=True)
    text = (GOLDEN / "etc/ganesha/ganesha.conf").read_text()
    assert is_readable(text)
    assert is_readable(text + 'EXPORT { Pseudo = "/my-root~a0097e72/ro"; }\n')
    file.write_text(damage(text))
    said = rejection(serving(), tmp_path)
    assert said == "etc/ganesha/ganesha.conf: has what Ganesha cannot read"


def test_what_is_not_mounted_is_not_served(tmp_path: Path) -> None:
    situation = serving(an_export("/a/1/ro"))
    situation = replace(situation, paths=replace(situation.paths, run=tmp_path))
    where = situation.paths.exports / "a/1/ro"
    where.mkdir(parents=True)
    assert rejection(situation) == f"/a/1/ro: nothing is mounted at {where}"


@pytest.mark.parametrize(
    ("export", "reason"),
    [
        (an_export("/a/1/{ }"), "/a/1/{ }: a path that cannot be written down"),
        (an_export("/a/1/b;"), "/a/1/b;: a path that cannot be written down"),
        (an_export("/a/1/ro", number=0), "/a/1/ro: has no number of its own, but 0"),
    ],
)
def test_an_export_that_cannot_be_written_down_is_not_served(export: Export, reason: str) -> None:
    assert rejection(serving(export)) == reason


def test_two_exports_of_one_number_are_not_served() -> None:
    exports = (an_export("/a/1/ro", number=7), an_export("/a/1/rw", number=7))
    assert rejection(serving(*exports)).count("has no number of its own, but 7") == 2


def test_overlays_that_cannot_be_told_apart_are_not_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    situation = serving(an_export("/a/1/ro", number=1), an_export("/a/1/rw", number=2))
    situation = replace(situation, paths=replace(situation.paths, run=tmp_path))
    for each in ("ro", "rw"):
        (situation.paths.exports / "a/1" / each).mkdir(parents=True)
    real = os.stat(tmp_path)

    def stat_of_a_mount(path: Path) -> os.stat_result:
        fields = list(real)
        fields[2] = hash(path.name)  # st_dev
        return os.stat_result(fields)

    monkeypatch.setattr(os.path, "ismount", lambda _: True)
    monkeypatch.setattr(os, "stat", stat_of_a_mount)
    assert "/a/1/rw: cannot be told from /a/1/ro" in rejection(situation)


# --- its probe

A, B, C = (an_export(f"/{root}/1/rw", number=number) for number, root in enumerate("abc", 1))


def looks(
    monkeypatch: pytest.MonkeyPatch, failing: dict[PurePosixPath, Exception]
) -> list[tuple[int, str]]:
    """Have looks at some exports fail; return the list that all looks are noted in."""
    noted: list[tuple[int, str]] = []

    def look(version: int) -> Callable[[IPv4Address, PurePosixPath, float], None]:
        def note(server: IPv4Address, path: PurePosixPath, patience: float) -> None:
            noted.append((version, str(path)))
            if path in failing:
                raise failing[path]

        return note

    monkeypatch.setattr(rpc, "look_by_v3", look(3))
    monkeypatch.setattr(rpc, "look_by_v4", look(4))
    return noted


def test_each_new_export_is_seen_once_and_then_one_in_each_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    noted = looks(monkeypatch, {})
    ganesha = Ganesha()
    rounds = []
    for exports in ((A, B), (A, B), (A, B), (A, B, C), (A, B, C)):
        noted.clear()
        asyncio.run(ganesha.probe(serving(*exports)))
        rounds.append([path[1] for version, path in noted if version == 4])
    assert rounds == [["a", "b"], ["a"], ["b"], ["c", "a"], ["b"]]


def test_a_probe_among_thousands_of_exports_holds_nobody_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks(monkeypatch, {})
    ganesha = Ganesha()
    holders = [f"52-54-00-00-{number >> 8:02x}-{number & 255:02x}" for number in range(4000)]
    situation = serving(*(an_export(f"/fedora/1/{holder}") for holder in holders))
    asyncio.run(ganesha.probe(situation))
    begun = time.process_time()
    asyncio.run(ganesha.probe(situation))
    assert time.process_time() - begun < 1  # 0.03; where each is looked for in all, 5


def test_one_export_that_fails_is_told_while_others_are_served(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks(monkeypatch, {B.path: rpc.NotAnswered("the mount is refused: status 13")})
    with pytest.raises(ServesInPart) as failed:
        asyncio.run(Ganesha().probe(serving(A, B)))
    assert str(failed.value) == ("/b/1/rw: not to be had by NFSv4: the mount is refused: status 13")


@pytest.mark.parametrize(
    "reason",
    [
        ConnectionRefusedError("refused"),
        rpc.NotRegistered("rpcbind was killed"),
    ],
)
def test_a_server_that_does_not_answer_serves_nobody(
    monkeypatch: pytest.MonkeyPatch, reason: Exception
) -> None:
    ganesha = Ganesha()
    looks(monkeypatch, {})
    asyncio.run(ganesha.probe(serving(A, B)))
    looks(monkeypatch, {A.path: reason})
    with pytest.raises(NotServing) as failed:
        asyncio.run(ganesha.probe(serving(A, B)))
    assert not isinstance(failed.value, ServesInPart | Silent)
    assert str(failed.value) == f"no answer by NFSv3: {reason}"


@pytest.mark.parametrize("daemon", [Ganesha(), Nfsd()])
def test_a_server_that_has_much_to_do_is_only_silent(
    monkeypatch: pytest.MonkeyPatch, daemon: Daemon
) -> None:
    noted = looks(monkeypatch, {A.path: TimeoutError("timed out")})
    with pytest.raises(Silent, match=r"^/a/1/rw: no answer .*within 2 s: timed out$"):
        asyncio.run(daemon.probe(serving(A, B)))
    assert len(noted) == 1


def test_the_kernels_server_that_refuses_connections_serves_nobody(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    looks(monkeypatch, {A.path: ConnectionRefusedError("refused")})
    with pytest.raises(NotServing, match=r"^/a/1/rw: refused$") as failed:
        asyncio.run(Nfsd().probe(serving(A, B)))
    assert not isinstance(failed.value, ServesInPart | Silent)


# --- servers that lie to a probe


@contextmanager
def a_server(answer: bytes) -> Iterator[int]:
    """Answer each connection's first message with the same bytes; give the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            while True:
                try:
                    connection, _ = listening.accept()
                except OSError:
                    return
                with connection:
                    connection.recv(65536)
                    connection.sendall(answer)

        serving_thread = threading.Thread(target=serve)
        serving_thread.start()
        yield listening.getsockname()[1]
        listening.shutdown(socket.SHUT_RDWR)
    serving_thread.join()


def reply(*words: int) -> bytes:
    body = struct.pack(f">{len(words)}I", *words)
    return struct.pack(">I", 0x80000000 | len(body)) + body


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        (b"", "the connection was closed"),
        (reply(), "the answer is cut short"),
        (reply(1, 1, 1, 1, 5), "the call was denied"),
        (reply(1, 1, 0, 0, 0, 1), "the call failed: accept_stat 1"),
        (reply(1, 1, 0, 0, 0xFFFFFFFF), "the answer is cut short"),
        (struct.pack(">I", 0xFFFFFFFF), "the answer has no end"),
        (struct.pack(">I", 0) * 3, "the connection was closed"),
    ],
)
def test_a_probe_takes_no_other_answer_for_a_good_one(answer: bytes, reason: str) -> None:
    with a_server(answer) as port, pytest.raises(rpc.NotAnswered, match=reason):
        rpc.call(IPv4Address("127.0.0.1"), port, (100003, 3, 0), b"", 1.0)


def test_a_probe_returns_the_results_of_a_call() -> None:
    with a_server(reply(1, 1, 0, 0, 0, 0, 0, 2)) as port:
        said = rpc.call(IPv4Address("127.0.0.1"), port, (100003, 3, 0), b"", 1.0)
    assert said == struct.pack(">II", 0, 2)
