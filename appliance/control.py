"""The control socket: a client sends one line, and gets lines of JSON.

`status` is answered by one line; `events` by the status, and then by each event and each change
of the status for as long as the client listens. `health` is for config/healthcheck.pl, which reads
no JSON: one line of plain text, `ready` when nothing is wrong. A line that is JSON itself asks for
something to be done with a machine's layer (layers/commands.py) and is answered by one line.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from socket import AF_UNIX, SOCK_STREAM, socket
from typing import Any

from appliance.events.hub import Hub
from appliance.layers.commands import LONGEST_REQUEST, LayerCommands, carry_out
from appliance.status import Status


class NotRunning(Exception):
    """No appliance answers on the control socket."""


def health_line(status: Status) -> str:
    """Return the state, and why it is what it is, in one line."""
    return f"{status.state}: {'; '.join(status.reasons)}" if status.reasons else status.state


class ControlServer:
    """Answers on the control socket."""

    def __init__(
        self,
        hub: Hub,
        status: Callable[[], Status],
        layers: LayerCommands | None = None,
    ) -> None:
        """Know who tells events and the status, and who changes layers: None where nobody does."""
        self._hub = hub
        self._status = status
        self._layers = layers
        self._changes: set[asyncio.Event] = set()

    def status_changed(self) -> None:
        """Wake those who follow the status."""
        for change in self._changes:
            change.set()

    async def serve(self, path: Path) -> asyncio.Server:
        """Listen on the socket; only the container's root can connect."""
        path.unlink(missing_ok=True)
        server = await asyncio.start_unix_server(self._answer, path, limit=LONGEST_REQUEST)
        os.chmod(path, 0o600)
        return server

    async def _answer(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            request = (await reader.readline()).strip()
            if request == b"status":
                await self._send(writer, self._status_line())
            elif request == b"events":
                await self._follow(writer)
            elif request == b"health":
                writer.write(health_line(self._status()).encode() + b"\n")
                await writer.drain()
            elif request.startswith(b"{"):
                answer = await carry_out(request, self._layers)
                await self._send(writer, answer.model_dump())
        except (ConnectionError, ValueError):
            pass  # the client went away, or sent a line that is too long: nothing is owed to it
        finally:
            writer.close()

    async def _follow(self, writer: asyncio.StreamWriter) -> None:
        changed = asyncio.Event()
        changed.set()
        self._changes.add(changed)
        try:
            async with self._hub.listen() as queue, asyncio.TaskGroup() as tasks:
                # The same writer for both: each line is written whole.
                tasks.create_task(self._follow_status(writer, changed))
                while True:
                    event = await queue.get()
                    await self._send(writer, event.as_json())
        except* ConnectionError:
            pass  # the client went away
        finally:
            self._changes.discard(changed)

    async def _follow_status(self, writer: asyncio.StreamWriter, changed: asyncio.Event) -> None:
        while True:
            await changed.wait()
            changed.clear()
            await self._send(writer, self._status_line())

    def _status_line(self) -> dict[str, Any]:
        return {"kind": "status", "time": time.time(), **self._status().as_json()}

    @staticmethod
    async def _send(writer: asyncio.StreamWriter, line: dict[str, Any]) -> None:
        writer.write(json.dumps(line).encode() + b"\n")
        await writer.drain()


def ask(path: Path, request: str) -> Iterator[dict[str, Any]]:
    """Send a request to the running appliance and yield its answers. Raises NotRunning."""
    with socket(AF_UNIX, SOCK_STREAM) as connection:
        try:
            connection.connect(os.fspath(path))
        except OSError as error:
            raise NotRunning(
                f"no appliance answers on {path} ({error.strerror}): it starts, or cannot; "
                "its log says why: `docker compose logs appliance`"
            ) from None
        connection.sendall(request.encode() + b"\n")
        with connection.makefile("r", encoding="utf-8") as answers:
            for line in answers:
                yield json.loads(line)
