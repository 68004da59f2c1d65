from __future__ import annotations

import asyncio
import struct

import pytest

from appliance import health
from appliance.daemons.base import Daemon, NotServing, Program, ServesInPart, Silent
from appliance.events.hub import Hub
from appliance.health import Health
from appliance.reconcile import Outcome
from appliance.situation import Situation
from appliance.status import DaemonStatus, summary
from appliance.supervision import Supervision
from tests.unit.builders import a_situation


def a_status(name: str, phase: str, *, vital: bool = True) -> DaemonStatus:
    reason = "" if phase in ("starting", "serving") else "a reason"
    return DaemonStatus(name, phase, reason, vital)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("phases", "faults", "state"),
    [
        (["serving", "serving"], (), "ready"),
        (["serving", "idle"], (), "ready"),
        (["serving", "starting"], (), "starting"),
        (["serving", "failing"], (), "degraded"),
        (["serving", "serving"], ("the volume is full",), "degraded"),
        (["serving", "failed"], (), "failed"),
        ([], (), "starting"),
    ],
)
def test_the_state_is_that_of_the_worst(
    phases: list[str], faults: tuple[str, ...], state: str
) -> None:
    assert summary(tuple(a_status("x", phase) for phase in phases), faults)[0] == state


def test_machines_boot_without_a_daemon_that_is_not_vital() -> None:
    assert summary((a_status("radvd", "failed", vital=False),), ()) == (
        "degraded",
        ("radvd: a reason",),
    )


class Deaf(Daemon):
    """Runs and answers nobody, until it is started anew."""

    name = "deaf"
    answers = False
    reason = NotServing("no answer")

    def program(self, situation: Situation) -> Program:
        return Program("sleep 1000")

    async def probe(self, situation: Situation) -> None:
        if not self.answers:
            raise self.reason


class Restarts(Supervision):
    """Takes a restart for the end of deafness."""

    def __init__(self, daemon: Deaf) -> None:
        self.daemon = daemon
        self.count = 0

    async def restart(self, name: str) -> None:
        assert name == self.daemon.name
        self.count += 1
        self.daemon.answers = True


async def until_serving(daemon: Daemon, supervision: Restarts) -> list[DaemonStatus]:
    """Watch a daemon that was started until it serves; return each status that it came to."""
    changed, seen = asyncio.Event(), []
    watch = Health(supervision, Hub(), changed.set)
    watch.reconciled(daemon, Outcome(daemon.name, disturbed=True), a_situation())
    watch.process_state(daemon, "RUNNING")
    while watch.statuses()[0].phase != "serving":
        changed.clear()
        await changed.wait()
        seen.append(watch.statuses()[0])
    return seen


@pytest.mark.parametrize("reason", [NotServing("no answer"), Silent("no answer in time")])
def test_a_daemon_that_runs_and_does_not_answer_is_started_anew_and_proves_itself(
    monkeypatch: pytest.MonkeyPatch, reason: NotServing
) -> None:
    monkeypatch.setattr(health, "_PROBE_FAILING", 0.001)

    async def test() -> tuple[int, DaemonStatus]:
        daemon = Deaf()
        daemon.reason = reason
        supervision = Restarts(daemon)
        seen = await until_serving(daemon, supervision)
        return supervision.count, seen[-1]

    assert asyncio.run(test()) == (1, DaemonStatus("deaf", "serving"))


class HalfDeaf(Daemon):
    """Serves its clients in part, or late, for as long as it is asked, and one day all."""

    name = "half-deaf"

    def __init__(self, reason: NotServing) -> None:
        self.asked, self.reason = 0, reason

    def program(self, situation: Situation) -> Program:
        return Program(("sleep", "1000"))

    async def probe(self, situation: Situation) -> None:
        self.asked += 1
        if self.asked < 20:
            raise self.reason


@pytest.mark.parametrize(
    "reason", [ServesInPart("/a/1/ro: not to be had"), Silent("/a/1/ro: timed out")]
)
def test_a_daemon_that_serves_in_part_or_late_is_not_started_anew_under_its_clients(
    monkeypatch: pytest.MonkeyPatch, reason: NotServing
) -> None:
    monkeypatch.setattr(health, "_PROBE_FAILING", 0.001)
    monkeypatch.setattr(health, "_TAKING_UP", 0)

    async def test() -> tuple[int, set[str]]:
        daemon, supervision = HalfDeaf(reason), Restarts(Deaf())
        seen = await until_serving(daemon, supervision)
        return supervision.count, {status.phase for status in seen}

    assert asyncio.run(test()) == (0, {"failing", "serving"})


def test_a_daemon_that_serves_is_not_at_fault_while_it_takes_up_what_is_new(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "_PROBE_STARTING", 0.001)

    async def test() -> set[str]:
        daemon = HalfDeaf(ServesInPart("/a/1/ro: not to be had"))
        seen = await until_serving(daemon, Restarts(Deaf()))
        return {status.phase for status in seen}

    assert asyncio.run(test()) == {"serving"}


class Garbled(Daemon):
    """Its first answer is one that the probe's reader cannot read."""

    name = "garbled"
    asked = 0

    def program(self, situation: Situation) -> Program:
        return Program(("sleep", "1000"))

    async def probe(self, situation: Situation) -> None:
        self.asked += 1
        if self.asked == 1:
            struct.unpack("H", b"")


def test_an_answer_that_nobody_can_read_is_a_failure_and_not_the_last_probe(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(health, "_PROBE_FAILING", 0.001)

    async def test() -> list[DaemonStatus]:
        daemon = Garbled()
        seen: list[DaemonStatus] = []
        served = asyncio.Event()

        def changed() -> None:
            seen.extend(watch.statuses())
            if seen[-1].phase == "serving":
                served.set()

        watch = Health(Restarts(Deaf()), Hub(), changed)
        watch.reconciled(daemon, Outcome("garbled", disturbed=True), a_situation())
        watch.process_state(daemon, "RUNNING")
        await asyncio.wait_for(served.wait(), 5)
        return seen

    failing, serving = asyncio.run(test())
    assert (failing.phase, serving.phase) == ("failing", "serving")
    assert failing.reason.startswith("error('unpack requires")
