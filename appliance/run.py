"""The only module that starts processes: environment, time limit, and one way to fail."""

from __future__ import annotations

import asyncio
import os
import shlex
import subprocess
from collections.abc import Collection, Sequence

# Messages are parsed and shown: no translations, no colours, no surprises from the caller.
_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}


class CommandFailed(Exception):
    """A command ended with an error; `output` is what it printed, both streams together."""

    def __init__(self, argv: Sequence[str], why: str, output: str) -> None:
        super().__init__(f"{shlex.join(argv)}: {why}: {output.strip()}")
        self.output = output


async def run(argv: Sequence[str], *, timeout: float = 10.0) -> str:
    """Run a command to its end and return what it printed on its standard output.

    `timeout` is in seconds. Raises CommandFailed for a status other than 0, for a command that is
    not there, and for one that did not end in time, which is then killed.
    """
    try:
        process = await asyncio.create_subprocess_exec(
            *argv,
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.PIPE,
            stderr=asyncio.subprocess.PIPE,
            env=_ENVIRONMENT,
        )
    except OSError as error:
        raise CommandFailed(argv, "cannot be started", str(error)) from None
    try:
        output, errors = await asyncio.wait_for(process.communicate(), timeout)
    except TimeoutError:
        process.kill()
        await process.wait()
        raise CommandFailed(argv, f"did not end within {timeout:g} s", "") from None
    if process.returncode:
        said = (output + errors).decode("utf-8", "replace")
        raise CommandFailed(argv, f"exit status {process.returncode}", said)
    return output.decode("utf-8", "replace")


def become(argv: Sequence[str]) -> None:
    """Replace this process by another program; returns only by raising CommandFailed."""
    try:
        os.execvpe(argv[0], list(argv), _ENVIRONMENT | dict(os.environ))
    except OSError as error:
        raise CommandFailed(argv, "cannot be started", str(error)) from None


def run_here(
    argv: Sequence[str], *, accepted: Collection[int] = (0,), timeout: float | None = None
) -> str:
    """Run a command from a thread that waits for it; return what it printed on standard output.

    `timeout` is in seconds. Raises CommandFailed for a status that is not `accepted`, for a command
    that is not there, and for one that did not end in time, which is then killed.
    """
    try:
        done = subprocess.run(
            list(argv),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            env=_ENVIRONMENT,
            timeout=timeout,
            check=False,
        )
    except OSError as error:
        raise CommandFailed(argv, "cannot be started", str(error)) from None
    except subprocess.TimeoutExpired:
        raise CommandFailed(argv, f"did not end within {timeout:g} s", "") from None
    if done.returncode not in accepted:
        said = (done.stdout + done.stderr).decode("utf-8", "replace")
        raise CommandFailed(argv, f"exit status {done.returncode}", said)
    return done.stdout.decode("utf-8", "surrogateescape")
