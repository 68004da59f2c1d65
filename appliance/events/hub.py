"""Gathers events, prints them as the container's output and hands them to who listens."""

from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

Kind = Literal["log", "dhcp", "pxe", "tftp", "http", "nfs", "boot", "fault"]

_LISTENER_BACKLOG = 10_000


@dataclass(frozen=True)
class Event:
    """One thing that a daemon said or did."""

    daemon: str
    text: str  # one line without control characters
    kind: Kind = "log"
    client: str = ""  # MAC or IPv4 address of the machine it is about
    card: str = ""  # PCI vendor:device of its network card, where it was told: "8086:15f3"
    time: float = field(default_factory=time.time)  # seconds since the epoch

    def as_json(self) -> dict[str, Any]:
        """Return what `bootdrop events` prints."""
        return asdict(self)


class Hub:
    """The one place through which every event goes."""

    def __init__(self) -> None:
        self._queues: set[asyncio.Queue[Event]] = set()

    def tell(self, event: Event) -> None:
        """Print an event, and hand it to everybody who listens."""
        # stdout is the event listener protocol's; supervisord makes stderr the container's output.
        print(f"{event.daemon}: {event.text}", file=sys.stderr, flush=True)
        for queue in self._queues:
            if queue.full():  # a listener that does not read loses the oldest, nobody waits
                queue.get_nowait()
            queue.put_nowait(event)

    @asynccontextmanager
    async def listen(self) -> AsyncIterator[asyncio.Queue[Event]]:
        """Give a queue that gets every event from now on."""
        queue: asyncio.Queue[Event] = asyncio.Queue(_LISTENER_BACKLOG)
        self._queues.add(queue)
        try:
            yield queue
        finally:
            self._queues.discard(queue)


def printable(text: str) -> str:
    """Make one line of text safe for a terminal: control characters become \\xNN."""
    return "".join(
        char if char.isprintable() else char.encode("unicode_escape").decode() for char in text
    )
