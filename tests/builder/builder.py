"""The builder of one test: its container, a repository beside it, and a volume of its own."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import docker
from docker.models.containers import Container

from rootfs_builder.inotify import Watcher
from tests.lab.lab import FOLDERS
from tests.lab.project import Project

REPOSITORY = "http://repository"
_ENDED = ("done", "failed")


class Builder:
    """A context manager; what it made is gone at its end.

    Typical use::

        with Builder("name") as builder:
            builder.up()
            builder.write("small", "from: tar\\ntar: small.tar\\n")
            assert builder.ended("small")["state"] == "done"
    """

    def __init__(self, name: str) -> None:
        self.project = Project(name)
        self.docker = docker.from_env()
        self.volume = self.project.boot
        self.roots = self.volume / "roots"

    def __enter__(self) -> Self:
        for folder in FOLDERS:
            (self.volume / folder).mkdir(parents=True, exist_ok=True)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.project.compose("down", "--volumes", "--timeout", "0")
        shutil.rmtree(self.project.folder)
        self.docker.close()

    def up(self) -> None:
        """Start the repository and the builder; the public keys lie in recipes/ then."""
        self.project.compose("up", "--detach", "--no-build", "repository")
        for key in ("good", "other"):
            content = self.exec("repository", "cat", f"/srv/keys/{key}.asc")
            (self.volume / "recipes" / f"{key}.asc").write_text(content)
        self.project.compose("up", "--detach", "--no-build", "rootfs-builder")

    def container(self, service: str = "rootfs-builder") -> Container:
        """Return a service's container."""
        labels = (f"project={self.project.name}", f"service={service}")
        found = self.docker.containers.list(
            all=True, filters={"label": [f"com.docker.compose.{one}" for one in labels]}
        )
        return found[0]

    def exec(self, service: str, *argv: str) -> str:
        """Run a command in a container and return its output; it must end well."""
        status, output = self.container(service).exec_run(list(argv))
        assert status == 0 and isinstance(output, bytes), output
        return output.decode("utf-8", "replace")

    def write(self, name: str, recipe: str) -> None:
        """Put a recipe into the volume, by rename as an editor does."""
        aside = self.volume / "recipes" / f".{name}"
        aside.write_text(recipe)
        aside.rename(self.volume / "recipes" / f"{name}.yaml")

    def ask(self, name: str) -> None:
        """Ask for a build, as the appliance does."""
        aside = self.volume / "requests" / ".new"
        aside.write_text(json.dumps({"verb": "build", "name": name, "time": time.time()}))
        aside.rename(self.volume / "requests" / f"build-{name}.json")

    def status(self, name: str) -> Mapping[str, Any]:
        """Return what status.json says now."""
        told: Mapping[str, Any] = json.loads((self.roots / name / "status.json").read_text())
        return told

    def ended(self, name: str, seconds: float = 120, after: float = 0.0) -> Mapping[str, Any]:
        """Wait until a build that began after `after` has ended, and return its status."""
        until = time.monotonic() + seconds
        root = self.roots / name
        root.mkdir(exist_ok=True)
        with Watcher((root,)) as watcher:
            while True:
                if (root / "status.json").exists():
                    told = self.status(name)
                    if told["state"] in _ENDED and told["started"] > after:
                        return told
                left = until - time.monotonic()
                assert left > 0, f"{name} did not end: {self.log(name)}"
                watcher.wait(left)

    def build(self, name: str, recipe: str, seconds: float = 120) -> Mapping[str, Any]:
        """Write a recipe, wait until it was tried, and return the status."""
        after = time.time()
        self.write(name, recipe)
        return self.ended(name, seconds, after)

    def tree(self, name: str) -> Path:
        """Return the tree that is shown."""
        return self.roots / name / "current" / "tree"

    def log(self, name: str) -> str:
        """Return the last build's log, and what the container says."""
        file = self.roots / name / "build.log"
        said = file.read_text("utf-8", "replace") if file.exists() else "no build.log"
        return said[-3000:] + str(self.container().logs(tail=20), "utf-8", "replace")

    def appeared(self, folder: Path, pattern: str, seconds: float = 60) -> Path:
        """Wait for a file that the builder makes after a build, and return it."""
        until = time.monotonic() + seconds
        folder.mkdir(exist_ok=True)
        with Watcher((folder,)) as watcher:
            while not (found := next(folder.glob(pattern), None)):
                left = until - time.monotonic()
                assert left > 0, f"no {pattern} in {folder}: {self.container().logs(tail=20)!r}"
                watcher.wait(left)
        return found

    def reach_archive(self) -> None:
        """Give the builder the engine's own network, which has a way out."""
        self.docker.networks.get("bridge").connect(self.container())

    @contextmanager
    def another(self, recipes: Path, roots: str) -> Iterator[Iterator[str]]:
        """Run a second builder on other recipes, with roots/ on a tmpfs of these options.

        Gives the lines that it says, until each recipe was tried.
        """
        like = self.container().attrs
        container = self.docker.containers.run(
            self.project.image("rootfs-builder"),
            detach=True,
            cap_add=like["HostConfig"]["CapAdd"],
            cap_drop=like["HostConfig"]["CapDrop"],
            security_opt=like["HostConfig"]["SecurityOpt"],
            network=next(iter(like["NetworkSettings"]["Networks"])),
            read_only=True,
            tmpfs={"/srv/boot/roots": roots, "/run": "", "/tmp": "", "/var/cache": ""},
            volumes={str(recipes): {"bind": "/srv/boot/recipes", "mode": "ro"}},
        )
        try:
            yield _said(container, ends=len(list(recipes.glob("*.yaml"))))
        finally:
            container.remove(force=True)

    def kill(self) -> None:
        """End the builder as a power cut does."""
        self.container().kill("SIGKILL")

    def start(self) -> None:
        """Start it again."""
        self.container().start()


def _said(container: Container, ends: int) -> Iterator[str]:
    """Yield the lines of a container's log until so many builds have ended."""
    for line in container.logs(stream=True):
        text = line.decode("utf-8", "replace").strip()
        yield text
        ends -= not text.endswith(": building")
        if not ends:
            return


def dnf(*packages: str, repository: str = "good", more: str = "") -> str:
    """Return a recipe for dnf from the test's repositories."""
    return recipe("dnf", *packages, repository=repository, more=more)


def recipe(source: str, *packages: str, repository: str = "good", more: str = "") -> str:
    """Return a recipe whose packages come from `good` and another repository."""
    lines = [f"from: {source}", "repositories:"]
    for one in dict.fromkeys(("good", repository)):
        lines.append(f"  - {{url: {REPOSITORY}/{one}/, gpgkey: good.asc}}")
    return "\n".join([*lines, f"packages: [{', '.join(packages)}]", more, ""])


def busybox(more: str = "") -> str:
    """Return the recipe of the smallest root."""
    return f"from: tar\ntar: /usr/share/rootfs-builder/busybox.tar\n{more}\n"


def xattr(file: Path, name: str) -> bytes:
    """Return an extended attribute."""
    return os.getxattr(file, name)


def mounts() -> str:
    """Return the host's mounts, where a leaked one would show."""
    return subprocess.run(["mount"], check=True, capture_output=True, text=True).stdout
