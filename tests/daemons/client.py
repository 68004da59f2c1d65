"""A computer on the lab's network that runs the scripts of clients/, and what is inside ours."""

from __future__ import annotations

import re
from contextlib import AbstractContextManager
from pathlib import Path
from threading import Condition

from docker.models.containers import Container

from tests.daemons.squatters import beside
from tests.lab.lab import Lab
from tests.lab.project import SERVER
from tests.lab.stream import Stream

SCRIPTS = Path(__file__).parent / "clients"
BASE_URL = f"http://{SERVER}:8069"


class Script:
    """A script that runs; its lines are kept as they come."""

    def __init__(self, container: Container, name: str, *arguments: str) -> None:
        self.lines: list[str] = []
        self._rest = ""
        self._changed = Condition()
        text = (SCRIPTS / f"{name}.py").read_text()
        argv = ["python3", "-uc", text, *arguments]
        self._stream = Stream(container, argv, self._hear, self._wake)

    def finish(self, timeout: float = 60) -> list[str]:
        """Close its input, wait until it has ended by itself, and return what it printed."""
        self._stream.send("\n")
        assert self._stream.ended.wait(timeout), self.lines[-20:]
        assert self.lines and self.lines[-1] == "end", self.lines[-20:]
        return self.lines[:-1]

    def wait_line(self, beginning: str, timeout: float) -> str:
        """Wait for a line that begins so."""
        with self._changed:
            self._changed.wait_for(
                lambda: any(line.startswith(beginning) for line in self.lines), timeout
            )
        return next(line for line in self.lines if line.startswith(beginning))

    def _hear(self, piece: str) -> None:
        with self._changed:
            *lines, self._rest = (self._rest + piece).split("\n")
            self.lines += lines
            self._changed.notify_all()

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()


def a_client(lab: Lab) -> AbstractContextManager[Container]:
    """Give a container in the lab's network that has Python."""
    return beside(lab, "exec sleep infinity")


def run(client: Container, name: str, *arguments: str, timeout: float = 120) -> list[str]:
    """Run a script to its end and return the lines that it printed."""
    return Script(client, name, *arguments).finish(timeout)


_PROCESSES = """
for p in /proc/[0-9]*; do
    [ -r $p/cmdline ] || continue
    pss=$(sed -n 's/^Pss: *\\([0-9]*\\) kB/\\1/p' $p/smaps_rollup 2>/dev/null)
    rss=$(sed -n 's/^VmRSS:[^0-9]*\\([0-9]*\\) kB/\\1/p' $p/status 2>/dev/null)
    echo "${p#/proc/} ${pss:-0} ${rss:-0} $(tr '\\0' ' ' <$p/cmdline)"
done
"""
_DAEMONS = (
    "dhcpd",
    "nginx",
    "radvd",
    "rarpd",
    "appliance.neopxe",
    "in.tftpd",
    "cli serve",
    "supervisord",
)


def processes(lab: Lab) -> dict[str, list[tuple[int, int]]]:
    """Return (pid, resident memory in kB) of the appliance's processes, oldest first, by daemon."""
    _, said = lab.exec_appliance(["sh", "-c", _PROCESSES])
    found: dict[str, list[tuple[int, int]]] = {}
    for line in said.splitlines():
        match = re.fullmatch(r"(\d+) (\d+) (\d+) (.*)", line)
        if match is None or "smaps_rollup" in match[4]:
            continue
        for daemon in _DAEMONS:
            if daemon in match[4] and (daemon == "supervisord" or "supervisord" not in match[4]):
                found.setdefault(daemon, []).append((int(match[1]), int(match[3])))
                break
    return {daemon: sorted(each) for daemon, each in found.items()}


def pids(lab: Lab) -> dict[str, int]:
    """Return the oldest process of each daemon."""
    return {daemon: each[0][0] for daemon, each in processes(lab).items()}


def memory(lab: Lab) -> int:
    """Return the resident memory of all processes, in kB; shared pages count for each."""
    return sum(kb for each in processes(lab).values() for _, kb in each)
