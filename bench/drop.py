"""`make bench-drop`: from the close of a dropped kernel to the first answer that contains it."""

from __future__ import annotations

import json
import sys
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import docker

from bench import image, report
from tests.lab.lab import Lab
from tests.lab.project import LabError

DROPS = 100
EVERY = 5  # each of so many drops, the baselines have one too
NAMES = {
    "ours": "Bootdrop",
    "hand": "by hand: cp and menu, typed in no time",
    "script": "a script that looks every second",
}


def dropped(lab: Lab) -> Iterator[dict[str, float | str]]:
    """Run dropper.py on a lab's network and yield what it prints. Raises LabError."""
    container = docker.from_env().containers.run(
        image.NAME,
        ["python3", "/bench/dropper.py", str(DROPS), str(EVERY)],
        detach=True,
        init=True,
        network_mode=f"container:{lab.network.id}",
        volumes={
            str(Path(__file__).parent): {"bind": "/bench", "mode": "ro"},
            str(lab.boot): {"bind": "/srv/boot", "mode": "rw"},
        },
    )
    try:
        last = ""
        for piece in container.logs(stream=True, follow=True):
            last += piece.decode()
            *lines, last = last.split("\n")
            for line in lines:
                if line.startswith("{"):
                    yield json.loads(line)
        if container.wait()["StatusCode"]:
            said = container.logs(tail=3).decode().strip()
            raise LabError(f"bench/dropper.py: {said}")
    finally:
        container.remove(force=True)


def measure() -> dict[str, float]:
    """Drop DROPS kernels, each another one, one after another; those dropped before stay."""
    menu: dict[str, list[float]] = defaultdict(list)
    kernel: dict[str, list[float]] = defaultdict(list)
    with Lab("bench-drop") as lab:
        lab.up()
        lab.wait_ready()
        lab.detach()
        for figures in dropped(lab):
            way = str(figures["way"])
            menu[way].append(float(figures["menu_s"]))
            kernel[way].append(float(figures["kernel_s"]))
            if way == "ours" and len(menu[way]) % 20 == 0:
                report.progress(f"{len(menu[way])} of {DROPS} drops")
    print("Seconds from the close of a dropped 12 MB kernel to the first menu that names it,")
    print("and to its last byte, with the right checksum.")
    print(report.machine())
    rows = [
        [
            NAMES[way],
            str(len(taken)),
            *(f"{report.percentile(taken, percent):.3f}" for percent in (50, 99)),
            f"{report.percentile(kernel[way], 50):.3f}",
        ]
        for way, taken in menu.items()
    ]
    print(report.table(["", "drops", "p50", "p99", "last byte, p50"], rows))
    return {
        "p50_s": report.percentile(menu["ours"], 50),
        "p99_s": report.percentile(menu["ours"], 99),
        "n": len(menu["ours"]),
    }


if __name__ == "__main__":
    sys.exit(report.run(measure))
