"""rpc.mountd: tells machines by NFSv3, and the kernel for every version, who may mount what."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from appliance.daemons.base import Daemon, NotServing, Program
from appliance.daemons.nfsd import CONFIGURATION, folder, make_folders, not_by_kernel
from appliance.events.hub import Event, printable
from appliance.nfs import rpc
from appliance.nfs.choice import MOUNTD_PORT
from appliance.ports import Port
from appliance.situation import Situation

_WRAPPERS = "etc/hosts.deny"
_NULL = (rpc.MOUNT_PROGRAM, 3, 0)  # its procedure that does nothing (RFC 1813)
_PATIENCE = 2.0  # seconds

_CLIENT = re.compile(r"\bfrom \"?(?P<client>\d+\.\d+\.\d+\.\d+)\b")


class Mountd(Daemon):
    """Answers the kernel's questions out of what exportfs noted, and machines of the subnet."""

    name = "mountd"
    templates = (CONFIGURATION, _WRAPPERS)
    vital = False
    # A path that a machine asks for may have line breaks in it, which would make it tell of others.
    syslog_tag = "rpc.mountd"
    output_is_forgeable = True

    def idle(self, situation: Situation) -> str | None:
        """Run beside the kernel's server."""
        return not_by_kernel(situation)

    def program(self, situation: Situation) -> Program:
        """Stay in the foreground (-F) and log who was granted what (-l); TCP alone (-u)."""
        paths = situation.paths
        return Program(
            ("rpc.mountd", "-F", "-l", "-u"),
            reads=(paths.run / "etc", paths.exports),
            writes=(Path("/proc"), folder(situation)),
        )

    def prepare(self, situation: Situation) -> None:
        """Make where exportfs notes what is exported."""
        make_folders(situation)

    def listens(self, situation: Situation) -> tuple[Port, ...]:
        """Return its port; it cannot be bound to one address, /etc/hosts.deny stands for that."""
        assert situation.network is not None
        return (Port("tcp", situation.network.server, MOUNTD_PORT),)

    async def probe(self, situation: Situation) -> None:
        """Call its procedure that does nothing."""
        assert situation.network is not None
        try:
            await asyncio.to_thread(
                rpc.call, situation.network.server, MOUNTD_PORT, _NULL, b"", _PATIENCE
            )
        except (OSError, rpc.NotAnswered) as error:
            raise NotServing(f"no answer from TCP port {MOUNTD_PORT}: {error}") from None

    def event(self, line: str) -> Event:
        """Find the machine in `rpc.mountd: … from ADDRESS:PORT for PATH`."""
        text = line.removeprefix("rpc.mountd: ")
        client = _CLIENT.search(text)
        if client is None:
            return Event(self.name, printable(text))
        return Event(self.name, printable(text), "nfs", client["client"])
