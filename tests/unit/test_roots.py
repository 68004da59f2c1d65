"""What the appliance makes of the builder's folder while both work."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path

from appliance.paths import Paths
from appliance.roots import Roots
from tests.unit.built_roots import ID, add_root, add_status

OTHER = "ffeeddccbbaa0099"


class Lab:
    """A volume with its follower; what it calls back is kept."""

    def __init__(self, folder: Path) -> None:
        self.paths = replace(Paths(), boot=folder)
        self.roots_folder = self.paths.roots
        self.roots_folder.mkdir()
        self.said: list[str] = []
        self.faults: list[OSError] = []
        self.woken = asyncio.Event()
        self.in_layers: dict[str, tuple[str, ...]] = {}
        self.roots = self.follower()

    def follower(self) -> Roots:
        return Roots(
            self.paths,
            also_in_use=lambda: self.in_layers,
            changed=self.woken.set,
            progressed=self.woken.set,
            say=self.said.append,
            fault=self._fault,
        )

    def _fault(self, error: OSError | None) -> None:
        if error is not None:
            self.faults.append(error)
        self.woken.set()

    async def until(self, is_so: Callable[[], bool]) -> None:
        """Wait for a state that a call back tells of."""
        while not is_so():
            await self.woken.wait()
            self.woken.clear()

    @property
    def in_use(self) -> object:
        return json.loads((self.paths.boot / "requests" / "in-use.json").read_text())


def followed(folder: Path, story: Callable[[Lab], Awaitable[None]]) -> None:
    """Run a story beside a follower."""

    async def run() -> None:
        lab = Lab(folder)
        following = asyncio.create_task(lab.roots.follow())
        try:
            await story(lab)
        finally:
            following.cancel()

    asyncio.run(asyncio.wait_for(run(), 20))


def test_a_root_is_offered_as_soon_as_it_is_built(tmp_path: Path) -> None:
    async def story(lab: Lab) -> None:
        add_root(lab.roots_folder)
        await lab.until(lambda: bool(lab.roots.catalog.roots))
        assert lab.said == [f"root fedora: published as {ID}"]
        assert lab.in_use == {"roots": {"fedora": [ID]}}
        (status,) = lab.roots.statuses
        assert (status.name, status.id, status.state) == ("fedora", ID, "done")

    followed(tmp_path, story)


def test_a_new_version_is_offered_as_soon_as_current_is_switched(tmp_path: Path) -> None:
    async def story(lab: Lab) -> None:
        add_root(lab.roots_folder)
        await lab.until(lambda: bool(lab.roots.catalog.roots))
        add_root(lab.roots_folder, root_id=OTHER, content=b"other")
        await lab.until(lambda: lab.roots.catalog.roots[0].id == OTHER)
        assert lab.in_use == {"roots": {"fedora": [ID, OTHER]}}

    followed(tmp_path, story)


def test_a_root_that_is_removed_is_offered_no_more(tmp_path: Path) -> None:
    async def story(lab: Lab) -> None:
        add_root(lab.roots_folder)
        await lab.until(lambda: bool(lab.roots.catalog.roots))
        shutil.rmtree(lab.roots_folder / "fedora")
        await lab.until(lambda: not lab.roots.catalog.roots)
        assert lab.said[-1] == "root fedora: removed from the menu"

    followed(tmp_path, story)


def test_a_build_is_followed_to_its_failure_while_the_last_good_root_stays(tmp_path: Path) -> None:
    async def story(lab: Lab) -> None:
        add_root(lab.roots_folder)
        await lab.until(lambda: bool(lab.roots.catalog.roots))
        building = {"state": "building", "step": "install", "total": 40, "unit": "packages"}
        for done in (1, 20):
            add_status(lab.roots_folder, "fedora", **building, done=done)
            await lab.until(lambda done=done: lab.roots.statuses[0].done == done)  # type: ignore[misc]
        add_status(
            lab.roots_folder, "fedora", state="failed", error="no space left", log="build.log"
        )
        await lab.until(lambda: bool(lab.roots.notices))
        notice = "root fedora: not built: no space left; see boot/roots/fedora/build.log"
        assert lab.roots.notices == (notice,)
        assert lab.said[-1] == notice
        assert [root.id for root in lab.roots.catalog.roots] == [ID]
        assert lab.roots.statuses[0].id == ID

    followed(tmp_path, story)


def test_a_tree_is_neither_watched_nor_read(tmp_path: Path) -> None:
    async def story(lab: Lab) -> None:
        add_root(lab.roots_folder)
        await lab.until(lambda: bool(lab.roots.catalog.roots))
        tree = lab.roots_folder / "fedora" / ID / "tree" / "etc"
        tree.mkdir(parents=True)
        (tree / "root.json").write_text("{}")
        add_status(lab.roots_folder, "debian", state="queued")
        await lab.until(lambda: len(lab.roots.statuses) == 2)
        assert [each.name for each in lab.roots.statuses] == ["debian", "fedora"]

    followed(tmp_path, story)


def test_where_the_builder_cannot_be_told_what_is_in_use_roots_are_offered_all_the_same(
    tmp_path: Path,
) -> None:
    (tmp_path / "requests").write_text("no folder")

    async def story(lab: Lab) -> None:
        add_root(lab.roots_folder)
        await lab.until(lambda: bool(lab.roots.catalog.roots))
        assert [error.filename for error in lab.faults] == [str(tmp_path / "requests/in-use.json")]

    followed(tmp_path, story)


def test_after_a_restart_what_was_offered_is_offered_at_once(tmp_path: Path) -> None:
    async def story(lab: Lab) -> None:
        add_root(lab.roots_folder)
        await lab.until(lambda: bool(lab.roots.catalog.roots))
        assert lab.follower().catalog == lab.roots.catalog

    followed(tmp_path, story)


def test_versions_that_layers_of_machines_are_over_are_told_to_the_builder(tmp_path: Path) -> None:
    async def story(lab: Lab) -> None:
        old = "0123456789abcdef"
        lab.in_layers = {"other": (old,)}
        add_root(lab.roots_folder)
        await lab.until(lambda: bool(lab.roots.catalog.roots))
        (root,) = lab.roots.catalog.roots
        assert lab.in_use == {"roots": {root.name: [root.id], "other": [old]}}
        lab.in_layers = {}
        lab.roots.note_in_use()
        await lab.until(lambda: lab.in_use == {"roots": {root.name: [root.id]}})

    followed(tmp_path, story)
