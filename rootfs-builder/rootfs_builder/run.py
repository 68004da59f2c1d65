"""Runs the commands of a build: a log, time limits, and one way to fail."""

from __future__ import annotations

import os
import select
import selectors
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Self

# Messages are parsed and shown: no translations, no colours, no surprises from the caller.
ENVIRONMENT = {
    "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
    "LC_ALL": "C",
    "HOME": "/root",
    "DEBIAN_FRONTEND": "noninteractive",
    "RPM_FORCE_DEBIAN": "1",  # rpm warns on a Debian host otherwise
}
_LONGEST_LINE = 64 * 1024  # what a scriptlet prints has no end
_KEPT = 4 * 1024 * 1024  # characters of all lines together
_DYING = 10.0  # seconds that a sandbox may take to end after it was killed


class CommandFailed(Exception):
    """A command ended with an error, or was ended; `output` is the end of what it printed."""

    def __init__(self, why: str, output: str, status: int | None) -> None:
        super().__init__(why)
        self.output = output
        self.status = status  # None: it was ended, and `why` says by what


class Log:
    """build.log: everything that a build's commands print, up to `largest` bytes."""

    def __init__(self, file: Path, largest: int = 32 * 1024 * 1024) -> None:
        self._stream = file.open("ab", buffering=0)
        self._left = largest

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._stream.close()

    def write(self, content: bytes) -> None:
        """Append; what is past the limit is dropped, and the log says so once."""
        if self._left <= 0:
            return
        self._left -= len(content)
        if self._left <= 0:
            content = content[: self._left] + b"\n[the log is cut here]\n"
        self._stream.write(content)

    def say(self, line: str) -> None:
        """Append a line of our own."""
        self.write(f"[{line}]\n".encode())


@dataclass(frozen=True)
class Watch:
    """What is looked at while a command runs.

    seconds   the command's time; then it is ended.
    line      hears each line that it prints.
    tick      is called each second; what it raises ends the command, and is raised on.
    """

    seconds: float
    line: Callable[[str], None] = field(default=lambda _: None)
    tick: Callable[[], None] = field(default=lambda: None)


def run(
    argv: Sequence[str], log: Log, watch: Watch, environment: Mapping[str, str] | None = None
) -> str:
    """Run a command to its end and return the last lines that it printed, both streams together.

    Raises CommandFailed for a status other than 0, for a command that is not there, and for one
    that did not end in time, which is then killed with all that it started in its namespaces.
    """
    try:
        process = subprocess.Popen(
            argv,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            env=ENVIRONMENT | dict(environment or {}),
            start_new_session=True,
        )
    except OSError as error:
        raise CommandFailed(f"{argv[0]} cannot be started: {error.strerror}", "", None) from None
    output = _Tail(_KEPT)

    def hear(line: str) -> None:
        output.append(line)
        watch.line(line)

    try:
        _follow(process, log, watch, hear)
        status = process.wait()
    except BaseException as error:
        _end(process)
        if isinstance(error, TimeoutError):
            why = f"did not end within {watch.seconds:g} s"
            raise CommandFailed(why, output.text, None) from None
        raise
    finally:
        if process.stdout:
            process.stdout.close()
    if status:
        raise CommandFailed(f"exit status {status}", output.text, status)
    return output.text


class _Tail:
    """The last lines of an output, up to `most` characters."""

    def __init__(self, most: int) -> None:
        self._lines, self._most, self._length = deque[str](), most, 0

    def append(self, line: str) -> None:
        self._lines.append(line)
        self._length += len(line) + 1
        while self._length > self._most:
            self._length -= len(self._lines.popleft()) + 1

    @property
    def text(self) -> str:
        return "\n".join(self._lines)


def _end(process: subprocess.Popen[bytes]) -> None:
    """Kill a command and what it started, and wait until both are gone.

    That a sandbox ends with its unshare is a wish which its first process can take back: by
    prctl(2), or by becoming another user (PR_SET_PDEATHSIG). With that one its namespace ends.
    """
    if process.poll() is not None:
        return
    os.kill(process.pid, signal.SIGSTOP)  # so that it awaits no child, whose ID another could get
    os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WEXITED | os.WNOWAIT)
    children = [os.pidfd_open(child) for child in _children(process.pid)]
    for child in children:
        signal.pidfd_send_signal(child, signal.SIGKILL)
    process.kill()
    process.wait()
    for child in children:
        select.select([child], [], [], _DYING)
        os.close(child)


def _children(parent: int) -> Iterator[int]:
    for name in filter(str.isdigit, os.listdir("/proc")):
        with suppress(OSError):  # it ended meanwhile
            # proc_pid_stat(5): the name may hold anything, a parenthesis, too.
            fields = Path("/proc", name, "stat").read_bytes().rpartition(b")")[2].split()
            if int(fields[1]) == parent:
                yield int(name)


def _follow(
    process: subprocess.Popen[bytes], log: Log, watch: Watch, hear: Callable[[str], None]
) -> None:
    """Hear lines until the output closes; ends by TimeoutError, or what tick raises."""
    assert process.stdout is not None
    fd = process.stdout.fileno()
    until = time.monotonic() + watch.seconds
    next_tick = time.monotonic() + 1
    rest = ""
    with selectors.DefaultSelector() as selector:
        selector.register(fd, selectors.EVENT_READ)
        while True:
            now = time.monotonic()
            if now >= until:
                raise TimeoutError
            if now >= next_tick:
                next_tick = now + 1
                watch.tick()
            if not selector.select(min(until, next_tick) - now):
                continue
            chunk = os.read(fd, _LONGEST_LINE)
            if not chunk:
                break
            log.write(chunk)
            *lines, rest = (rest + chunk.decode("utf-8", "replace")).replace("\r", "\n").split("\n")
            for line in lines:
                hear(line)
            if len(rest) > _LONGEST_LINE:
                hear(rest)
                rest = ""
    if rest:
        hear(rest)
