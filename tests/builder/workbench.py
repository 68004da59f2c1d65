"""The builder's image with nothing of its service: where ramdisks are made, opened and compared."""

from __future__ import annotations

import io
import json
import tarfile
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Self

import docker
from docker.models.containers import Container

from tests.lab.project import Project

_INSTALLED = "/usr/lib/rootfs-builder/rootfs_builder"
_PACKAGE = Path(__file__).parents[2] / "rootfs-builder" / "rootfs_builder"
_MAKE = """
import dataclasses, json, os, sys
from pathlib import Path
from rootfs_builder.ramdisk import Format, RamdiskError, RamdiskOptions, make
tree, folder, formats, options, umask = sys.argv[1:]
os.umask(int(umask))
Path(folder).mkdir(parents=True)
try:
    made = make(Path(tree), Path(folder), [Format(each) for each in json.loads(formats)],
                RamdiskOptions(**json.loads(options)), lambda *_: None)
except RamdiskError as error:
    sys.exit(f"RamdiskError: {error}")
print(json.dumps({name: dataclasses.asdict(each) for name, each in made.items()}))
"""


class ScriptFailed(Exception):
    """A script ended with an error: its output."""


@dataclass(frozen=True)
class Made:
    """What root.json would say of a file."""

    file: str
    bytes: int
    sha256: str
    uncompressed_kib: int
    compression: str


class Workbench:
    """A container without a network in which scripts run as root; a context manager."""

    def __init__(self) -> None:
        self.container: Container | None = None

    def __enter__(self) -> Self:
        self.container = docker.from_env().containers.run(
            Project().image("rootfs-builder"),
            ["sleep", "infinity"],
            detach=True,
            init=True,
            network_mode="none",
            tmpfs={"/memory": "exec,size=128m"},
            # The checkout's own code, so that the image need not be as new.
            volumes={str(_PACKAGE): {"bind": _INSTALLED, "mode": "ro"}},
        )
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.container is not None:
            self.container.remove(force=True, v=True)

    def run(self, *argv: str) -> str:
        """Run a command; return what it printed. Raises ScriptFailed."""
        assert self.container is not None, "use it in a with statement"
        status, said = self.container.exec_run(list(argv))
        assert isinstance(said, bytes)
        text = said.decode("utf-8", "replace")
        if status:
            raise ScriptFailed(f"{argv[-1]}\nexit status {status}\n{text}")
        return text

    def sh(self, script: str) -> str:
        """Run a script of bash that ends at its first error; return what it printed."""
        return self.run("bash", "-euo", "pipefail", "-c", script)

    def python(self, script: str, *arguments: str) -> str:
        """Run a script of Python that may import the builder."""
        return self.run("python3", "-c", script, *arguments)

    def put(self, file: Path, folder: str) -> None:
        """Copy a file of the host into a folder."""
        assert self.container is not None, "use it in a with statement"
        stream = io.BytesIO()
        with tarfile.open(fileobj=stream, mode="w") as archive:
            archive.add(file.resolve(), file.name)
        self.container.put_archive(folder, stream.getvalue())

    def get(self, path: str, to: Path) -> Path:
        """Copy a file out to the host."""
        assert self.container is not None, "use it in a with statement"
        stream = io.BytesIO(b"".join(self.container.get_archive(path)[0]))
        with tarfile.open(fileobj=stream) as archive:
            member = archive.extractfile(archive.getmembers()[0])
            assert member is not None, f"{path} is no file"
            to.write_bytes(member.read())
        return to

    def make(
        self, tree: str, folder: str, *formats: str, umask: int = 0o022, **options: str | int
    ) -> dict[str, Made]:
        """Make a tree's ramdisks in a new folder. Raises ScriptFailed."""
        arguments = (tree, folder, json.dumps(formats), json.dumps(options), str(umask))
        said = self.python(_MAKE, *arguments)
        return {name: Made(**each) for name, each in json.loads(said).items()}
