"""Containers that play with layers on a volume of their own: what test_layers.py is told with."""

from __future__ import annotations

import json
import subprocess
from contextlib import ExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import yaml

from tests.lab.project import CHECKOUT, Project

OLD, NEW = "00112233445566aa", "ffeeddccbbaa9988"
PLAYER = (CHECKOUT / "tests/daemons/clients/layers.py").read_text()


class Life:
    """A container in which layers are played with until it ends or is killed."""

    def __init__(self, boot: Path, *options: str, cap_drop: str = "", loop: bool = True) -> None:
        service = yaml.safe_load((CHECKOUT / "compose.yaml").read_text())["services"]["appliance"]
        self.name = f"{Project().name}-layers-{uuid4().hex[:8]}"
        argv = ["docker", "run", "--rm", "--interactive", "--name", self.name, "--network", "none"]
        argv += ["--read-only", "--tmpfs", "/run", "--tmpfs", "/tmp", "--cap-drop", "ALL"]
        argv += [f"--cap-add={each}" for each in service["cap_add"] if each != cap_drop]
        argv += [f"--security-opt={each}" for each in service["security_opt"]]
        rules = service["device_cgroup_rules"] if loop else ()
        argv += [f"--device-cgroup-rule={each}" for each in rules]
        argv += [f"--volume={boot}:/boot", *options, Project().image("appliance")]
        argv += ["/opt/venv/bin/python", "-uc", PLAYER]
        self._process = subprocess.Popen(
            argv, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def do(self, name: str, *arguments: Any, **keywords: Any) -> Any:  # noqa: ANN401
        assert self._process.stdin and self._process.stdout
        self._process.stdin.write(json.dumps([name, arguments, keywords]) + "\n")
        self._process.stdin.flush()
        answer = self._process.stdout.readline()
        return json.loads(answer) if answer else "dead"

    def kill(self) -> None:
        subprocess.run(["docker", "kill", self.name], check=False, capture_output=True)
        self._process.wait(20)

    def end(self) -> None:
        assert self._process.stdin
        if not self._process.stdin.closed:
            self._process.stdin.close()
        try:
            self._process.wait(20)
        except subprocess.TimeoutExpired:
            self.kill()


class Volume:
    """A boot/ with roots, and the lives that it sees."""

    def __init__(self, boot: Path, lives: ExitStack) -> None:
        self.boot, self._lives = boot, lives

    def root(self, name: str = "fedora", version: str = OLD, **said: str) -> dict[str, str]:
        """Build a version; return what want() takes."""
        tree = self.boot / "roots" / name / version / "tree"
        (tree / "etc").mkdir(parents=True, exist_ok=True)
        (tree / "etc/os-release").write_text(f"{name} {version}")
        (tree / "usr/share").mkdir(parents=True, exist_ok=True)
        return {"name": name, "id": version} | said

    def born(
        self,
        cap_drop: str = "",
        *,
        loop: bool = True,
        **settings: Any,  # noqa: ANN401
    ) -> Life:
        """Start a container, and the layers in it."""
        life = Life(self.boot, cap_drop=cap_drop, loop=loop)
        self._lives.callback(life.end)
        self.said = life.do("start", **settings)
        return life


def exports(life: Life) -> dict[str, str]:
    found: dict[str, str] = life.do("told")["exports"]
    return found


def notices(life: Life) -> list[str]:
    found: list[str] = life.do("told")["notices"]
    return found
