from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from rootfs_builder import customise, inside, install
from rootfs_builder.errors import BuildFailed
from rootfs_builder.install import Site
from rootfs_builder.managers import manager_for
from rootfs_builder.recipe import Recipe
from rootfs_builder.run import Log, Watch
from rootfs_builder.status import Status, Teller

WANTED = Recipe.model_validate(
    {"from": "dnf", "repositories": [{"url": "http://example.org/", "unsigned": True}]}
)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    with Log(tmp_path / "build.log") as log:
        tell = Teller(tmp_path / "root", Status())
        yield Site(WANTED, tmp_path, tmp_path, tmp_path / "tree", tmp_path / "packages", log, tell)


def test_a_scriptlet_that_fails_is_told_however_much_is_printed_after_it(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    def run(argv: Sequence[str], log: Log, watch: Watch) -> str:
        watch.line("warning: %post(first-1-1.noarch) scriptlet failed, exit status 1")
        watch.line("Complete!")
        return "Complete!"  # what is kept of a long output

    monkeypatch.setattr(install, "run", run)
    monkeypatch.setattr(install, "require_room", lambda _: None)
    with pytest.raises(BuildFailed, match=r"the %post scriptlet of first-1-1\.noarch failed"):
        install.install(site, manager_for(WANTED))


def test_a_list_of_packages_that_is_a_link_or_has_no_end_is_not_read(
    site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(customise, "run", lambda *_: "")
    listed = site.folder("output") / inside.LISTED
    listed.symlink_to("/proc/self/environ")
    with pytest.raises(BuildFailed, match="the list of packages: "):
        customise.packages(site)
    listed.unlink()
    listed.touch()
    os.truncate(listed, 1 << 40)
    with pytest.raises(BuildFailed, match="more packages than there can be"):
        customise.packages(site)
    listed.unlink()
    listed.write_text('[{"name": "bash", "version": "5", "arch": "noarch", "licence": ""}]')
    assert [each.name for each in customise.packages(site)] == ["bash"]
