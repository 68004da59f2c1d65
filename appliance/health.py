"""Whether each daemon does its work: its process by supervisord's word, its service by a probe."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

from appliance.daemons.base import Daemon, NotServing, ServesInPart, Silent
from appliance.events.hub import Event, Hub, Kind, printable
from appliance.reconcile import Outcome
from appliance.situation import Situation
from appliance.status import DaemonStatus, Phase, State, summary
from appliance.supervision import NotSupervised, Supervision

# Seconds. A daemon that serves is asked at a modest rate, one that does not more often.
_PROBE_SERVING = 30.0
_PROBE_FAILING = 2.0
_PROBE_STARTING = 0.1
_FIRST_PAUSE = 2.0
_LONGEST_PAUSE = 60.0
# What a daemon that takes up changes while it serves has for that.
_TAKING_UP = 2.0
# A daemon that runs and fails probes in a row hangs when these have come to so many points. One
# that takes calls and is silent may have much to do: it has minutes, as a new start disturbs more.
_HANGS, _FAILED, _SILENT, _IN_PART = 60, 12, 1, 0


@dataclass
class _Watched:
    status: DaemonStatus
    situation: Situation | None = None  # None while it is idle
    process: str = ""  # supervisord's word for its state
    last_line: str = ""
    failures: int = 0  # points, of probes in a row
    disturbed: float = 0.0  # when it was told of a change last, by the loop's clock
    pause: float = _FIRST_PAUSE  # before it is started again, once supervisord has given up
    timer: asyncio.TimerHandle | None = None
    probe: asyncio.Task[None] | None = field(default=None, repr=False)


def _points(reason: Exception) -> int:
    match reason:
        case ServesInPart():
            return _IN_PART
        case Silent():
            return _SILENT
    return _FAILED


class Health:
    """Follows each daemon; `changed` is called when any status does."""

    def __init__(self, supervision: Supervision, hub: Hub, changed: Callable[[], None]) -> None:
        self._supervision = supervision
        self._hub = hub
        self._changed = changed
        self._watched: dict[str, _Watched] = {}
        self._restarts: set[asyncio.Task[None]] = set()

    def statuses(self) -> tuple[DaemonStatus, ...]:
        """Return every daemon's status, in the order of their first reconcile."""
        return tuple(watched.status for watched in self._watched.values())

    def summary(self, faults: tuple[str, ...]) -> tuple[State, tuple[str, ...]]:
        """Return the state of the whole, and why."""
        return summary(self.statuses(), faults)

    def last_line(self, daemon: Daemon, line: str) -> None:
        """Remember what a daemon said, as the likely reason when it ends."""
        self._of(daemon).last_line = line

    def reconciled(self, daemon: Daemon, outcome: Outcome, situation: Situation) -> None:
        """Take in what became of a daemon; one that was disturbed has to prove itself again."""
        watched = self._of(daemon)
        was_off = watched.situation is None
        if outcome.idle is not None or outcome.waits is not None:
            watched.situation = None
            self._quiet(watched)
            if outcome.idle is not None:
                self._set(watched, "idle", outcome.idle)
            else:
                self._set(watched, "starting", outcome.waits or "")
            return
        if outcome.fault is None:
            watched.situation = situation
        # An orchestrator that was started anew has missed what was told before.
        watched.process = watched.process or outcome.process
        if watched.process == "FATAL" and watched.status.phase == "starting":
            self._start_again(daemon, watched)
            return
        if outcome.disturbed and was_off:
            self._set(watched, "starting", "")
        if outcome.disturbed:
            watched.disturbed = asyncio.get_running_loop().time()
        if outcome.disturbed or watched.status.phase == "starting":
            self._probe_soon(daemon, watched)

    def start_anew(self, daemon: Daemon) -> None:
        """Have a daemon that shall run end and start."""
        watched = self._of(daemon)
        if watched.situation is not None:
            self._set(watched, "starting", "")
            self._ask(daemon, self._supervision.restart)

    def process_state(self, daemon: Daemon, state: str) -> None:
        """Take in what supervisord says of a daemon's process."""
        watched = self._of(daemon)
        watched.process = state
        if watched.situation is None:
            return
        # supervisord calls it RUNNING after a second; it may have been seen to serve by then.
        if state == "STARTING" or (state == "RUNNING" and watched.status.phase != "serving"):
            self._probe_soon(daemon, watched)
        elif state == "EXITED":
            self._quiet(watched)
            self._hub.tell(Event(daemon.name, f"ended, is started again: {watched.last_line}"))
            self._set(watched, "starting", "")
            # supervisord would do so itself, but within a second.
            self._ask(daemon, self._supervision.start)
        elif state == "BACKOFF":
            self._set(watched, "failing", f"does not stay up: {watched.last_line}")
        elif state == "FATAL":
            self._start_again(daemon, watched)

    def _start_again(self, daemon: Daemon, watched: _Watched) -> None:
        """Start a daemon that supervisord gave up, after a pause that grows."""
        self._quiet(watched)
        pause, watched.pause = watched.pause, min(2 * watched.pause, _LONGEST_PAUSE)
        why = f"does not stay up, next try in {pause:g} s: {watched.last_line}"
        self._set(watched, "failed", why)
        watched.timer = asyncio.get_running_loop().call_later(
            pause, self._ask, daemon, self._supervision.start
        )

    def _ask(self, daemon: Daemon, supervisord: Callable[[str], Awaitable[None]]) -> None:
        """Have supervisord do something with a daemon."""
        task = asyncio.create_task(self._asked(daemon, supervisord))
        self._restarts.add(task)
        task.add_done_callback(self._restarts.discard)

    async def _asked(self, daemon: Daemon, supervisord: Callable[[str], Awaitable[None]]) -> None:
        try:
            await supervisord(daemon.name)
        except NotSupervised as refused:
            self._hub.tell(Event(daemon.name, printable(str(refused)), "fault"))

    def _probe_soon(self, daemon: Daemon, watched: _Watched) -> None:
        if watched.process in ("STARTING", "RUNNING"):
            self._quiet(watched)
            watched.probe = asyncio.create_task(self._probe(daemon, watched))

    async def _probe(self, daemon: Daemon, watched: _Watched) -> None:
        if watched.situation is None:
            return
        loop = asyncio.get_running_loop()
        try:
            await daemon.probe(watched.situation)
        except Exception as reason:  # even of an answer that made its reader fail: others follow
            again = _PROBE_STARTING
            takes_up = (
                isinstance(reason, ServesInPart) and loop.time() < watched.disturbed + _TAKING_UP
            )
            if watched.process == "RUNNING" and not takes_up:  # it has had its second to come up
                expected = isinstance(reason, NotServing | OSError)
                self._set(watched, "failing", printable(str(reason) if expected else repr(reason)))
                watched.failures += _points(reason)
                if watched.failures >= _HANGS:
                    watched.failures = 0
                    self._hub.tell(Event(daemon.name, "runs and does not serve, is started anew"))
                    self._ask(daemon, self._supervision.restart)
                again = _PROBE_FAILING
        else:
            self._set(watched, "serving", "")
            watched.failures = 0
            watched.pause = _FIRST_PAUSE
            again = _PROBE_SERVING
        watched.timer = loop.call_later(again, self._probe_soon, daemon, watched)

    def _quiet(self, watched: _Watched) -> None:
        if watched.timer is not None:
            watched.timer.cancel()
        if watched.probe is not None and watched.probe is not asyncio.current_task():
            watched.probe.cancel()

    def _set(self, watched: _Watched, phase: Phase, reason: str) -> None:
        status = replace(watched.status, phase=phase, reason=reason)
        if status != watched.status:
            watched.status = status
            if phase in ("failing", "failed", "serving") or reason:
                text = f"{phase}: {reason}" if reason else phase
                kind: Kind = "fault" if phase in ("failing", "failed") else "log"
                self._hub.tell(Event(status.name, text, kind))
            self._changed()

    def _of(self, daemon: Daemon) -> _Watched:
        return self._watched.setdefault(
            daemon.name, _Watched(DaemonStatus(daemon.name, "starting", vital=daemon.vital))
        )
