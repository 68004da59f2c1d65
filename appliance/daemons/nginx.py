"""nginx: kernels, ramdisks and scripts over HTTP."""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

from appliance.daemons.base import Daemon, NotServing, Program, let_checker_read
from appliance.events.hub import Event, printable
from appliance.situation import Situation

_CONFIGURATION = "etc/nginx/nginx.conf"
_PATIENCE = 2  # seconds

# The log_format of config/etc/nginx/nginx.conf.j2.
_ACCESS = re.compile(r"(?P<client>[\d.]+) [A-Z]+ \d{3} \d+ [\d.]+ .*")


class Nginx(Daemon):
    """Runs without a boot network too, on loopback alone."""

    name = "nginx"
    templates = (_CONFIGURATION,)
    on_change = "HUP"

    def idle(self, situation: Situation) -> str | None:
        """Always run: where there is no network to boot on, on loopback."""
        return None

    def program(self, situation: Situation) -> Program:
        """Stay in the foreground by `daemon off` in the configuration."""
        return Program(f"nginx -e stderr -c {situation.paths.run / _CONFIGURATION}")

    async def check(self, configuration: Path, situation: Situation) -> None:
        """Run `nginx -t`."""
        await let_checker_read(
            ["nginx", "-t", "-e", "stderr", "-c", str(configuration / _CONFIGURATION)],
            r"test failed$",
        )

    async def probe(self, situation: Situation) -> None:
        """Ask for the front page."""
        address = str(situation.network.server) if situation.network else "127.0.0.1"
        port = situation.settings.http_port
        try:
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_connection(address, port)
                writer.write(f"HEAD / HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
                answer = await reader.readline()
                writer.close()
        except (OSError, TimeoutError) as error:
            raise NotServing(f"no HTTP from {address}:{port}: {error}") from None
        if not answer.startswith(b"HTTP/"):
            raise NotServing(f"what answers on {address}:{port} is not HTTP")

    def event(self, line: str) -> Event:
        """Find the machine in a line of the access log."""
        match = _ACCESS.fullmatch(line)
        if match is None:
            return super().event(line)
        return Event(self.name, printable(line), "http", match["client"])
