"""The command line and the root builder, which the tests play."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from asyncinotify import Inotify, Mask

from tests.lab.lab import Lab
from tests.unit.built_roots import ID, add_root, add_status

pytestmark = pytest.mark.lab

BUILDING = {"state": "building", "step": "install", "done": 1, "total": 4, "unit": "packages"}


@pytest.fixture
def recipe(shared_lab: Lab) -> Iterator[str]:
    """The name of a recipe that is there."""
    file = shared_lab.boot / "recipes" / "my lab.yaml"
    file.write_text("from: dnf\n")
    yield file.stem
    file.unlink()


def asked(file: Path) -> dict[str, Any]:
    """Wait for a request, and take it as the builder does."""

    async def appears() -> None:
        with Inotify() as inotify:
            inotify.add_watch(file.parent, Mask.MOVED_TO)
            while not file.exists():
                await inotify.get()

    asyncio.run(asyncio.wait_for(appears(), 20))
    request: dict[str, Any] = json.loads(file.read_text())
    file.unlink()
    return request


def test_a_build_is_asked_for_and_followed_to_its_end(shared_lab: Lab, recipe: str) -> None:
    roots = shared_lab.boot / "roots"
    with ThreadPoolExecutor() as pool:
        following = pool.submit(
            shared_lab.exec_appliance, ["bootdrop", "build", recipe, "--follow"]
        )
        request = asked(shared_lab.boot / "requests" / f"build-{recipe}.json")
        assert (request["verb"], request["name"]) == ("build", recipe)
        add_status(roots, recipe, **BUILDING, updated=request["time"] + 1)
        add_root(roots, recipe)
        add_status(
            roots,
            recipe,
            state="done",
            id=ID,
            updated=request["time"] + 2,
            request=request["time"],
        )
        ended, said = following.result(20)
    assert (ended, said.splitlines()[-1]) == (0, f"{recipe}: done: {ID}")
    shared_lab.feed.wait_event(lambda event: f"root {recipe}: published as {ID}" in event.text, 10)
    _, said = shared_lab.exec_appliance(["bootdrop", "roots"])
    assert [line.split() for line in said.splitlines()] == [
        ["NAME", "ID", "FORMATS", "SIZE", "STATE"],
        ["my", "lab", ID, "ext2,cpio,nfs", "0.0", "MB", "done"],
    ]
    in_use = json.loads((shared_lab.boot / "requests" / "in-use.json").read_text())
    assert in_use == {"roots": {recipe: [ID]}}


def test_a_build_that_fails_ends_with_its_reason(shared_lab: Lab, recipe: str) -> None:
    with ThreadPoolExecutor() as pool:
        following = pool.submit(
            shared_lab.exec_appliance, ["bootdrop", "build", recipe, "--follow"]
        )
        request = asked(shared_lab.boot / "requests" / f"build-{recipe}.json")
        add_status(
            shared_lab.boot / "roots",
            recipe,
            state="failed",
            error="no such package: bsah",
            log="build.log",
            updated=request["time"] + 2,
            request=request["time"],
        )
        ended, said = following.result(20)
    reason = f"no such package: bsah; see boot/roots/{recipe}/build.log"
    assert (ended, said.splitlines()[-1]) == (1, f"{recipe}: failed: {reason}")
    _, said = shared_lab.exec_appliance(["bootdrop", "status"])
    assert f"  note: root {recipe}: not built: {reason}" in said.splitlines()


def test_a_build_without_a_recipe_is_refused_in_one_line(shared_lab: Lab) -> None:
    ended, said = shared_lab.exec_appliance(["bootdrop", "build", "../nothing"])
    assert ended == 1
    (line,) = said.splitlines()
    assert line.startswith("bootdrop: boot/recipes/../nothing.yaml: there is no such recipe")


def test_recipes_are_listed_and_one_from_nothing_is_refused_in_one_line(
    shared_lab: Lab, recipe: str
) -> None:
    ended, said = shared_lab.exec_appliance(["bootdrop", "recipe", "list"])
    assert ended == 0
    assert f"  {recipe}" in said.splitlines()
    new = ["bootdrop", "recipe", "new", "x", "--from", "nothing"]
    ended, said = shared_lab.exec_appliance(new)
    assert (ended, len(said.splitlines())) == (1, 1)
    assert said.startswith("bootdrop: nothing: no such recipe")
