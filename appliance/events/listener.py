"""supervisord's event listener protocol (its manual, "Event Listener Notification Protocol")."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import BinaryIO

# A daemon that prints without a newline must not fill the memory.
_LONGEST_LINE = 4096


@dataclass(frozen=True)
class ProcessState:
    """A program of supervisord changed its state: STARTING, RUNNING, BACKOFF, FATAL, …"""

    program: str
    state: str


@dataclass(frozen=True)
class LogLine:
    """A program printed a line."""

    program: str
    text: str


def take_stdout() -> BinaryIO:
    """Return the pipe to supervisord, and make everybody else's stdout stderr."""
    pipe = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    return pipe


async def notifications(
    source: asyncio.StreamReader, sink: BinaryIO
) -> AsyncIterator[ProcessState | LogLine]:
    """Yield what supervisord reports until it closes its end; each is acknowledged when read."""
    unfinished: dict[str, str] = {}
    while True:
        sink.write(b"READY\n")
        header = _fields((await source.readline()).decode())
        if not header:
            return
        payload = (await source.readexactly(int(header["len"]))).decode("utf-8", "replace")
        sink.write(b"RESULT 2\nOK")
        first, _, data = payload.partition("\n")
        program = _fields(first).get("processname", "")
        kind = header["eventname"]
        if kind.startswith("PROCESS_STATE_"):
            yield ProcessState(program, kind.removeprefix("PROCESS_STATE_"))
        elif kind.startswith("PROCESS_LOG"):
            *lines, rest = (unfinished.pop(program, "") + data).split("\n")
            unfinished[program] = rest[-_LONGEST_LINE:]
            for line in lines:
                yield LogLine(program, line[:_LONGEST_LINE])


async def standard_input() -> asyncio.StreamReader:
    """Return this process's standard input as a stream."""
    reader = asyncio.StreamReader()
    loop = asyncio.get_running_loop()
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), os.fdopen(0, "rb"))
    return reader


def _fields(line: str) -> dict[str, str]:
    return dict(word.split(":", 1) for word in line.split() if ":" in word)
