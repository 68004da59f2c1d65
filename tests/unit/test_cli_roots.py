from __future__ import annotations

import io
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from appliance.cli import report
from appliance.cli.roots import CannotDo, follow, recipe_new, request
from appliance.control import NotRunning
from appliance.paths import Paths
from appliance.status import RootStatus, Status

ASKED = 1000.5
BUILDING = RootStatus(
    "fedora", state="building", step="install", done=12, total=40, unit="packages", updated=1001
)
DONE = replace(BUILDING, state="done", id="00112233445566aa", updated=1002, request=ASKED)
FAILED = replace(
    BUILDING, state="failed", error="no such package: bsah", log="build.log", request=ASKED
)


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def a_root(status: RootStatus) -> dict[str, Any]:
    """Return a root as it comes through the control socket."""
    (root,) = json.loads(json.dumps(Status(roots=(status,)).as_json()))["roots"]
    assert isinstance(root, dict)
    return root


def lines(*statuses: RootStatus) -> Iterator[dict[str, Any]]:
    for status in statuses:
        yield {"kind": "dhcp", "text": "something else", "daemon": "dhcpd", "time": 1}
        yield {"kind": "status", "time": 1, "roots": [a_root(status)]}


def followed(*statuses: RootStatus, out: io.StringIO | None = None) -> tuple[int, list[str]]:
    out = out or io.StringIO()
    ended = follow("fedora", ASKED, lines(*statuses), out)
    return ended, out.getvalue().splitlines()


def test_a_build_is_followed_by_plain_lines_where_there_is_no_terminal() -> None:
    steps = (BUILDING, replace(BUILDING, done=13), replace(BUILDING, done=39), DONE)
    assert followed(*steps) == (
        0,
        [
            "fedora: install: 30 %",
            "fedora: install: 90 %",
            "fedora: done: 00112233445566aa",
        ],
    )


def test_a_failed_build_ends_with_its_reason_and_an_exit_status() -> None:
    assert followed(BUILDING, FAILED) == (
        1,
        [
            "fedora: install: 30 %",
            "fedora: failed: no such package: bsah; see boot/roots/fedora/build.log",
        ],
    )


def test_on_a_terminal_one_line_is_drawn_over() -> None:
    out = Terminal()
    followed(BUILDING, DONE, out=out)
    assert out.getvalue() == (
        "fedora: waiting for the root builder"
        "\r\x1b[Kfedora: install [######..............] 12/40 packages"
        "\r\x1b[Kfedora: done: 00112233445566aa\n"
    )


def test_what_an_earlier_build_came_to_is_not_taken_for_this_one() -> None:
    before = replace(FAILED, updated=999, request=998)
    assert followed(before, replace(before, updated=1001), BUILDING, DONE)[0] == 0


def test_a_build_whose_appliance_ends_is_told() -> None:
    with pytest.raises(NotRunning):
        followed(BUILDING)


def test_a_line_with_a_bar_fits_on_a_terminal() -> None:
    line = report.progress(a_root(replace(BUILDING, message="x" * 300)), bar=True)
    assert len(line) == 79


def test_bytes_are_shown_as_megabytes() -> None:
    bytes_ = replace(BUILDING, step="compress", done=1_500_000, total=10**8, unit="bytes")
    assert "1.5 MB/100.0 MB" in report.progress(a_root(bytes_), bar=True)


def test_roots_are_a_table_and_what_is_wrong_below_it() -> None:
    fedora = replace(DONE, formats=("ext2", "cpio"), size=123_456_789)
    roots = [a_root(fedora), a_root(replace(FAILED, name="a", id=""))]
    assert report.roots(roots).splitlines() == [
        "NAME    ID                FORMATS    SIZE      STATE",
        "fedora  00112233445566aa  ext2,cpio  123.5 MB  done",
        "a       -                 -          -         failed",
        "a: no such package: bsah",
    ]


def test_without_roots_it_is_said_how_to_begin() -> None:
    assert "bootdrop recipe new" in report.roots([])


def test_a_request_is_a_file_that_the_builder_reads(tmp_path: Path) -> None:
    request(replace(Paths(), boot=tmp_path), "my root", 12.5)
    (file,) = (tmp_path / "requests").iterdir()
    assert file.name == "build-my root.json"
    assert json.loads(file.read_text()) == {"verb": "build", "name": "my root", "time": 12.5}


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    brought = tmp_path / "brought"
    brought.mkdir()
    (brought / "fedora.yaml").write_text("# Fedora\nfrom: dnf\n")
    (tmp_path / "boot").mkdir()
    return replace(Paths(), boot=tmp_path / "boot", recipes_brought=brought)


def test_a_new_recipe_is_a_copy_and_nothing_else_is_there(paths: Paths) -> None:
    target = recipe_new(paths, "my lab", "fedora")
    assert target == paths.recipes / "my lab.yaml"
    assert target.read_text() == "# Fedora\nfrom: dnf\n"
    assert list(paths.recipes.iterdir()) == [target]


def test_a_recipe_is_not_hidden_by_one_of_the_other_suffix(paths: Paths) -> None:
    paths.recipes.mkdir(parents=True)
    (paths.recipes / "lab.yml").write_text("mine")
    with pytest.raises(CannotDo, match=r"lab\.yml: is there already"):
        recipe_new(paths, "lab", "fedora")


def test_a_recipe_is_never_overwritten(paths: Paths) -> None:
    recipe_new(paths, "lab", "fedora").write_text("mine")
    with pytest.raises(CannotDo, match="is there already"):
        recipe_new(paths, "lab", "fedora")
    assert (paths.recipes / "lab.yaml").read_text() == "mine"
    assert len(list(paths.recipes.iterdir())) == 1


@pytest.mark.parametrize("name", ["../lab", ".lab", "", "a/b", "a\nb"])
def test_a_recipe_with_a_name_that_no_root_can_have_is_refused(paths: Paths, name: str) -> None:
    with pytest.raises(CannotDo, match="not a name for a recipe"):
        recipe_new(paths, name, "fedora")


def test_a_recipe_from_nothing_is_refused_with_what_there_is(paths: Paths) -> None:
    with pytest.raises(CannotDo, match="gentoo: no such recipe; there are: fedora"):
        recipe_new(paths, "lab", "gentoo")
