"""Plays the orchestrator to layers/layers.py: a JSON list a line in, a JSON value a line out.

`[NAME, ARGUMENT, …]` calls the function of that name below; a CannotDo or OSError is
`{"error": TEXT}`. Runs in the appliance's container; /boot is the volume.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
import sys
import time
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath
from typing import Any

from appliance.catalog.model import Arch, PublishedRoot
from appliance.layers import layers as module
from appliance.layers import mounts
from appliance.layers.layer import Layer
from appliance.layers.storage import storage_of
from appliance.nfs.export import Export
from appliance.paths import Paths
from appliance.settings import Settings

Value = Any
PATHS = Paths(boot=Path("/boot"))


class Player:
    """One life of an orchestrator."""

    def __init__(self) -> None:
        self.busy: set[str] = set()
        self.now = 1e9
        self.refuse = False
        self.layers: module.Layers
        self.storage: Any = None

    def furnish(self, layer: Layer, mounted: Path) -> None:
        """Write the machine's name, as appliance.layers.clone does."""
        if self.refuse:
            raise OSError(28, "No space left on device", str(mounted / "etc/hostname"))
        (mounted / "etc").mkdir(exist_ok=True)
        (mounted / "etc/hostname").write_text(layer.record.holder)

    def is_busy(self, export: Export) -> bool:
        return str(export.path) in self.busy

    def start(self, **settings: Value) -> str:
        chosen = Settings(**{"nfs_store_size": 128} | settings)
        if self.storage is not None and self.storage._lock is not None:
            os.close(self.storage._lock)  # as the orchestrator before this one ended
        self.storage = storage_of(chosen, PATHS)
        self.layers = module.Layers(
            PATHS, chosen, self.furnish, self.is_busy, storage=self.storage, clock=lambda: self.now
        )
        self.layers.start()
        self.layers.sweep()
        return self.layers.said

    def want(self, *roots: dict[str, Value], default: str | None = None) -> None:
        self.layers.want(tuple(map(published, roots)), default)

    def seen(self, mac: str, address: str | None = None) -> float:
        """Return the seconds that it took."""
        begun = time.perf_counter()
        self.layers.machine_seen(mac, IPv4Address(address) if address else None)
        return time.perf_counter() - begun

    def boots(self, mac: str, root: str) -> float:
        """Return the seconds that it took."""
        begun = time.perf_counter()
        self.layers.machine_boots(mac, root)
        return time.perf_counter() - begun

    def mounted(self, path: str) -> None:
        self.layers.mounted(PurePosixPath(path))

    def keep(self, mac: str, root: str, keep: bool) -> None:
        self.layers.keep(mac, root, keep)

    def reset(self, mac: str, root: str, force: bool) -> None:
        self.layers.reset(mac, root, force)

    def settle(self) -> bool:
        settled = self.layers.settle()
        self.layers.sweep()
        return settled

    def stop(self) -> None:
        self.layers.stop()

    def sizes(self) -> Value:
        return {str(p): [s.files, s.bytes] for p, s in self.layers.sizes().items()}

    def told(self) -> Value:
        layers = self.layers
        return {
            "exports": {str(e.path): ["ro", "rw"][e.writable] for e in layers.exports()},
            "fsids": {str(e.path): str(e.fsid) for e in layers.exports()},
            "in_use": layers.in_use(),
            "notices": layers.notices,
        }

    def mounts(self) -> Value:
        found = [each for each in mounts.mounts() if PATHS.exports in each.point.parents]
        return {str(each.point.relative_to(PATHS.exports)): each.kind for each in found}

    def set(self, name: str, value: Value) -> None:
        setattr(self, name, set(value) if isinstance(value, list) else value)

    # What lies in the store

    def stored(self, *path: str) -> Value:
        """Return the names of folders in a folder of layers, and their modes."""
        folders = [each.folder.joinpath(*path) for each in self.storage.shelves]
        return {
            each.name: stat.S_IMODE(each.stat().st_mode)
            for folder in folders
            if folder.is_dir()
            for each in sorted(folder.iterdir())
            if each.is_dir()
        }

    def copies(self) -> list[str]:
        trees = PATHS.store / "trees/versions"
        return sorted(str(each.relative_to(trees)) for each in trees.glob("*/*"))

    def store(self, image: str) -> Value:
        """Return an image's size and what is free, in MiB, and how it is mounted."""
        point = PATHS.store / image
        volume = os.statvfs(point)
        (found,) = [each for each in mounts.mounts() if each.point == point]
        loop = Path("/sys/block", Path(found.source).name, "loop")
        return {
            "mib": volume.f_blocks * volume.f_frsize >> 20,
            "free": volume.f_bavail * volume.f_frsize >> 20,
            "direct": (loop / "dio").read_text().strip(),
            "mode": stat.S_IMODE(point.stat().st_mode),
            "options": found.options,
        }

    def shell(self, script: str) -> str:
        done = subprocess.run(
            ["sh", "-c", script], stdout=-1, stderr=subprocess.STDOUT, text=True, check=False
        )
        return f"{done.returncode} {done.stdout}"

    # What a machine does to its root; a server does it at the mount

    def write(self, path: str, text: str) -> None:
        file = PATHS.exports / path
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def read(self, path: str) -> str | None:
        file = PATHS.exports / path
        return file.read_text() if file.exists() else None

    def names(self, path: str) -> list[str]:
        return sorted(os.listdir(PATHS.exports / path))

    def plant(self, path: str) -> list[str]:
        """Leave what makes trouble for who reads or deletes it; return what could not be."""
        top = PATHS.exports / path
        (top / "link").symlink_to("/boot")
        (top / "etc-link").symlink_to("../../../../../boot/roots")
        os.mkfifo(top / "fifo")
        os.mknod(top / "null", stat.S_IFCHR | 0o666, os.makedev(1, 3))
        os.mknod(top / "disk", stat.S_IFBLK | 0o600, os.makedev(254, 0))
        (top / "a\n\t name'\"\\").write_text("x")
        (top / "setuid").write_text("x")
        (top / "setuid").chmod(0o4755)
        os.chdir(top)
        for _ in range(3000):  # paths are 4,096 bytes at most
            os.mkdir("deep")
            os.chdir("deep")
        os.chdir("/")
        refused = []
        for name in ("null", "disk"):
            try:
                os.close(os.open(top / name, os.O_RDONLY))
            except OSError:
                refused.append(name)
        return refused

    def rename(self, path: str, new: str) -> None:
        os.rename(PATHS.exports / path, PATHS.exports / new)

    def hold(self, path: str) -> None:
        """Have a file open, as an NFS server has."""
        self.held = os.open(PATHS.exports / path, os.O_RDONLY)

    def let_go(self) -> None:
        os.close(self.held)

    def die_in(self, name: str) -> None:
        """Be killed when a function of the shelf or the stage is to be called for the next time."""
        holdings: Any = self.layers._holdings
        of = (holdings.stage,) if hasattr(holdings.stage, name) else holdings._shelves

        def die(*_: Value, **__: Value) -> None:
            os._exit(1)  # the first process of a container does not die of its own SIGKILL

        for each in of:
            setattr(each, name, die)


def published(root: dict[str, Value]) -> PublishedRoot:
    return PublishedRoot(
        name=root["name"],
        id=root["id"],
        key=root.get("key", root["name"]),
        title="",
        arch=Arch.X86_64,
        is_default=False,
        cmdline="",
        init="/sbin/init",
        share=root.get("share"),
        formats=("nfs",),
        size=0,
        built_at=0.0,
        ramdisks={},
        variants={},
    )


def main() -> None:
    player = Player()
    for line in sys.stdin:
        name, arguments, keywords = json.loads(line)
        try:
            answer = getattr(player, name)(*arguments, **keywords)
        except (OSError, module.CannotDo, ValueError) as error:
            answer = {"error": str(error)}
        print(json.dumps(answer), flush=True)


main()
