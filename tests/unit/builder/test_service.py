from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from rootfs_builder import service, status, versions
from rootfs_builder.build import Places
from rootfs_builder.errors import BuildFailed
from rootfs_builder.service import Job
from rootfs_builder.status import Status


@pytest.fixture
def places(tmp_path: Path) -> Places:
    for name in ("recipes", "kernels", "requests", "roots"):
        (tmp_path / name).mkdir()
    return Places.on(tmp_path, tmp_path / "cache")


def write(places: Places, name: str, text: str = "from: tar") -> None:
    (places.recipes / f"{name}.yaml").write_text(text)


def ask(places: Places, name: str, when: object) -> None:
    content = {"verb": "build", "name": name, "time": when}
    (places.requests / f"build-{name}.json").write_text(json.dumps(content))


def jobs(places: Places) -> list[str]:
    return [job.name for job in service.wanted(places)]


def tried(places: Places, state: str) -> Job:
    job = next(service.wanted(places))
    told = Status(recipe=job.recipe, request=job.request)
    status.write(places.roots / job.name, Status(**{**vars(told), "state": state}))
    return job


def test_a_new_recipe_is_built_once(places: Places) -> None:
    write(places, "my root")
    assert jobs(places) == ["my root"]
    tried(places, "done")
    assert jobs(places) == []


def test_a_recipe_that_failed_waits_until_it_changes(places: Places) -> None:
    write(places, "one")
    tried(places, "failed")
    assert jobs(places) == []
    write(places, "one", "from: tar\n")
    assert jobs(places) == ["one"]


@pytest.mark.parametrize("state", ["building", "queued"])
def test_a_build_that_was_cut_off_is_done_anew(places: Places, state: str) -> None:
    write(places, "one")
    tried(places, state)
    assert jobs(places) == ["one"]


def test_a_request_is_answered_once(places: Places) -> None:
    write(places, "one")
    tried(places, "done")
    ask(places, "one", 12.5)
    assert jobs(places) == ["one"]
    tried(places, "done")
    assert jobs(places) == []


@pytest.mark.parametrize("when", [None, "soon", [1]])
def test_a_request_that_makes_no_sense_is_none(places: Places, when: object) -> None:
    write(places, "one")
    tried(places, "done")
    ask(places, "one", when)
    assert jobs(places) == []


def test_files_that_are_no_recipes_are_left_alone(places: Places) -> None:
    for name in (".hidden.yaml", "notes.txt", "key.asc"):
        (places.recipes / name).write_text("x")
    (places.recipes / "folder.yaml").mkdir()
    assert jobs(places) == []


def test_a_name_that_cannot_be_a_roots_is_told_in_its_status(places: Places) -> None:
    write(places, "a*b")
    assert not service.build_one(places, next(service.wanted(places)))
    assert status.read(places.roots / "a*b").error.startswith("'a*b' is no name for a root")
    assert jobs(places) == []


def test_versions_in_use_are_read_from_the_appliances_file(places: Places) -> None:
    assert service.in_use(places, "one") == frozenset()
    file = places.requests / service.IN_USE
    file.write_text('{"roots": {"one": ["0123456789abcdef"]}}')
    assert service.in_use(places, "one") == {"0123456789abcdef"}
    assert service.in_use(places, "two") == frozenset()


@pytest.mark.parametrize("content", ["", "[]", '{"roots": 7}', '{"roots": {"one": "all"}}'])
def test_where_nobody_can_tell_what_is_in_use_all_of_it_is(places: Places, content: str) -> None:
    (places.requests / service.IN_USE).write_text(content)
    assert service.in_use(places, "one") is None


def show(places: Places, name: str, *ids: str) -> Path:
    """Build versions of a root, one after the other; return its folder."""
    root = places.roots / name
    for version in ids:
        with versions.aside(root) as work:
            (work / "version" / "tree").mkdir(parents=True)
            versions.show(root, work / "version", version)
    return root


def pruned(places: Places, root: Path, in_use: list[str]) -> list[str]:
    """Return the versions that are left when the appliance has said what is in use."""
    file = places.requests / service.IN_USE
    file.write_text(json.dumps({"roots": {root.name: in_use}}))
    service.Service(places)._prune()
    return sorted(one.name for one in root.iterdir() if one.is_dir() and not one.is_symlink())


ONE, TWO, THREE = ("1" * 16, "2" * 16, "3" * 16)


def test_a_version_stays_while_a_machines_layer_lies_over_it(places: Places) -> None:
    write(places, "one", "from: tar\ntar: x.tar\nkeep: 0\n")
    root = show(places, "one", ONE, TWO, THREE)
    assert pruned(places, root, in_use=[ONE, THREE]) == [ONE, THREE]
    assert pruned(places, root, in_use=[]) == [THREE]


@pytest.mark.parametrize("text", [None, "from: [", "from: tar\nkeep: x\n"])
def test_without_a_recipe_that_can_be_read_nothing_of_a_root_goes(
    places: Places, text: str | None
) -> None:
    if text is not None:
        write(places, "one", text)
    root = show(places, "one", ONE, TWO)
    assert pruned(places, root, in_use=[TWO]) == [ONE, TWO]


def test_no_user_of_the_host_reaches_the_programs_in_a_tree(places: Places) -> None:
    places.roots.chmod(0o755)
    places.recipes.rmdir()  # the volume cannot be watched, so it does not serve on
    with pytest.raises(FileNotFoundError):
        service.Service(places).run()
    assert places.roots.stat().st_mode & 0o777 == 0o700


def test_a_recipe_that_cannot_be_read_fails_with_its_line(places: Places) -> None:
    write(places, "one", "from: tar\npackges: x\n")
    job = next(service.wanted(places))
    assert not service.build_one(places, job)
    told = status.read(places.roots / "one")
    assert (told.state, told.recipe) == ("failed", job.recipe)
    assert told.error == "one.yaml:2: unknown key 'packges'; did you mean `packages:`?"


def test_a_failure_is_text_whatever_a_file_is_called(
    places: Places, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise BuildFailed(os.fsdecode(b"identify: \xff: too large"))

    monkeypatch.setattr(service, "read_recipe", broken)
    write(places, "one")
    service.build_one(places, next(service.wanted(places)))
    assert status.read(places.roots / "one").error == "identify: \\udcff: too large"


def test_of_two_files_for_one_root_the_first_alone_is_built(places: Places) -> None:
    write(places, "one")
    (places.recipes / "one.yml").write_text("from: dnf")
    tried(places, "failed")
    assert jobs(places) == []


def test_a_root_whose_status_cannot_be_written_stops_no_other(places: Places) -> None:
    (places.roots / "first").write_text("in the way of its folder")
    write(places, "first")
    write(places, "second")
    serving = service.Service(places)
    serving._enqueue()
    for _ in range(2):
        serving._take(serving._queue.get_nowait())
    assert status.read(places.roots / "second").state == "failed"
    assert "`tar:` names the file" in status.read(places.roots / "second").error
