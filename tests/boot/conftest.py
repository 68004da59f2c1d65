"""Labs that the tests of one file share: a lab takes ten seconds, a boot five."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.nfs_root import remove_roots


@pytest.fixture(scope="module")
def shared_lab(request: pytest.FixtureRequest, lab_images: None) -> Iterator[Lab]:
    """A lab with the settings that the file names in SETTINGS, ready."""
    file = re.sub(r"[^a-z0-9]+", "-", Path(str(request.path)).stem)
    with Lab(f"{file}-{request.config.rootpath.stat().st_ino}") as lab:
        lab.up(getattr(request.module, "SETTINGS", {}))
        lab.wait_ready()
        yield lab


@pytest.fixture
def empty_lab(shared_lab: Lab) -> Lab:
    """The shared lab with nothing in kernels/ and nothing in its menu."""
    for file in sorted((shared_lab.boot / "kernels").rglob("*"), reverse=True):
        file.rmdir() if file.is_dir() and not file.is_symlink() else file.unlink()
    shared_lab.wait_status(lambda status: not (status.kernels or status.refused), 10)
    return shared_lab


@pytest.fixture
def nfs_lab(empty_lab: Lab) -> Iterator[Lab]:
    """The shared lab with no kernel and, before and after, no root."""
    yield empty_lab
    remove_roots(empty_lab, *(each.name for each in (empty_lab.boot / "roots").iterdir()))


@pytest.fixture
def drop(empty_lab: Lab) -> Callable[..., None]:
    """Drop a file and wait until it is in the menu, as its name or as given."""

    def dropped(file: Path, name: str | None = None) -> None:
        empty_lab.drop(file, name)
        empty_lab.wait_status(lambda status: (name or file.name) in status.kernels, 10)

    return dropped
