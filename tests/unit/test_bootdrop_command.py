"""The script `bootdrop` of the checkout, with a `docker` that is played."""

from __future__ import annotations

import os
from pathlib import Path
from subprocess import CompletedProcess, run

import pytest

COMMAND = Path(__file__).parents[2] / "bootdrop"
WRONG = "bootdrop: BOOTDROP_NFS=nfsd: not allowed here; allowed: auto, kernel, ganesha or off"


@pytest.fixture
def docker(tmp_path: Path) -> Path:
    return tmp_path / "docker"


def bootdrop(docker: Path, *, container: str, restarting: str) -> CompletedProcess[str]:
    docker.write_text(
        "#!/bin/sh\n"
        "case $1 in\n"
        f"ps) printf %s '{container}' ;;\n"
        f"inspect) echo {restarting} ;;\n"
        f"logs) echo '{WRONG}' >&2 ;;\n"
        'exec) shift; echo "exec $*" ;;\n'
        "esac\n"
    )
    docker.chmod(0o755)
    environment = os.environ | {"PATH": f"{docker.parent}:{os.environ['PATH']}"}
    return run(
        [COMMAND, "status"], env=environment, capture_output=True, text=True, check=False, input=""
    )


def test_the_running_appliance_is_asked(docker: Path) -> None:
    done = bootdrop(docker, container="0123abcd", restarting="false")
    assert done.stdout == "exec --interactive 0123abcd bootdrop status\n"


def test_an_appliance_that_cannot_start_is_told_with_its_last_words(docker: Path) -> None:
    done = bootdrop(docker, container="0123abcd", restarting="true")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == [
        WRONG,
        "bootdrop: the appliance cannot start, by its last line, above; "
        "`docker logs 0123abcd` has more",
    ]


def test_without_an_appliance_it_is_told_how_to_start_one(docker: Path) -> None:
    done = bootdrop(docker, container="", restarting="false")
    assert done.returncode == 1
    assert "start one with `docker compose up -d`" in done.stderr
