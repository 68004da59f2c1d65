"""Start-up: settings checked, supervisord's configuration written, and the render verb."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

from appliance import settings_load
from appliance.catalog.model import Catalog
from appliance.daemons import ALL
from appliance.daemons.containment import landlock_works
from appliance.layers import mounts
from appliance.menu import entries, menu
from appliance.network import read_interfaces, resolve
from appliance.paths import Paths
from appliance.provisions import rescue_roots
from appliance.reconcile import everything, run_folders, write_tree
from appliance.render import Renderer
from appliance.root_store import RootStore
from appliance.run import become
from appliance.situation import Situation, base_url
from appliance.store import Store


def start(paths: Paths) -> None:
    """Check the settings, then become supervisord, which starts the orchestrator.

    Raises InvalidSettings before anything is started, OSError where something that is mounted in
    Paths.run is in use.
    """
    chosen = settings_load.load(paths.settings)
    # What an earlier life of the container left would be started before it was checked.
    clear(paths.run)
    run_folders(paths)
    situation = Situation(chosen, paths, entries.Menu())
    write_tree(Renderer(paths.templates).supervisord(situation, sys.executable), paths.run)
    configuration = paths.run / "etc/supervisor/supervisord.conf"
    become([sys.executable, "-m", "appliance.supervisord", "-c", str(configuration)])


def clear(folder: Path) -> None:
    """Empty a folder. Raises OSError before anything goes where something mounted in it is in use.

    What is mounted there is machines': it is unmounted, and nothing of it deleted.
    """
    mounts.unmount_below(folder)
    for leftover in folder.iterdir() if folder.exists() else ():
        shutil.rmtree(leftover) if leftover.is_dir() else leftover.unlink()


async def render(paths: Paths, yaml_file: Path | None, target: Path) -> int:
    """Write every generated file under `target`; return how many.

    `yaml_file` stands for the container's own file of settings. Raises NoNetwork.
    """
    if yaml_file is None:
        chosen = settings_load.load(paths.settings)
    else:
        chosen = settings_load.load(yaml_file, must_exist=True)
    network = resolve(chosen, await read_interfaces())
    url = base_url(chosen, network)
    catalog = Catalog(Store(paths.published, paths.kernels, chosen.keep).published())
    rescue = rescue_roots(paths.provisions / "rescue")
    roots = RootStore(paths.published, paths.roots).published()
    plan = menu.plan(chosen, catalog, rescue, f"{url}/help.txt", roots)
    situation = Situation(chosen, paths, plan, network, "", (), landlock=await landlock_works())
    tree = everything(situation, ALL, Renderer(paths.templates))
    write_tree(tree, target)
    return len(tree)
