"""supervisord, seen from the orchestrator: XML-RPC on its unix socket."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path
from typing import Any
from xmlrpc.client import Fault, ServerProxy

from supervisor.xmlrpc import Faults, SupervisorTransport

# supervisord's words for a program that runs or is about to.
ALIVE = frozenset({"STARTING", "RUNNING", "BACKOFF"})


class NotSupervised(Exception):
    """supervisord refused what it was asked for; the message says what and why."""


class Supervision:
    """Starts, stops and restarts programs. One call at a time: supervisord has one thread."""

    def __init__(self, socket: Path) -> None:
        transport = SupervisorTransport(None, None, f"unix://{socket}")
        self._supervisor = ServerProxy("http://127.0.0.1", transport=transport).supervisor
        self._one_at_a_time = asyncio.Lock()

    async def states(self) -> dict[str, str]:
        """Return each program that supervisord knows with its state, such as RUNNING."""
        programs = await self._call(self._supervisor.getAllProcessInfo)
        return {program["name"]: program["statename"] for program in programs}

    async def add(self, name: str) -> None:
        """Take up a program whose section was just written, and start it."""
        await self._call(self._supervisor.reloadConfig)
        await self._call(self._supervisor.addProcessGroup, name)
        await self.start(name)  # supervisord itself would start it within a second

    async def remove(self, name: str) -> None:
        """Stop a program and forget it."""
        await self._stop(name)
        await self._call(self._supervisor.removeProcessGroup, name)

    async def restart(self, name: str) -> None:
        """Stop a program if it runs, and start it."""
        await self._stop(name)
        await self.start(name)

    async def start(self, name: str) -> None:
        """Start a program unless it runs; does not wait for it to stay up."""
        await self._call(self._supervisor.startProcess, name, False, but=Faults.ALREADY_STARTED)

    async def signal(self, name: str, signal: str) -> None:
        """Send a signal by its name without SIG, such as HUP."""
        await self._call(self._supervisor.signalProcess, name, signal, but=Faults.NOT_RUNNING)

    async def _stop(self, name: str) -> None:
        await self._call(self._supervisor.stopProcess, name, True, but=Faults.NOT_RUNNING)

    async def _call(
        self, method: Callable[..., Any], *arguments: object, but: int | None = None
    ) -> Any:  # noqa: ANN401
        """Call supervisord; the fault `but` means that there was nothing to do."""
        async with self._one_at_a_time:
            try:
                return await asyncio.to_thread(method, *arguments)
            except Fault as fault:
                if fault.faultCode != but:
                    what = " ".join(map(str, arguments))
                    raise NotSupervised(f"supervisord: {fault.faultString} {what}") from None
                return None
