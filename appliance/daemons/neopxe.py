"""neopxe, our own PXE boot server: the firmware's menu on UDP port 4011."""

from __future__ import annotations

import asyncio
import re
import socket
import sys
from pathlib import Path

from appliance.daemons.base import (
    PROBE_MAC,
    ConfigurationRejected,
    Daemon,
    NotServing,
    Program,
)
from appliance.events.hub import Event, printable
from appliance.neopxe import conf, packet
from appliance.neopxe.boot_menu import VENDOR_CLASS
from appliance.neopxe.packet import MessageType, Op, Option, Packet
from appliance.neopxe.server import PORT
from appliance.ports import Port
from appliance.situation import Situation

_CONFIGURATION = "etc/neopxe.conf"

_PATIENCE = 1.0  # seconds
_PROBE = Packet(
    op=Op.REQUEST,
    xid=0,
    chaddr=bytes.fromhex(PROBE_MAC.replace(":", "")),
    options={
        Option.MESSAGE_TYPE: bytes([MessageType.REQUEST]),
        Option.VENDOR_CLASS: VENDOR_CLASS,
    },
)

# What neopxe prints for each answer.
_ANSWER = re.compile(r"(?:menu|answer) client=(?P<client>\S+) .*")


class Neopxe(Daemon):
    """Knows nothing of the appliance: it reads the article's configuration file."""

    name = "neopxe"
    templates = (_CONFIGURATION,)
    on_change = "HUP"

    def program(self, situation: Situation) -> Program:
        """Run as a user without any privilege: its port is not a privileged one."""
        configuration = situation.paths.run / _CONFIGURATION
        return Program(
            (sys.executable, "-m", "appliance.neopxe", "--config", str(configuration)),
            user="neopxe",
            reads=(configuration.parent,),
        )

    def listens(self, situation: Situation) -> tuple[Port, ...]:
        """Return the boot server's port on the boot network."""
        assert situation.network is not None
        return (Port("udp", situation.network.server, PORT),)

    async def check(self, configuration: Path, situation: Situation) -> None:
        """Read it with neopxe's own reader."""
        try:
            conf.parse((configuration / _CONFIGURATION).read_text(encoding="utf-8"))
        except conf.BadConfiguration as bad:
            raise ConfigurationRejected(str(bad)) from None

    async def probe(self, situation: Situation) -> None:
        """Ask for the menu as firmware does."""
        assert situation.network is not None
        try:
            await asyncio.to_thread(_ask_for_menu, str(situation.network.server))
        except (OSError, packet.MalformedPacket) as error:
            raise NotServing(f"no menu from UDP port {PORT}: {error}") from None

    def event(self, line: str) -> Event:
        """Find the machine in `menu client=MAC …` and `answer client=MAC …`."""
        match = _ANSWER.fullmatch(line)
        if match is None:
            return super().event(line)
        return Event(self.name, printable(line), "pxe", match["client"])


def _ask_for_menu(server: str) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(_PATIENCE)
        client.connect((server, PORT))
        client.send(packet.build(_PROBE))
        packet.parse(client.recv(65535))
