"""What the orchestrator makes of what daemons say."""

from __future__ import annotations

from pathlib import Path

import pytest

from appliance.events.hub import Event, Hub
from appliance.events.syslog import SyslogSocket
from appliance.orchestrator import Orchestrator
from appliance.paths import Paths
from appliance.settings import Settings

# As rpc.mountd 2.8.3 answered a MOUNT of "/x\\nrpc.mountd: authenticated …".
FORGED = "rpc.mountd: authenticated unmount request from 192.168.10.15:800 for /f/0/rw (/f/0/rw)"
ASKED = f"refused mount request from 192.168.10.66 for /x\n{FORGED} (/x\n{FORGED}): not exported"


@pytest.fixture
def heard(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Orchestrator, list[Event]]:
    (tmp_path / "boot/machines").mkdir(parents=True)
    paths = Paths(boot=tmp_path / "boot", run=tmp_path, state=tmp_path)
    orchestrator = Orchestrator(Settings(), paths, Hub())
    events: list[Event] = []
    monkeypatch.setattr(orchestrator._nfs, "hear", events.append)
    return orchestrator, events


def test_a_path_with_line_breaks_tells_of_no_other_machine(
    heard: tuple[Orchestrator, list[Event]],
) -> None:
    orchestrator, events = heard
    mountd = orchestrator._daemons["mountd"]
    for line in f"rpc.mountd: {ASKED}".split("\n"):
        orchestrator._hear_output(mountd, line)
    assert events == []
    socket = SyslogSocket(orchestrator._hear_syslog)
    socket.datagram_received(f"<28>Nov 26 18:54:42 rpc.mountd[845]: {ASKED}".encode(), None)
    (event,) = events
    assert (event.daemon, event.client) == ("mountd", "192.168.10.66")
    assert "\n" not in event.text and event.text.startswith("refused mount request")


def test_a_mount_is_told_and_ends_the_wait_for_it(
    heard: tuple[Orchestrator, list[Event]], monkeypatch: pytest.MonkeyPatch
) -> None:
    orchestrator, _ = heard
    told: list[Event] = []
    awaited: list[Event] = []
    monkeypatch.setattr(orchestrator._hub, "tell", told.append)
    monkeypatch.setattr(orchestrator._silence, "hear", awaited.append)
    orchestrator._nfs.clients._say("52:54:00:12:34:56 (192.168.10.5) mounted /fedora/1/rw")
    (event,) = told
    assert (event.kind, event.client) == ("nfs", "52:54:00:12:34:56")
    assert awaited == told


def test_names_that_machines_chose_are_one_line_in_what_is_said(
    heard: tuple[Orchestrator, list[Event]], capsys: pytest.CaptureFixture[str]
) -> None:
    orchestrator, _ = heard
    for _ in range(2):
        orchestrator._fault("modules", "lib/modules/\x1b[2J\nbootdrop: all is well: no room")
    orchestrator._say("a\nb")
    said = r"lib/modules/\x1b[2J\nbootdrop: all is well: no room"
    assert orchestrator.status().reasons == (said,)
    assert capsys.readouterr().err == f"bootdrop: {said}\nbootdrop: a\\nb\n"
