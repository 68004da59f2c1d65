"""`make bench-idle`: what the appliance costs while no machine boots, and how soon it is ready."""

from __future__ import annotations

import statistics
import sys
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import docker
from docker.models.containers import Container

from bench import baselines, image, report
from tests.lab.lab import Lab
from tests.lab.project import Project

IDLE = 90.0  # seconds: three rounds of the appliance's probes, and one look at the drop folder
STARTS = 3

# In a container that sees the other's processes: all but its own, which it knows by their mounts.
# smaps_rollup is for those who may trace a process.
_PSS = """
own=$(readlink /proc/self/ns/mnt)
for process in /proc/[0-9]*; do
    mounts=$(readlink "$process/ns/mnt") || continue
    [ "$mounts" = "$own" ] || cat "$process/smaps_rollup"
done | awk '/^Pss:/ {sum += $2} END {print sum}'
"""

# In the appliance: commands that came by `docker exec` have no parent there; the lab's ended no
# more than their pipe.
_END_FOLLOWERS = """
for process in /proc/[0-9]*; do
    number=${process#/proc/}
    read -r _ _ _ parent _ <"$process/stat" || continue
    [ "$parent" != 0 ] || [ "$number" = 1 ] || [ "$number" = $$ ] || kill "$number"
done
"""


@dataclass(frozen=True)
class Server:
    """A container that serves a network on which nobody boots."""

    name: str
    container: Container
    ready_s: float


def pss_mb(container: Container) -> float:
    """Return the proportional set size of all processes of a container, in MB of 10^6 bytes."""
    said = docker.from_env().containers.run(
        image.NAME,
        ["sh", "-c", _PSS],
        pid_mode=f"container:{container.id}",
        network_mode="none",
        cap_add=["SYS_PTRACE"],
        remove=True,
    )
    return int(said) * 1024 / 1e6


def cpu_seconds(container: Container) -> float:
    """Return what a container's processes have used so far, those that ended included."""
    api: Any = docker.from_env().api
    stats = api.stats(container.id, stream=False, one_shot=True)
    return int(stats["cpu_stats"]["cpu_usage"]["total_usage"]) / 1e9


def since_start(container: Container, moment: float) -> float:
    """Return how long after the start of its container a moment (epoch) was, in seconds."""
    container.reload()
    # Docker writes nanoseconds, datetime reads six digits of them.
    started = datetime.fromisoformat(container.attrs["State"]["StartedAt"][:26] + "+00:00")
    return moment - started.timestamp()


def appliance(stack: ExitStack) -> Server:
    """Start the appliance STARTS times; its status tells when it is ready."""
    lab = stack.enter_context(Lab("bench-idle"))
    lab.up()
    taken = []
    for number in range(STARTS):
        if number:
            lab.restart()
        container = lab.appliance
        started = time.time() - since_start(container, time.time())
        status = lab.wait_ready(60, since=started)
        taken.append(since_start(container, status.time))
        report.progress(f"start {number + 1} of {STARTS}: ready after {taken[-1]:.2f} s")
    # What follows the appliance is the bench's own, and shall not be measured.
    lab.detach()
    lab.exec_appliance(["sh", "-c", _END_FOLLOWERS])
    return Server("Bootdrop", lab.appliance, statistics.median(taken))


def baseline(stack: ExitStack, baseline: baselines.Baseline, number: int) -> Server:
    """Start a baseline with nothing to serve."""
    lab = stack.enter_context(Lab(f"bench-idle-{number}"))
    lab.up_network()
    nothing = Path(stack.enter_context(TemporaryDirectory(prefix="bootdrop-bench.")))
    container = stack.enter_context(baselines.served(baseline, lab, nothing))
    return Server(baseline.name, container, since_start(container, time.time()))


def image_mb(image: str) -> float:
    """Return the size of an image with all its layers, in MB of 10^6 bytes."""
    return int(docker.from_env().images.get(image).attrs["Size"]) / 1e6


def measure() -> dict[str, float]:
    """Let all idle at the same time, for IDLE seconds."""
    with ExitStack() as stack:
        servers = [
            appliance(stack),
            baseline(stack, baselines.ARTICLE, 1),
            baseline(stack, baselines.DNSMASQ_SNPONLY, 2),
        ]
        report.progress(f"idle for {IDLE:g} s")
        before = [(time.monotonic(), cpu_seconds(each.container)) for each in servers]
        # The time itself is what is measured: nothing happens that could be waited for.
        threading.Event().wait(IDLE)
        after = [(time.monotonic(), cpu_seconds(each.container)) for each in servers]
        pss = [pss_mb(each.container) for each in servers]
    cpu = [
        (used - used_before) / (end - start) * 100
        for (start, used_before), (end, used) in zip(before, after, strict=True)
    ]
    ours, base = image_mb(Project().image("appliance")), image_mb("debian:trixie-slim")
    print(f"Idle for {IDLE:g} s. Memory is PSS; ready: from the container's start.")
    print(f"Image: {ours:.0f} MB, of which the base image debian:trixie-slim {base:.0f} MB.")
    print(report.machine())
    rows = [
        [each.name, f"{memory:.1f}", f"{percent:.2f}", f"{each.ready_s:.2f}"]
        for each, memory, percent in zip(servers, pss, cpu, strict=True)
    ]
    print(report.table(["", "MB", "% of a core", "ready, s"], rows))
    return {
        "rss_mb": pss[0],
        "cpu_percent": cpu[0],
        "ready_s": servers[0].ready_s,
        "image_mb": ours,
    }


if __name__ == "__main__":
    sys.exit(report.run(measure))
