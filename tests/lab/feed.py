"""What the appliance says of itself: its status, its events and its log, as they come."""

from __future__ import annotations

import json
import re
import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from threading import Condition, Thread
from typing import Any, TypeVar

import docker.errors
from docker.models.containers import Container

from tests.lab.stream import Stream

Found = TypeVar("Found")


class WaitedInVain(AssertionError):
    """What a test waited for did not come in time; the message says what was there instead."""


@dataclass(frozen=True)
class Event:
    """One thing that a daemon of the appliance said or did (appliance/events/hub.py)."""

    kind: str  # dhcp, pxe, tftp, http, boot, log, fault
    time: float  # seconds since the epoch
    daemon: str
    text: str
    client: str  # MAC or IPv4 address, "" when it is about no machine
    card: str = ""  # PCI number of the machine's network card, where it was told


@dataclass(frozen=True)
class Status:
    """The appliance's state at one moment (appliance/status.py)."""

    time: float  # seconds since the epoch
    state: str  # starting, ready, degraded
    reasons: tuple[str, ...]
    kernels: tuple[str, ...]  # names of the kernels in the menu, newest first
    refused: tuple[tuple[str, str], ...]  # path, reason
    pending: tuple[str, ...]
    address: str  # the server's IPv4 address, "" without a network
    default: str  # title of the entry that boots when nobody chooses
    serving: frozenset[str]  # names of the daemons that have proven that they serve
    nfs: dict[str, dict[str, Any]]  # what each kernel needs for NFS (status.KernelNfs), by name

    @classmethod
    def from_json(cls, line: dict[str, Any]) -> Status:
        """Read a line of `bootdrop events --json` whose kind is "status"."""
        return cls(
            time=line["time"],
            state=line["state"],
            reasons=tuple(line["reasons"]),
            kernels=tuple(kernel["name"] for kernel in line["kernels"]),
            refused=tuple((each["path"], each["reason"]) for each in line["refused"]),
            pending=tuple(line["pending"]),
            address=line["address"],
            default=line["default"],
            serving=frozenset(
                each["name"] for each in line["daemons"] if each["phase"] == "serving"
            ),
            nfs={kernel["name"]: kernel["nfs"] for kernel in line["kernels"]},
        )


class Feed:
    """Follows one appliance through all lives of its container; everything is kept.

    Threads write, everybody may read and wait. A line of the log is the sign that the appliance
    may have become able to answer, so nothing is polled.
    """

    def __init__(self) -> None:
        self.changed = Condition()
        self.events: list[Event] = []
        self.statuses: list[Status] = []
        self.log: list[str] = []
        self._streams: list[Stream] = []
        self._life = 0  # which life of the container is followed: older threads stop writing

    def follow(self, container: Container) -> None:
        """Follow the container that has just started, and no earlier one any more."""
        with self.changed:
            self._life += 1
            life, seen = self._life, len(self.log)
        Thread(target=self._follow_log, args=(container, life), daemon=True).start()
        Thread(target=self._follow_events, args=(container, life, seen), daemon=True).start()

    def stop(self) -> None:
        """Follow nothing any more; what came is kept."""
        with self.changed:
            self._life += 1
            streams, self._streams = self._streams, []
            self.changed.notify_all()
        for stream in streams:
            stream.close()

    @property
    def status(self) -> Status | None:
        """The newest status, None before the first one."""
        return self.statuses[-1] if self.statuses else None

    def wait_status(
        self, predicate: Callable[[Status], bool], timeout: float, since: float = 0.0
    ) -> Status:
        """Return the first status, reported after `since` (epoch), that satisfies `predicate`.

        Looks at the newest one first, then at each that comes. Raises WaitedInVain.
        """
        start = max(0, len(self.statuses) - 1)
        found = self._wait(
            lambda: next(
                (
                    status
                    for status in self.statuses[start:]
                    if status.time >= since and predicate(status)
                ),
                None,
            ),
            timeout,
        )
        if found is None:
            raise WaitedInVain(
                f"no such status within {timeout:g} s; the last one: {self.status}\n{self.tail()}"
            )
        return found

    def wait_event(
        self, predicate: Callable[[Event], bool], timeout: float, since: float = 0.0
    ) -> Event:
        """Return the first event after `since` (epoch) that satisfies `predicate`.

        Past events count, but those of an appliance's first moments may have passed before anybody
        could ask it: its status tells what became of them. Raises WaitedInVain.
        """
        found = self._wait(
            lambda: next(
                (event for event in self.events if event.time >= since and predicate(event)), None
            ),
            timeout,
        )
        if found is None:
            raise WaitedInVain(f"no such event within {timeout:g} s\n{self.tail()}")
        return found

    def wait_line(self, pattern: str, timeout: float, after: int) -> float:
        """Wait for a line of the log beyond that many; return when it was there (epoch).

        The log lacks nothing of an appliance's first moments. Raises WaitedInVain.
        """
        expression = re.compile(pattern)
        if (
            self._wait(lambda: any(map(expression.search, self.log[after:])) or None, timeout)
            is None
        ):
            raise WaitedInVain(f"/{pattern}/ not logged within {timeout:g} s\n{self.tail()}")
        return time.time()

    def tail(self, lines: int = 20) -> str:
        """Return the last lines of the appliance's log, indented, under a heading."""
        return "\n  ".join(["the appliance's last lines:", *self.log[-lines:]])

    def _wait(self, look: Callable[[], Found | None], timeout: float) -> Found | None:
        deadline = time.monotonic() + timeout
        with self.changed:
            while (found := look()) is None:
                left = deadline - time.monotonic()
                if left <= 0 or not self.changed.wait(left):
                    return look()
            return found

    def _follow_log(self, container: Container, life: int) -> None:
        unfinished = ""
        try:
            for piece in container.logs(stream=True, follow=True, since=_started(container)):
                *lines, unfinished = (unfinished + piece.decode("utf-8", "replace")).split("\n")
                with self.changed:
                    if life != self._life:
                        return
                    self.log += lines
                    self.changed.notify_all()
        except (docker.errors.APIError, OSError):
            return  # the container is gone

    def _follow_events(self, container: Container, life: int, seen: int) -> None:
        unfinished = ""

        def hear(text: str) -> None:
            nonlocal unfinished
            *lines, unfinished = (unfinished + text).split("\n")
            for line in lines:
                if line.startswith("{"):  # else: why there is no answer yet
                    self._take(json.loads(line), life)

        while True:
            with self.changed:
                while len(self.log) == seen and life == self._life:
                    self.changed.wait()
                if life != self._life:
                    return
                seen = len(self.log)
            try:
                stream = Stream(container, ["bootdrop", "events", "--json"], hear)
            except docker.errors.APIError:
                return  # the container is not running any more
            with self.changed:
                self._streams.append(stream)
            stream.ended.wait()
            with self.changed:
                if stream in self._streams:
                    self._streams.remove(stream)

    def _take(self, line: dict[str, Any], life: int) -> None:
        with self.changed:
            if life != self._life:
                return
            if line["kind"] == "status":
                self.statuses.append(Status.from_json(line))
            else:
                self.events.append(Event(**line))
            self.changed.notify_all()


def _started(container: Container) -> float:
    """Return when this life of the container began, in seconds since the epoch."""
    # The engine writes nanoseconds, which no datetime has: 2026-01-31T12:00:00.123456789Z
    moment = container.attrs["State"]["StartedAt"][:26].rstrip("Z")
    return datetime.fromisoformat(moment).replace(tzinfo=UTC).timestamp()
