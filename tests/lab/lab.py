"""The lab of one test or one person: up, used, and gone without a trace."""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from threading import Thread
from types import TracebackType
from typing import Any, Literal

import docker
from docker.models.containers import Container
from docker.types.daemon import CancellableStream

from tests.lab.feed import Event, Feed, Status
from tests.lab.machine import Firmware, Hardware, Machine
from tests.lab.project import CHECKOUT, LabError, Project, uninterrupted

FOLDERS = ("kernels", "recipes", "roots", "requests", "machines", "clients", "published")
# A store for roots over NFS would take a third of what is free.
SETTINGS = {"BOOTDROP_INTERFACE": "br0", "BOOTDROP_NFS_STORE_SIZE": "512"}
DEMO = (
    "/usr/share/bootdrop-lab/demo"  # in the lab's image, by architecture: a kernel and its modules
)


DemoArchitecture = Literal["amd64", "arm64"]  # by Debian's names


class Lab:
    """The appliance and machines on a network of their own; a context manager.

    Typical use::

        with Lab("pxelinux") as lab:
            lab.up({"BOOTDROP_BIOS_LOADER": "pxelinux"})
            lab.drop(test_kernel)
            lab.wait_status(lambda status: test_kernel.name in status.kernels, 10)
            with lab.machine("bios") as machine:
                machine.expect(r"BOOTDROP: rescue shell", 60)

    Everything that it made is gone at the end: machines, containers, volumes, folder. Labs with
    different names do not know of each other.
    """

    def __init__(self, name: str = "", checkout: Path = CHECKOUT) -> None:
        self.project = Project(name, checkout)
        self.docker = docker.from_env()
        self.feed = Feed()
        self._engine: CancellableStream[dict[str, Any]] | None = None  # the engine's events

    def __enter__(self) -> Lab:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.down()

    # --- up and down

    def up(self, settings: Mapping[str, str] | None = None, compose: str = "") -> None:
        """Start the network and the appliance with an empty volume; BOOTDROP_INTERFACE is br0.

        `compose` is the text of one more Compose file, over those of the checkout.

        Returns when both containers run: `wait_status` tells when it serves. What an earlier run
        of this name left behind (a SIGKILL) goes first. Raises LabError.
        """
        self.up_network(settings, compose)
        try:
            self._hear_engine()
            self.project.compose("up", "--detach", "--no-build", "appliance")
        except BaseException:
            self.down()
            raise

    def up_network(self, settings: Mapping[str, str] | None = None, compose: str = "") -> None:
        """Start the network and the empty volume alone, for whoever is to serve on it.

        Raises LabError.
        """
        if self._containers(all_of_them=True) or self.project.folder.exists():
            self.down()
        for folder in FOLDERS:
            (self.project.boot / folder).mkdir(parents=True)
        self._write_settings(settings or {})
        if compose:
            self.project.compose_file.write_text(compose)
        try:
            self.project.compose("up", "--detach", "--no-build", "lab")
            self._wait_for_network()
        except BaseException:
            self.down()
            raise

    def attach(self) -> None:
        """Join a lab that is up already. Raises LabError when none is."""
        if not self.is_up():
            raise LabError(f"{self.project.name}: no such lab is up; start it with `make lab-up`")
        self._hear_engine()
        self.feed.follow(self.appliance)

    def is_up(self) -> bool:
        """Tell whether both containers of a lab of this name run."""
        return len(self._containers()) == 2

    def detach(self) -> None:
        """Stop following; the lab itself stays."""
        if self._engine is not None:
            self._engine.close()
            self._engine = None
        self.feed.stop()

    def down(self) -> None:
        """Remove everything that this lab made, undisturbed; a second time does nothing."""
        with uninterrupted():
            self._down()

    def _down(self) -> None:
        self.detach()
        self.project.compose("down", "--volumes", "--remove-orphans", "--timeout", "3")
        folder = self.project.folder
        if not folder.exists():
            return
        try:
            shutil.rmtree(folder)
        except PermissionError:  # the appliance's files are root's, this user may be another
            self.docker.containers.run(
                self.project.image("lab"),
                ["find", "/folder", "-mindepth", "1", "-delete"],
                volumes={str(folder): {"bind": "/folder", "mode": "rw"}},
                network_mode="none",
                remove=True,
            )
            shutil.rmtree(folder)

    def restart(self, settings: Mapping[str, str] | None = None) -> None:
        """Replace the appliance's container by one with these settings; volumes stay."""
        self._write_settings(settings or {})
        self.project.compose(
            "up", "--detach", "--no-build", "--no-deps", "--force-recreate", "appliance"
        )

    def kill_appliance(self) -> None:
        """End the appliance by SIGKILL, as a power cut would, and start it again."""
        self.appliance.kill()
        self.appliance.start()

    # --- the volume, as a user touches it

    @property
    def boot(self) -> Path:
        """The volume's folder on the host."""
        return self.project.boot

    def drop(self, path: Path, name: str | None = None) -> Path:
        """Copy a file into kernels/, as a user's `cp` does; return where it lies now."""
        target = self.boot / "kernels" / (name or path.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, target)
        return target

    def remove(self, name: str) -> None:
        """Remove a file from kernels/."""
        (self.boot / "kernels" / name).unlink()

    def drop_demo_kernel(self, architecture: DemoArchitecture = "amd64") -> str:
        """Drop Debian's cloud kernel and its modules out of the lab's image; return its name."""
        return self.fetch_demo_kernel(self.boot / "kernels", architecture).name

    def fetch_demo_kernel(self, folder: Path, architecture: DemoArchitecture) -> Path:
        """Copy Debian's cloud kernel and its modules into a folder; return the kernel's path."""
        demo = f"{DEMO}/{architecture}"
        copy = f"cp {demo}/modules-* {demo}/vmlinuz-* /folder/ && cd {demo} && echo vmlinuz-*"
        said = self.docker.containers.run(
            self.project.image("lab"),
            ["sh", "-c", copy],
            volumes={str(folder): {"bind": "/folder", "mode": "rw"}},
            network_mode="none",
            remove=True,
        )
        return folder / said.decode().strip()

    # --- the appliance

    @property
    def appliance(self) -> Container:
        """The appliance's container as it is now."""
        return self.container("appliance")

    @property
    def events(self) -> tuple[Event, ...]:
        """Everything that the appliance reported so far."""
        return tuple(self.feed.events)

    def wait_status(
        self, predicate: Callable[[Status], bool], timeout: float, since: float = 0.0
    ) -> Status:
        """Return the first status that satisfies `predicate`, from the newest on.

        `timeout` in seconds; `since`: only those reported after that time (epoch).
        Raises feed.WaitedInVain.
        """
        return self.feed.wait_status(predicate, timeout, since)

    def wait_ready(self, timeout: float = 30, since: float = 0.0) -> Status:
        """Wait until every daemon serves."""
        return self.wait_status(lambda status: status.state == "ready", timeout, since)

    def exec_appliance(self, argv: Sequence[str]) -> tuple[int, str]:
        """Run a command in the appliance; return its exit status and what it printed."""
        api = self.docker.api
        run = api.exec_create(self.appliance.id, list(argv))["Id"]
        said: bytes = api.exec_start(run)
        return int(api.exec_inspect(run)["ExitCode"]), said.decode("utf-8", "replace")

    def logs(self) -> str:
        """Return all that the appliance's present container has logged."""
        return self.appliance.logs().decode("utf-8", "replace")

    # --- machines

    @property
    def network(self) -> Container:
        """The container that holds the network and runs the machines."""
        return self.container("lab")

    def machine(
        self, hardware: Hardware | Firmware = "bios", echo: Callable[[str], None] | None = None
    ) -> Machine:
        """Return a machine that is still off; `echo` is called with what its console shows."""
        if isinstance(hardware, str):
            hardware = Hardware(hardware)
        return Machine(self.network, self.feed, hardware, echo)

    # --- inside

    def _write_settings(self, settings: Mapping[str, str]) -> None:
        lines = [f"{name}={value}\n" for name, value in (SETTINGS | dict(settings)).items()]
        self.project.environment_file.write_text("".join(lines))

    def _containers(self, *, all_of_them: bool = False) -> list[Container]:
        label = f"com.docker.compose.project={self.project.name}"
        return self.docker.containers.list(all=all_of_them, filters={"label": label})

    def container(self, service: str) -> Container:
        """Return the container of a service of Compose: appliance or lab."""
        for container in self._containers(all_of_them=True):
            if container.labels.get("com.docker.compose.service") == service:
                return container
        raise LabError(f"{self.project.name}: it has no container of {service}; is the lab up?")

    def _wait_for_network(self) -> None:
        said = b""
        for piece in self.network.logs(stream=True, follow=True):
            said += piece
            if b"lab: the network is up" in said:
                return
        raise LabError(f"{self.project.name}: no network in the lab: {said.decode().strip()}")

    def _hear_engine(self) -> None:
        """Follow each life of the appliance's container, whoever starts it."""
        labels = [
            f"com.docker.compose.project={self.project.name}",
            "com.docker.compose.service=appliance",
        ]
        self._engine = self.docker.events(
            decode=True,
            # From now on, also what comes before the engine has read the request.
            since=int(time.time()),
            filters={"type": "container", "event": "start", "label": labels},
        )
        Thread(target=self._follow_lives, args=(self._engine,), daemon=True).start()

    def _follow_lives(self, engine: CancellableStream[dict[str, Any]]) -> None:
        for start in engine:
            self.feed.follow(self.docker.containers.get(start["id"]))
