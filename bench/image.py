"""The image with the baselines' programs, over the lab's: `python -m bench.image` builds it."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from tests.lab.project import Project

NAME = Project().image("bench")


def build() -> int:
    """Build the image; what docker printed is shown when that fails."""
    argv = ["docker", "buildx", "build", "--quiet", "--load", "--tag", NAME]
    argv += ["--build-arg", f"LAB={Project().image('lab')}", str(Path(__file__).parent)]
    return subprocess.run(argv, stdout=subprocess.DEVNULL, check=False).returncode


if __name__ == "__main__":
    sys.exit(build())
