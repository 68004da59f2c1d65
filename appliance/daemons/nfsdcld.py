"""nfsdcld: keeps which NFSv4 machines had files open, so that a restart lets them claim those."""

from __future__ import annotations

from appliance.daemons.base import Daemon, Program
from appliance.daemons.nfsd import CONFIGURATION, database, make_folders, not_by_kernel
from appliance.situation import Situation


class Nfsdcld(Daemon):
    """Has to run before the threads: the kernel asks it once, when they start."""

    name = "nfsdcld"
    templates = (CONFIGURATION,)
    vital = False

    def idle(self, situation: Situation) -> str | None:
        """Run beside the kernel's server."""
        return not_by_kernel(situation)

    def program(self, situation: Situation) -> Program:
        """Stay in the foreground (-F); its database is on the state volume."""
        paths = situation.paths
        return Program(
            ("nfsdcld", "-F", "-p", str(paths.run / "rpc_pipefs"), "-s", str(database(situation))),
            reads=(paths.run / "etc",),
            writes=(paths.run / "rpc_pipefs", database(situation)),
        )

    def prepare(self, situation: Situation) -> None:
        """Make the database's folder."""
        make_folders(situation)
