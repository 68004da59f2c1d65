"""What the appliance asks of a daemon."""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Literal, Protocol

from appliance.events.hub import Event, printable
from appliance.ports import Port
from appliance.run import CommandFailed, run
from appliance.situation import Situation

# The hardware addresses that probes have, and who asks for other DHCP servers: locally
# administered, and none that somebody makes up for a virtual machine, as 02:00:00:00:00:01 is: who
# has the first is given our own address, who has the second none.
PROBE_MAC = "02:b0:07:d0:09:01"
ASKING_MAC = "02:b0:07:d0:09:02"


class ConfigurationRejected(Exception):
    """A daemon's own checker did not take a configuration; the message is its reason."""


class NotServing(Exception):
    """A daemon does not do its work, though it may run; the message says what was tried."""


class Silent(NotServing):
    """A daemon takes calls and does not answer in time: it has much to do, or it hangs."""


class ServesInPart(NotServing):
    """A daemon does some of its work; a new start would disturb those that it serves."""


@dataclass(frozen=True)
class Program:
    """How a daemon is started, and all that it may; containment.py sees to that.

    It stays in the foreground and logs to its own output.
    """

    argv: tuple[str, ...]
    user: str | None = None  # None: root, for daemons that drop their privilege themselves
    group: str | None = None  # the one with the user's name when None
    # What the user keeps, in small letters without CAP_; root keeps all where none are named.
    capabilities: tuple[str, ...] = ()
    reads: tuple[Path, ...] = ()  # folders, besides /usr, /opt and /etc
    writes: tuple[Path, ...] = ()  # folders
    unconfined: str = ""  # why Landlock cannot hold it; empty: it does
    stops_in: int = 5  # seconds from SIGTERM on, after which it is killed


class Daemon(Protocol):
    """One daemon: what it needs, how it is started, checked and proven to serve."""

    name: str  # its program's name in supervisord, and the first word of its lines in the log
    syslog_tag: str = ""  # for those that log to /dev/log instead of their output
    # It logs to both, and prints what clients sent as it came: only in /dev/log a line is one line.
    output_is_forgeable: bool = False
    templates: tuple[str, ...] = ()  # files under config/ (without .j2) that it reads
    vital: bool = True  # without it no machine boots
    # What takes up a changed configuration: a signal by its name, or a new start.
    on_change: Literal["HUP", "restart"] = "restart"

    def idle(self, situation: Situation) -> str | None:
        """Return why the daemon shall not run now; None when it shall."""
        return None if situation.network else "no network to boot on"

    def waits(self, situation: Situation) -> str | None:
        """Return what has to be known before the daemon can start; None when all is."""
        return None

    def program(self, situation: Situation) -> Program:
        """Return how to start it."""
        ...

    def prepare(self, situation: Situation) -> None:
        """Make what the daemon and its checker want to find."""
        return None

    def listens(self, situation: Situation) -> tuple[Port, ...]:
        """Return the ports that have to be free before it is started."""
        return ()

    async def check(self, configuration: Path, situation: Situation) -> None:
        """Let the daemon's own checker read what lies under the folder `configuration`.

        Raises ConfigurationRejected.
        """
        return None

    async def probe(self, situation: Situation) -> None:
        """Use the daemon as a client would. Raises NotServing."""
        return None

    def is_noise(self, line: str) -> bool:
        """Tell whether a line of the daemon's output is nobody's business."""
        return False

    def event(self, line: str) -> Event:
        """Read a line of the daemon's output."""
        return Event(self.name, printable(line))


async def let_checker_read(argv: list[str], noise: str = r"(?!)") -> None:
    """Run a daemon's checker; its output without lines that match `noise` is the reason."""
    try:
        await run(argv)
    except CommandFailed as failure:
        lines = [
            line.strip()
            for line in failure.output.splitlines()
            if line.strip() and not re.search(noise, line)
        ]
        raise ConfigurationRejected(printable("; ".join(lines)) or str(failure)) from None
