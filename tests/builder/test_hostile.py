"""Scriptlets, `run:` scripts, repositories and recipes that mean harm, or are merely wrong."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builder.builder import REPOSITORY, Builder, busybox, recipe

pytestmark = pytest.mark.lab

SCRIPT = Path(__file__).parent / "repository" / "specs" / "hostile.sh"


@pytest.fixture(scope="module")
def builder() -> Iterator[Builder]:
    with Builder(f"{os.getpid()}-hostile") as builder:
        for folder in ("recipes", "kernels", "requests", "roots/other", "published", "clients"):
            file = builder.volume / folder / "victim.txt"
            file.parent.mkdir(exist_ok=True)
            file.write_text("nobody may read or change this")
        builder.up()
        yield builder


def contents(builder: Builder) -> dict[str, str]:
    """Return what lies in the volume, but for the attacked root and its recipe."""
    files = [file for file in builder.volume.rglob("*") if file.is_file()]
    return {
        name: hashlib.sha256(file.read_bytes()).hexdigest()
        for file in files
        if not (name := str(file.relative_to(builder.volume))).startswith(
            ("roots/hostile/", "recipes/hostile.yaml")
        )
    }


def test_a_hostile_scriptlet_gets_nothing_but_its_tree(builder: Builder) -> None:
    before = contents(builder)
    told = builder.build("hostile", recipe("dnf", "hostile", repository="bad"))
    assert told["state"] == "done", told["error"]
    log = (builder.tree("hostile") / "hostile.log").read_text().splitlines()
    assert [line for line in log if line.startswith("ESCAPED")] == []
    # It did leave its chroot, and tried all of it again in the sandbox's own root.
    assert "came out" in log and log[-1] == "hostile done"
    assert len([line for line in log if line.startswith("held inside")]) > 50
    assert len([line for line in log if line.startswith("held outside")]) > 60
    assert contents(builder) == before


def test_a_hostile_run_script_gets_nothing_but_its_tree(builder: Builder) -> None:
    (builder.volume / "recipes" / "attack").mkdir()
    (builder.volume / "recipes" / "attack" / "hostile.sh").write_text(SCRIPT.read_text())
    before = contents(builder)
    more = "files: attack\nrun: [sh /hostile.sh > /hostile.log 2>&1]"
    told = builder.build("hostile", busybox(more))
    assert told["state"] == "done", told["error"]
    log = (builder.tree("hostile") / "hostile.log").read_text().splitlines()
    assert [line for line in log if line.startswith("ESCAPED")] == []
    assert log[-1] == "hostile done"
    assert contents(builder) == before


def test_no_sandbox_outlives_its_build(builder: Builder) -> None:
    script = "run: ['(trap \"\" TERM HUP; sleep 1000) & exit 0']"
    assert builder.build("hostile", busybox(script))["state"] == "done"
    assert "sleep" not in builder.exec("rootfs-builder", "sh", "-c", "cat /proc/[0-9]*/comm")


FAULTS = {
    "an unknown package": ("bad", "nobody-has-it", "no repository has nobody-has-it"),
    "a missing dependency": ("bad", "orphan", "orphan-1-1.noarch needs nobody-has-this >= 7"),
    "a file of two packages": ("bad", "left, right", "both hold /usr/share/contested"),
    "a failing scriptlet": ("bad", "failing", "the %post scriptlet of failing-1-1.noarch failed"),
    "an unsigned package": ("unsigned", "unsigned", "is not signed; sign it"),
    "a repository that is not there": ("nowhere", "bash", f"{REPOSITORY}/nowhere/"),
    "a damaged package": ("broken", "bash", "filesystem"),
}


@pytest.mark.parametrize("source", ["dnf", "zypper"])
@pytest.mark.parametrize("fault", FAULTS)
def test_a_fault_is_one_clear_line(builder: Builder, source: str, fault: str) -> None:
    repository, packages, said = FAULTS[fault]
    wanted = recipe(source, packages, repository=repository)
    if repository == "broken":  # the good one would have the package, too
        wanted = wanted.replace(f"  - {{url: {REPOSITORY}/good/, gpgkey: good.asc}}\n", "")
    told = builder.build(f"{source} {fault}", wanted)
    assert told["state"] == "failed"
    assert said in told["error"]
    assert "\n" not in told["error"] and "Traceback" not in told["error"]


def test_a_package_of_another_architecture_is_refused(builder: Builder) -> None:
    told = builder.build("dnf fault", recipe("dnf", "foreign", repository="bad"))
    assert told["error"] == "download: foreign-1-1.aarch64 is for another architecture"


@pytest.mark.parametrize("source", ["dnf", "zypper"])
def test_a_package_that_another_key_signed_is_refused(builder: Builder, source: str) -> None:
    told = builder.build(f"{source} key", recipe(source, "unsigned", repository="stranger"))
    assert told["state"] == "failed" and "another key" in told["error"], told["error"]


@pytest.mark.parametrize("source", ["dnf", "zypper"])
def test_a_repository_that_stalls_is_given_up(builder: Builder, source: str) -> None:
    wanted = recipe(source, "bash", repository="stalled", more="stall_seconds: 5")
    wanted = wanted.replace(f"  - {{url: {REPOSITORY}/good/, gpgkey: good.asc}}\n", "")
    told = builder.build(f"{source} stall", wanted, seconds=60)
    assert told["error"].startswith("download: a repository stands still: no byte came for 5 s")


def test_the_last_good_root_stays_when_a_build_fails(builder: Builder) -> None:
    good = builder.build("steady", busybox("formats: [nfs]"))
    bad = builder.build("steady", busybox("formats: [nfs]\nrun: [exit 3]"))
    assert (bad["state"], bad["id"]) == ("failed", good["id"])
    assert bad["error"].startswith("run: script 1 of 1: exit status 3")
    assert (builder.tree("steady") / "bin/busybox").exists()
    assert [one for one in (builder.roots / "steady").iterdir() if one.name[0] == "."] == []


def test_what_hangs_is_ended(builder: Builder) -> None:
    told = builder.build("hangs", busybox("run: [sleep 1000]\nrun_seconds: 2"))
    assert "did not end within 2 s" in told["error"]
    wanted = recipe("dnf", "hanging", repository="bad", more="install_seconds: 10")
    assert "did not end within 10 s" in builder.build("hangs", wanted)["error"]


RECIPES = {
    "leads out of the folder": "files: ../../etc",
    "a file's path begins with /": "files: {../../etc/passwd: x}",
    "anchors and aliases": "title: &a [x]\npackages: *a",
    "did you mean `packages:`": "pakages: [bash]",
    "nested deeper": "run: " + "[" * 50 + "]" * 50,
    "is there twice": "keep: 1\nkeep: 2",
    "should be a valid integer": "keep: many",
    "is no hash": "root_password: secret",
}


@pytest.mark.parametrize("said", RECIPES)
def test_a_wrong_recipe_is_refused_with_its_line(builder: Builder, said: str) -> None:
    told = builder.build("wrong recipe", busybox(RECIPES[said]))
    assert told["state"] == "failed" and said in told["error"]
    assert told["error"].startswith("wrong recipe.yaml:")


def test_a_link_out_of_the_recipes_is_not_followed(builder: Builder) -> None:
    (builder.volume / "recipes" / "way-out").symlink_to("/etc")
    told = builder.build("link", busybox("files: way-out"))
    assert told["error"] == "files: way-out: a link leads out of the folder of the recipes"


def test_a_full_volume_is_one_clear_line(builder: Builder, tmp_path: Path) -> None:
    (tmp_path / "good.asc").write_text((builder.volume / "recipes" / "good.asc").read_text())
    (tmp_path / "scriptlet.yaml").write_text(recipe("dnf", "huge", repository="bad"))
    (tmp_path / "script.yaml").write_text(busybox("run: [cat /dev/zero > /zeros]"))
    with builder.another(recipes=tmp_path, roots="size=300m,exec") as lines:
        said = [line for line in lines if "MiB left" in line]
    assert sorted(line.split(":")[0] for line in said) == ["script", "scriptlet"]
    assert all("less than the 128 MiB that a build leaves; free some" in line for line in said)
