"""The NFS daemons alone, in the container of the virtual server, under supervisord.

It ends leftovers, chooses, and becomes supervisord. A child of it, which is spared another start of
Python each time, mounts what /srv/boot/layers lists and brings the daemons there: first, and again
with each line in the fifo /srv/boot/apply.
"""

from __future__ import annotations

import asyncio
import os
import sys
from ipaddress import IPv4Address, IPv4Network
from pathlib import PurePosixPath

from appliance.daemons.base import NotServing
from appliance.daemons.mountd import Mountd
from appliance.daemons.nfsd import Nfsd
from appliance.daemons.nfsdcld import Nfsdcld
from appliance.menu.entries import Menu
from appliance.network import Network
from appliance.nfs import choice, kernel_server
from appliance.nfs.export import Export, NfsService, fsid
from appliance.paths import Paths
from appliance.reconcile import reconcile, run_folders
from appliance.render import Renderer
from appliance.run import become, run
from appliance.settings import Settings
from appliance.situation import Situation
from appliance.supervision import Supervision

PATHS = Paths()
CHOICE = PATHS.run / "choice"
LAYERS, ORDERS = PATHS.boot / "layers", PATHS.boot / "apply"
DAEMONS = (Nfsdcld(), Mountd(), Nfsd())
NETWORK = Network(
    interface="eth0",
    index=2,
    server=IPv4Address("192.168.10.2"),
    subnet=IPv4Network("192.168.10.0/24"),
    ranges=(),
    gateway=None,
    link_local=True,
)
SUPERVISORD = f"""
[supervisord]
nodaemon = true
user = root
logfile = /dev/null
logfile_maxbytes = 0
pidfile = {PATHS.run}/supervisord.pid
[unix_http_server]
file = {PATHS.supervisor}
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[include]
files = {PATHS.run}/etc/supervisor/conf.d/*.conf
"""


async def start() -> None:
    run_folders(PATHS)
    ORDERS.unlink(missing_ok=True)
    os.mkfifo(ORDERS)
    elsewhere = await choice.foreign_server()
    ended = await kernel_server.end_leftovers(PATHS, elsewhere=elsewhere is not None)
    print(f"leftovers: {ended}", flush=True)
    chosen = await choice.choose("auto", PATHS)
    print(f"choice: {chosen.server}: {chosen.why}", flush=True)
    CHOICE.write_text(f"{chosen.server}\n{chosen.why}\n")
    PATHS.exports.mkdir()
    await run(["mount", "-t", "tmpfs", "-o", "mode=755,size=1m", "tmpfs", str(PATHS.exports)])
    (PATHS.run / "supervisord.conf").write_text(SUPERVISORD)


async def apply() -> None:
    server, why = CHOICE.read_text().splitlines()
    # Where the host serves its own, nothing is mounted: it may hold what a killed container left.
    wanted = LAYERS.read_text().split() if server == "kernel" else ()
    paths = tuple(map(PurePosixPath, wanted))
    for path in paths:
        await mount(path)
    exports = tuple(Export(path, fsid(*path.parts[1:])) for path in paths)
    service = NfsService("kernel" if server == "kernel" else None, why, exports, hosts_rpcbind=True)
    situation = Situation(Settings(interface="eth0"), PATHS, Menu(), NETWORK, nfs=service)
    while not PATHS.supervisor.exists():
        await asyncio.sleep(0.05)
    renderer, supervision = Renderer(PATHS.templates), Supervision(PATHS.supervisor)
    for outcome in await reconcile(situation, DAEMONS, renderer, supervision):
        print(outcome, flush=True)
        if outcome.idle is None:
            await until_it_serves(outcome.daemon, situation)
    print("driver: applied", flush=True)


async def mount(path: PurePosixPath) -> None:
    target = PATHS.exports / path.relative_to("/")
    layer = PATHS.machines / path.relative_to("/")
    if target.is_mount():
        return
    for folder in (target, layer / "upper", layer / "work"):
        folder.mkdir(parents=True, exist_ok=True)
    lower, upper, work = PATHS.boot / "lower", layer / "upper", layer / "work"
    options = f"lowerdir={lower},upperdir={upper},workdir={work},nfs_export=on,index=on"
    await run(["mount", "-t", "overlay", "-o", options, "overlay", str(target)])


async def until_it_serves(name: str, situation: Situation) -> None:
    daemon = next(each for each in DAEMONS if each.name == name)
    for _ in range(30):
        try:
            await daemon.probe(situation)
            return
        except NotServing as error:
            reason = error
            await asyncio.sleep(0.1)
    print(f"{name} does not serve: {reason}", flush=True)


asyncio.run(start())
if os.fork() == 0:
    asyncio.run(apply())
    while ORDERS.read_text():
        asyncio.run(apply())
else:
    become(
        [
            *(sys.executable, "-m", "appliance.supervisord"),
            *("-c", str(PATHS.run / "supervisord.conf")),
        ]
    )
