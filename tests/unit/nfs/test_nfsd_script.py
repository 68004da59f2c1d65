"""config/etc/nfs/nfsd.sh, with an exportfs that writes down what it is asked for."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from time import monotonic

import pytest

from appliance.nfs.kernel_server import here
from tests.unit.builders import CHECKOUT

# Exports /b as soon as it is told to by a fifo.
_EXPORTFS = """#!/bin/sh
[ "$1 $3" != '-o 10.0.0.0/24:/b' ] || { echo begun >{folder}/begun; read -r _ <{folder}/go; }
if [ "$1" = -u ]; then
    shift
    for what; do
        grep -vxF "$what" {folder}/kernel >{folder}/kernel.new
        mv {folder}/kernel.new {folder}/kernel
    done
else
    echo "$3" >>{folder}/kernel
fi
"""

# Says that it was started, and starts when it is told to.
_NFSD = """#!/bin/sh
[ "$1" != 0 ] || exit 0
echo >{folder}/started
read -r _ <{folder}/start
"""


class Script:
    def __init__(self, folder: Path) -> None:
        self.folder, programs = folder, folder / "bin"
        for each in (programs, folder / "run/etc/nfs", folder / "run/nfs"):
            each.mkdir(parents=True)
        (folder / "kernel").touch()
        for fifo in ("begun", "go", "started", "start"):
            os.mkfifo(folder / fifo)
        self.program("exportfs", _EXPORTFS.replace("{folder}", str(folder)))
        self.program("rpc.nfsd", _NFSD.replace("{folder}", str(folder)))
        self.program(
            "ss", "#!/bin/sh\necho 'LISTEN 0 64 10.0.0.1:2049 0.0.0.0:* ino:7 sk:1f x:/'\n"
        )
        self.program("awk", "#!/bin/sh\necho 8\n")  # of /proc/net/rpc/nfsd
        self.want("a")
        self.process = self.start()

    def start(self) -> subprocess.Popen[bytes]:
        folder = self.folder
        script = CHECKOUT / "config/etc/nfs/nfsd.sh"
        argv = ["sh", str(script), str(folder / "run"), str(folder / "record"), "10.0.0.1"]
        path = f"{folder / 'bin'}:{os.environ['PATH']}"
        process = subprocess.Popen(argv, env={"PATH": path}, stderr=subprocess.DEVNULL)
        (folder / "started").read_text()
        self.record_at_start = (folder / "record").read_text().split()
        (folder / "start").write_text("go\n")
        return process

    def program(self, name: str, text: str) -> None:
        (self.folder / "bin" / name).write_text(text)
        (self.folder / "bin" / name).chmod(0o755)

    def want(self, *names: str) -> None:
        lines = [f"rw,fsid={name} 10.0.0.0/24:/{name}\n" for name in names]
        (self.folder / "new").write_text("".join(["# exports\n", *lines]))
        (self.folder / "new").rename(self.folder / "run/etc/nfs/exports")

    def exported(self) -> set[str]:
        return {line.partition(":/")[2] for line in (self.folder / "kernel").read_text().split()}

    def record_becomes(self, *last: str) -> bool:
        end = monotonic() + 10
        while (self.folder / "record").read_text().split()[2:] != list(last):
            if monotonic() > end:
                return False
        return True

    def comes_to(self, *names: str) -> bool:
        end = monotonic() + 10
        while self.exported() != set(names):
            if monotonic() > end:
                return False
        return True


@pytest.fixture
def script(tmp_path: Path) -> Iterator[Script]:
    found = Script(tmp_path)
    try:
        yield found
    finally:
        with suppress(ProcessLookupError):
            found.process.kill()
        found.process.wait()


def test_the_record_has_the_socket_as_soon_as_there_is_one(script: Script) -> None:
    assert script.record_at_start[2:] == ["10.0.0.1:2049", "starting"]
    assert script.record_becomes("ino:7", "8")
    place = here()
    assert script.record_at_start[:2] == [place.boot_id, str(place.network)]


def test_what_is_withdrawn_while_it_is_being_exported_is_not_left_behind(script: Script) -> None:
    script.want("a", "b", "c")
    script.process.send_signal(signal.SIGHUP)
    (script.folder / "begun").read_text()
    script.want("a", "c")
    script.process.send_signal(signal.SIGHUP)
    (script.folder / "go").write_text("go\n")
    assert script.comes_to("a", "c")
    assert (script.folder / "record").exists()
    script.process.terminate()
    assert script.process.wait(10) == 0
    assert script.exported() == set()
    assert not (script.folder / "record").exists()


def test_who_is_killed_while_something_is_exported_ends_it_after_his_next_start(
    script: Script,
) -> None:
    script.want("a", "b")
    script.process.send_signal(signal.SIGHUP)
    (script.folder / "begun").read_text()
    script.process.kill()
    script.process.wait()
    (script.folder / "go").write_text("go\n")
    noted, end = script.folder / "run/nfs/exported.new", monotonic() + 10
    while "/b\n" not in noted.read_text():  # by what is left of it
        assert monotonic() < end
    assert script.exported() == {"a", "b"}
    script.want("a")
    script.process = script.start()
    assert script.exported() == {"a"}


def test_threads_are_not_ours_any_more_as_soon_as_they_have_ended(script: Script) -> None:
    """Who is killed while many exports end leaves nothing that makes the host's threads ours."""
    folder = script.folder
    script.program("exportfs", f"#!/bin/sh\necho >{folder}/begun; read -r _ <{folder}/go\n")
    script.process.terminate()
    (folder / "begun").read_text()
    assert not (folder / "record").exists()
    (folder / "go").write_text("go\n")
    assert script.process.wait(10) == 0
