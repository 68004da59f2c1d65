"""The builder is killed at any instant: no mount, no litter, the same files in the end."""

from __future__ import annotations

import os
import random
import time
from collections.abc import Iterator

import pytest

from rootfs_builder.inotify import Watcher
from tests.builder.builder import Builder, busybox, dnf, mounts

pytestmark = pytest.mark.lab

SEED = 20260131


@pytest.fixture(scope="module")
def builder() -> Iterator[Builder]:
    with Builder(f"{os.getpid()}-kills") as builder:
        builder.up()
        yield builder


def kill_while_building(builder: Builder, name: str, chance: random.Random) -> None:
    """Ask for a build and kill the builder at a random one of its first changes of the status."""
    root = builder.roots / name
    changes = chance.randrange(1, 40)
    with Watcher((root,)) as watcher:
        builder.ask(name)
        until = time.monotonic() + 20
        for _ in range(changes):
            watcher.wait(1)
            if time.monotonic() > until or builder.status(name)["state"] == "failed":
                break
    builder.kill()


def same_in_the_end(builder: Builder, name: str, kills: int) -> None:
    good = builder.status(name)["id"]
    chance = random.Random(SEED)
    for _ in range(kills):
        kill_while_building(builder, name, chance)
        assert str(builder.volume) not in mounts()
        # What was shown is shown still, and whole.
        assert (builder.tree(name) / "usr/bin/bash").exists() or (
            builder.tree(name) / "bin/busybox"
        ).exists()
        left = [one for one in (builder.roots / name).iterdir() if one.name.startswith(".new-")]
        assert len(left) <= 1
        builder.start()
    last = builder.status(name)["started"]
    builder.ask(name)
    told = builder.ended(name, after=last)
    assert told["state"] == "done", told["error"]
    assert not list((builder.roots / name).glob(".*-*"))
    if name == "small":
        assert told["id"] == good


def test_five_kills_change_nothing(builder: Builder) -> None:
    assert builder.build("rpms", dnf("scripted", more="keep: 0"))["state"] == "done"
    same_in_the_end(builder, "rpms", kills=5)
    files = {
        str(file.relative_to(builder.tree("rpms")))
        for file in builder.tree("rpms").rglob("*")
        if "sysimage" not in file.parts
    }
    builder.build("undisturbed", dnf("scripted", more="keep: 0"))
    tree = builder.tree("undisturbed")
    assert files == {str(file.relative_to(tree)) for file in tree.rglob("*")}


@pytest.mark.long
@pytest.mark.timeout(1200)
def test_fifty_kills_change_nothing(builder: Builder) -> None:
    assert builder.build("small", busybox())["state"] == "done"
    same_in_the_end(builder, "small", kills=50)
