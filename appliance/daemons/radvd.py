"""radvd: an answer to the router solicitations that iPXE waits seconds for."""

from __future__ import annotations

import shutil
from pathlib import Path

from appliance.daemons.base import Daemon, Program, let_checker_read
from appliance.situation import Situation

_CONFIGURATION = "etc/radvd.conf"
_USER = "radvd"


class Radvd(Daemon):
    """Advertises no router and no prefix; silent where another router advertises."""

    name = "radvd"
    templates = (_CONFIGURATION,)
    vital = False

    def idle(self, situation: Situation) -> str | None:
        """Stay silent by setting, beside another router, and where IPv6 is off."""
        if situation.network is None:
            return super().idle(situation)
        if situation.settings.radvd == "off":
            return "BOOTDROP_RADVD=off"
        if situation.other_router:
            return f"another router advertises: {situation.other_router}"
        if not situation.network.link_local:
            return f"{situation.network.interface} has no IPv6 link-local address"
        return None

    def waits(self, situation: Situation) -> str | None:
        """Wait until other routers have had the time to answer."""
        return "listening for other routers first" if situation.other_router is None else None

    def program(self, situation: Situation) -> Program:
        """Stay in the foreground (-n) and log to stderr."""
        run, own = situation.paths.run, _own_folder(situation)
        return Program(
            (
                *("radvd", "-n", "-m", "stderr", "-p", str(own / "pid")),
                *("-C", str(run / _CONFIGURATION)),
            ),
            user=_USER,
            group="nogroup",
            capabilities=("net_raw",),  # ICMPv6
            reads=(run / "etc", Path("/proc")),
            writes=(own,),
        )

    def prepare(self, situation: Situation) -> None:
        """Make the folder that it writes its pid to."""
        own = _own_folder(situation)
        own.mkdir(mode=0o700, exist_ok=True)
        shutil.chown(own, _USER)

    async def check(self, configuration: Path, situation: Situation) -> None:
        """Run `radvd -c`."""
        await let_checker_read(["radvd", "-c", "-C", str(configuration / _CONFIGURATION)])


def _own_folder(situation: Situation) -> Path:
    return situation.paths.run / "radvd"
