"""Others on the lab's network: what the appliance finds there already, or later."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager

from docker.models.containers import Container

from tests.lab.lab import Lab


def lab_exec(lab: Lab, script: str) -> None:
    """Run a script in the lab's network, beside the appliance."""
    subprocess.run(["docker", "exec", str(lab.network.id), "sh", "-c", script], check=True)


@contextmanager
def beside(lab: Lab, script: str) -> Iterator[Container]:
    """Run a script in a container of its own on the lab's network."""
    container = lab.docker.containers.run(
        lab.project.image("appliance"),
        ["sh", "-ec", script],
        network_mode=f"container:{lab.network.id}",
        cap_add=["NET_RAW", "NET_ADMIN"],
        init=True,
        detach=True,
    )
    try:
        yield container
    finally:
        container.remove(force=True)
