"""An NFS server in the lab's appliance, its exports made by hand, and clients that may lie to it.

Its configuration and command line are those that the appliance would use.
"""

from __future__ import annotations

import base64
import json
import shlex
import subprocess
import uuid
from collections.abc import Sequence
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath
from types import TracebackType
from typing import Any

from appliance.daemons.base import Daemon
from appliance.daemons.containment import confine
from appliance.daemons.ganesha import Ganesha
from appliance.daemons.rpcbind import Rpcbind
from appliance.nfs import rpc
from appliance.nfs.export import Export, NfsService
from appliance.paths import Paths
from appliance.render import Renderer
from appliance.settings import Settings
from appliance.situation import Situation
from tests.daemons import forge
from tests.lab.lab import Lab
from tests.lab.project import SERVER
from tests.unit.builders import CHECKOUT, a_network, a_situation

CLIENT = "192.168.10.50"
OUTSIDER = "10.77.0.5"
PYTHON = "/opt/venv/bin/python"

# The server is started by the tests, and layers get file systems of their own by loop devices.
SETTINGS = {"BOOTDROP_NFS": "off"}

_LOG = "/run/ganesha.log"
_VOLUME = Path("/srv/boot/machines/test")

# A layer over a tree. What the first argument says lies on the volume's own file system, or on
# one that was made for it, in a file.
_MAKE = """
set -e
store={store}; where={where}
if [ ! -d $store ]; then
    mkdir -p $store/seed/etc $store/tree $store/layer
    echo lower > $store/seed/etc/lower
    if {images}; then
        mke2fs -q -t ext4 -O ^has_journal -d $store/seed $store/tree.img 16M
        mke2fs -q -t ext4 $store/layer.img 64M
    else
        cp -a $store/seed/. $store/tree/
    fi
fi
if {images}; then
    [ -e /dev/loop-control ] || mknod /dev/loop-control c 10 237
    for n in $(seq 0 31); do [ -e /dev/loop$n ] || mknod /dev/loop$n b 7 $n; done
    mountpoint -q $store/tree || mount -o loop,ro $store/tree.img $store/tree
    mountpoint -q $store/layer || mount -o loop $store/layer.img $store/layer
fi
mkdir -p $store/layer/upper $store/layer/work $where
options=lowerdir=$store/tree,upperdir=$store/layer/upper,workdir=$store/layer/work
mount -t overlay -o $options,index=on,nfs_export=on,xino=on bootdrop $where
[ -e $where/upper ] || echo {name} > $where/upper
"""


class Server:
    """nfs-ganesha with rpcbind in a lab's appliance, with the exports that a test makes."""

    def __init__(self, lab: Lab) -> None:
        self.lab = lab
        self.paths = Paths()
        self._exports: dict[PurePosixPath, Export] = {}
        for address in (f"{CLIENT}/24", f"{OUTSIDER}/24"):
            status, said = lab.network.exec_run(["ip", "address", "add", address, "dev", "br0"])
            assert status == 0, (status, said)
        self.sh(f"mkdir -p {self.paths.exports}; mount -t tmpfs exports {self.paths.exports}")

    def sh(self, script: str) -> str:
        """Run a shell script in the appliance; return what it printed."""
        status, said = self.lab.exec_appliance(["sh", "-c", script])
        assert status == 0, (status, said)
        return said

    # --- exports

    def where(self, path: str) -> str:
        """Return where an export is mounted."""
        return str(self.paths.exports / path.lstrip("/"))

    def store(self, path: str) -> Path:
        """Return the folder of the volume that has a layer's tree and its writable part."""
        return _VOLUME / path.lstrip("/").replace("/", "_")

    def layer(self, path: str, *, images: bool, writable: bool = True) -> None:
        """Mount a layer and have it exported; the same again after `unmount`."""
        self.sh(
            _MAKE.format(
                store=self.store(path),
                where=self.where(path),
                images=str(images).lower(),
                name=path.strip("/").replace("/", "_"),
            )
        )
        self.add(path, writable=writable)

    def plain_folder(self, path: str) -> None:
        """Have a folder of the volume exported as it is, as nobody must."""
        store = self.store(path)
        self.sh(
            f"mkdir -p {store} {self.where(path)}; echo {path[1:]} > {store}/upper;"
            f"mount --bind {store} {self.where(path)}"
        )
        self.add(path)

    def add(self, path: str, *, writable: bool = True) -> None:
        """Have what is mounted exported."""
        number = uuid.uuid5(uuid.NAMESPACE_URL, path)
        export = Export(PurePosixPath(path), number, writable, number.int % 65534 + 1)
        self._exports[export.path] = export

    def renumber(self, path: str) -> None:
        """Have it exported by other numbers, as another layer is."""
        before = self._exports[PurePosixPath(path)]
        number = uuid.uuid4()
        self._exports[before.path] = replace(before, fsid=number, number=number.int % 65534 + 1)

    def drop(self, path: str) -> None:
        """Have it exported no more."""
        del self._exports[PurePosixPath(path)]

    # --- the server

    @property
    def situation(self) -> Situation:
        """What the appliance would know."""
        network = replace(a_network("br0"), server=IPv4Address(SERVER))
        exports = tuple(self._exports[path] for path in sorted(self._exports))
        situation = a_situation(Settings(interface="br0"))
        return replace(
            situation, paths=self.paths, network=network, nfs=NfsService("ganesha", exports=exports)
        )

    def start(self) -> None:
        """Start what does not run, and wait until it serves every export."""
        self.write_configuration()
        self.sh("mkdir -p /run/bootdrop/ganesha /var/lib/bootdrop/nfs/ganesha")
        if "rpcbind" not in self.sh("ps -e -o comm= 2>/dev/null || cat /proc/[0-9]*/comm"):
            self._run(Rpcbind(), "/run/rpcbind.log")
            self.wait("rpcinfo -p 127.0.0.1 >/dev/null 2>&1")
        self._run(Ganesha(), _LOG)
        self.wait_served()

    def write_configuration(self) -> None:
        """Write what the appliance would write."""
        files = Renderer(CHECKOUT / "config").files(Ganesha.templates, self.situation)
        for path, text in files.items():
            target = shlex.quote(str(self.paths.run / path))
            content = base64.b64encode(text.encode()).decode()
            self.sh(f"mkdir -p $(dirname {target}); echo {content} | base64 -d > {target}")

    def reload(self) -> None:
        """Have a server that runs take up what changed, and wait until it did."""
        before = self.log().count("Reread exports complete")
        self.write_configuration()
        self.signal("HUP")
        self.wait(f"[ $(grep -c 'Reread exports complete' {_LOG}) -gt {before} ]")

    def signal(self, name: str) -> None:
        """Send it a signal."""
        self.sh(f"kill -{name} $(cat /run/bootdrop/ganesha/*.pid)")

    def stop(self, signal: str = "TERM") -> None:
        """End it and wait for its end."""
        pid = self.sh("cat /run/bootdrop/ganesha/*.pid").strip()
        self.signal(signal)
        self.wait(f"[ ! -e /proc/{pid}/exe ] || [ -z $(readlink /proc/{pid}/exe) ]")

    def log(self) -> str:
        """Return what it printed."""
        return self.sh(f"cat {_LOG}")

    def wait_served(self) -> None:
        """Wait until the appliance's own probe sees each export."""
        probe = (
            f"{Path(rpc.__file__).read_text()}\n"
            "import sys\n"
            "for path in sys.argv[1:]:\n"
            "    for look in (look_by_v3, look_by_v4):\n"
            f"        look(IPv4Address('{SERVER}'), PurePosixPath(path), 2.0)\n"
        )
        paths = shlex.join(map(str, self._exports))
        self.wait(f"{PYTHON} -c {shlex.quote(probe)} {paths} 2>/dev/null")

    def wait(self, condition: str, seconds: float = 10) -> None:
        """Wait until a shell command succeeds."""
        script = f"for n in $(seq {int(seconds * 20)}); do {condition} && exit; sleep 0.05; done"
        try:
            self.sh(f"{script}; false")
        except AssertionError:
            raise AssertionError(f"not within {seconds} s: {condition}\n{self.log()}") from None

    def _run(self, daemon: Daemon, log: str) -> None:
        argv = confine(daemon.program(self.situation), landlock=False)
        self.sh(f"{shlex.join(argv)} >>{log} 2>&1 </dev/null &")


@dataclass
class Forger:
    """tests/daemons/forge.py in the appliance: one client, from one address."""

    lab: Lab
    source: str = CLIENT

    def __enter__(self) -> Forger:
        source = Path(forge.__file__).read_text()
        argv = ["docker", "exec", "-i", str(self.lab.appliance.id), PYTHON, "-c", source]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._process.communicate()

    def ask(self, do: str, **about: str | int) -> Any:  # noqa: ANN401
        """Have one thing done. Raises forge.Refused with the server's status."""
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        request = {"do": do, "server": SERVER, "source": self.source} | about
        self._process.stdin.write(json.dumps(request) + "\n")
        self._process.stdin.flush()
        answer = json.loads(self._process.stdout.readline())
        if "refused" in answer:
            raise forge.Refused(answer["refused"])
        return answer["said"]

    def mount(self, version: int, path: str) -> bytes:
        """Return the handle of an export's root."""
        return bytes.fromhex(self.ask("mount", version=version, path=path))

    def lookup(self, version: int, handle: bytes, *names: str) -> bytes:
        """Walk from a folder's handle to another handle."""
        for name in names:
            said = self.ask("lookup", version=version, handle=handle.hex(), about=name)
            handle = bytes.fromhex(said)
        return handle

    def read(self, version: int, handle: bytes) -> str:
        """Return a file's beginning."""
        said: str = self.ask("read", version=version, handle=handle.hex())
        return said

    def write(self, version: int, handle: bytes, text: str) -> None:
        """Write to a file's beginning, to the disk."""
        self.ask("write", version=version, handle=handle.hex(), about=text)

    def names(self, version: int, handle: bytes) -> Sequence[str]:
        """Return the names in a folder."""
        said: Sequence[str] = self.ask("list", version=version, handle=handle.hex())
        return said

    def kernel_handle(self, path: str | Path) -> bytes:
        """Return what the kernel's handle of a file in the appliance is."""
        return bytes.fromhex(self.ask("kernel_handle", path=str(path)))
