"""What a benchmark prints: a table for people, then one line of key=value pairs for programs."""

from __future__ import annotations

import math
import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import docker
import docker.errors

from tests.lab.feed import WaitedInVain
from tests.lab.project import LabError, end_on_sigterm


def percentile(values: Sequence[float], percent: float) -> float:
    """Return the smallest value that `percent` of all values do not exceed (nearest rank)."""
    ordered = sorted(values)
    return ordered[max(0, math.ceil(len(ordered) * percent / 100) - 1)]


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return rows of cells as aligned columns, the first one of words, the others of figures."""
    widths = [max(len(row[place]) for row in (head, *rows)) for place in range(len(head))]
    lines = []
    for row in (head, *rows):
        first, *others = (
            cell.rjust(width) if place else cell.ljust(width)
            for place, (cell, width) in enumerate(zip(row, widths, strict=True))
        )
        lines.append("  ".join([first, *others]).rstrip())
    return "\n".join(lines)


def machine() -> str:
    """Return one line about the machine that measures."""
    model = next(
        (
            line.partition(":")[2].strip()
            for line in Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
            if line.startswith("model name")
        ),
        platform.machine(),
    )
    engine = docker.from_env().version()["Version"]
    return (
        f"{os.cpu_count()} cores ({model}), load {os.getloadavg()[0]:.1f},"
        f" Linux {platform.release()}, Docker {engine}"
    )


def last_line(figures: dict[str, float]) -> str:
    """Return the line for programs; the keys are the benchmark's contract."""
    return " ".join(f"{key}={value:.4g}" for key, value in figures.items())


def progress(step: str) -> None:
    """Tell a person what is being measured; not on standard output, which is the result."""
    print(f"bench: {step}", file=sys.stderr, flush=True)


def run(measure: Callable[[], dict[str, float]]) -> int:
    """Run a benchmark that prints its table and returns the last line's figures.

    Returns 0 when it measured, however good the figures are, 2 with a line of why when not.
    """
    end_on_sigterm()
    try:
        figures = measure()
    except (LabError, WaitedInVain, OSError, docker.errors.DockerException) as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130
    print(last_line(figures))
    return 0
