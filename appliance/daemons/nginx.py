"""nginx: kernels, ramdisks and scripts over HTTP."""

from __future__ import annotations

import asyncio
import re
import shutil
import stat
from ipaddress import IPv4Address
from pathlib import Path

from appliance.daemons.base import Daemon, NotServing, Program, let_checker_read
from appliance.daemons.containment import confine
from appliance.events.hub import Event, printable
from appliance.ports import Port
from appliance.situation import Situation

_CONFIGURATION = "etc/nginx/nginx.conf"
_USER = "www-data"
_PATIENCE = 2  # seconds
_LOOPBACK = IPv4Address("127.0.0.1")

# The log_format of config/etc/nginx/nginx.conf.j2.
_ACCESS = re.compile(r"(?P<client>[\d.]+) [A-Z]+ \d{3} \d+ [\d.]+ .*")


class Nginx(Daemon):
    """Runs without a boot network too, on loopback alone."""

    name = "nginx"
    syslog_tag = "nginx"
    templates = (_CONFIGURATION,)

    def idle(self, situation: Situation) -> str | None:
        """Always run: where there is no network to boot on, on loopback."""
        return None

    def program(self, situation: Situation) -> Program:
        """Run as www-data, with no more than the right to a port under 1024."""
        return _program(situation, situation.paths.run)

    def prepare(self, situation: Situation) -> None:
        """Make the folder that it writes its pid and temporary files to."""
        folder = situation.paths.run / "nginx"
        folder.mkdir(mode=0o700, exist_ok=True)
        shutil.chown(folder, _USER, _USER)

    def listens(self, situation: Situation) -> tuple[Port, ...]:
        """Return the HTTP port, on the address that nginx.conf names."""
        address = situation.network.server if situation.network else _LOOPBACK
        return (Port("tcp", address, situation.settings.http_port),)

    async def check(self, configuration: Path, situation: Situation) -> None:
        """Run `nginx -t`, as the same user: it makes files that are then used."""
        argv = confine(_program(situation, configuration), landlock=situation.landlock)
        await let_checker_read([*argv, "-t"], r"test failed$")

    async def probe(self, situation: Situation) -> None:
        """Ask for the front page, which is a file in published/."""
        (listens,) = self.listens(situation)
        address, port = str(listens.address), listens.number
        try:
            async with asyncio.timeout(_PATIENCE):
                reader, writer = await asyncio.open_connection(address, port)
                writer.write(f"HEAD / HTTP/1.0\r\nHost: {address}\r\n\r\n".encode())
                answer = await reader.readline()
                writer.close()
        except (OSError, TimeoutError) as error:
            raise NotServing(f"no HTTP from {address}:{port}: {error}") from None
        if answer.split()[1:2] != [b"200"]:
            boot = situation.paths.boot
            if not boot.stat().st_mode & stat.S_IXOTH:
                raise NotServing(
                    f"{boot} is closed to its user {_USER}; chmod o+x boot on the host"
                )
            said = answer.decode("ascii", "replace").strip()
            raise NotServing(f"{address}:{port} answers `{said}` instead of the front page")

    def event(self, line: str) -> Event:
        """Find the machine in a line of the access log."""
        match = _ACCESS.fullmatch(line)
        if match is None:
            return super().event(line)
        return Event(self.name, printable(line), "http", match["client"])


def _program(situation: Situation, folder: Path) -> Program:
    configuration = folder / _CONFIGURATION
    return Program(
        ("nginx", "-e", "stderr", "-c", str(configuration)),
        user=_USER,
        capabilities=("net_bind_service",),
        reads=(configuration.parent, situation.paths.published),
        writes=(situation.paths.run / "nginx",),
    )
