"""rpcbind: by which port a service of RPC listens, as clients of NFSv3 ask before they mount."""

from __future__ import annotations

import asyncio
from ipaddress import IPv4Address

from appliance.daemons.base import Daemon, NotServing, Program
from appliance.nfs import rpc
from appliance.nfs.choice import MOUNTD_PORT
from appliance.nfs.export import NOTHING_TO_SERVE
from appliance.ports import Port
from appliance.situation import Situation

_PATIENCE = 1.0  # seconds
# Seconds between two looks at the host's, and how many in a row find nobody until it has ended:
# while it is started anew, ours must not take its port.
_LOOK, _MISSES = 5.0, 3
_LOOPBACK = IPv4Address("127.0.0.1")
# Where version 3 of the NFS server's programs is, whichever server it is.
_SERVED = {rpc.MOUNT_PROGRAM: MOUNTD_PORT, rpc.NFS_PROGRAM: rpc.NFS_PORT}
_NULL = (100000, 2, 0)  # its own program's procedure that does nothing (RFC 1833)


class Rpcbind(Daemon):
    """Runs beside an NFS server of ours, unless the host has one already: there is one port 111."""

    name = "rpcbind"
    vital = False

    def idle(self, situation: Situation) -> str | None:
        """Run only where an NFS server of ours is to be found by it."""
        if situation.network is None:
            return super().idle(situation)
        if situation.nfs.server is None:
            return situation.nfs.idle
        if not situation.nfs.exports:
            return NOTHING_TO_SERVE
        if situation.nfs.hosts_rpcbind:
            return "the host's own rpcbind is used"
        return None

    def program(self, situation: Situation) -> Program:
        """Stay in the foreground (-f); what came by UDP is answered on the boot network (-h).

        As root it opens its sockets and becomes the user _rpc, without any privilege, by itself:
        it does not start as another user. By TCP it listens on every address, whatever is said.
        """
        assert situation.network is not None
        return Program(
            ("rpcbind", "-f", "-h", str(situation.network.server)),
            capabilities=("net_bind_service", "setgid", "setuid"),
            unconfined="its socket and its lock lie in /run itself",
        )

    def listens(self, situation: Situation) -> tuple[Port, ...]:
        """Return its port, which is the same everywhere."""
        assert situation.network is not None
        server = situation.network.server
        return (Port("tcp", server, rpc.RPCBIND_PORT), Port("udp", server, rpc.RPCBIND_PORT))

    async def probe(self, situation: Situation) -> None:
        """Call it, and tell it what it forgot when it was killed.

        No NFS server tells it twice, and a new start of one makes machines wait.
        """
        assert situation.network is not None
        server = situation.network.server
        await asyncio.to_thread(_call, server)
        if situation.settings.nfs_version in ("auto", "3"):
            await asyncio.to_thread(_tell_again, server)


async def somebody_elses_answers() -> bool:
    """Tell whether an rpcbind answers; before ours was started, it is the host's."""
    try:
        await asyncio.to_thread(_call, _LOOPBACK)
    except NotServing:
        return False
    return True


async def hosts_ended() -> None:
    """Wait until the host's rpcbind has ended."""
    misses = 0
    while misses < _MISSES:
        await asyncio.sleep(_LOOK)
        misses = 0 if await somebody_elses_answers() else misses + 1


def _tell_again(server: IPv4Address) -> None:
    """Register what serves and is not registered. Raises NotServing."""
    for program, port in _SERVED.items():
        try:
            rpc.call(server, port, (program, 3, 0), b"", _PATIENCE)
        except (OSError, rpc.NotAnswered):
            continue  # it registers itself before it answers
        try:
            if not rpc.registered_port(server, program, _PATIENCE):
                rpc.register(program, port, _PATIENCE)
        except (OSError, rpc.NotAnswered) as error:
            raise NotServing(f"program {program} is not registered: {error}") from None


def _call(address: IPv4Address) -> None:
    try:
        rpc.call(address, rpc.RPCBIND_PORT, _NULL, b"", _PATIENCE)
    except (OSError, rpc.NotAnswered) as error:
        raise NotServing(f"no answer from TCP port {rpc.RPCBIND_PORT}: {error}") from None
