"""Start-up: settings checked, supervisord's configuration written, and the render verb."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from appliance import menu, settings
from appliance.catalog.model import Catalog
from appliance.daemons import ALL
from appliance.network import read_interfaces, resolve
from appliance.paths import Paths
from appliance.provisions import rescue_root
from appliance.reconcile import everything, run_folders, write_tree
from appliance.render import Renderer
from appliance.run import become
from appliance.situation import Situation, base_url


def start(paths: Paths) -> None:
    """Check the settings, then become supervisord, which starts the orchestrator.

    Raises InvalidSettings before anything is started.
    """
    chosen = settings.load(paths.settings)
    # What an earlier life of the container left would be started before it was checked.
    for leftover in paths.run.iterdir() if paths.run.exists() else ():
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()
    run_folders(paths)
    situation = Situation(chosen, paths, menu.Menu())
    write_tree(Renderer(paths.templates).supervisord(situation, sys.executable), paths.run)
    configuration = paths.run / "etc/supervisor/supervisord.conf"
    become([sys.executable, "-m", "supervisor.supervisord", "-c", str(configuration)])


async def render(paths: Paths, target: Path) -> int:
    """Write every generated file under `target`; return how many. Raises NoNetwork."""
    chosen = settings.load(paths.settings)
    network = resolve(chosen, await read_interfaces())
    url = base_url(chosen, network)
    plan = menu.plan(chosen, Catalog(), rescue_root(paths.provisions / "rescue"), f"{url}/help.txt")
    situation = Situation(chosen, paths, plan, network, other_router="")
    tree = everything(situation, ALL, Renderer(paths.templates))
    write_tree(tree, target)
    return len(tree)
