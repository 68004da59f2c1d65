"""The appliance in the lab's network, shared by the tests of a file; a volume to play layers on."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.boot.conftest import drop, empty_lab, shared_lab
from tests.daemons.layers_played import Volume

__all__ = ["drop", "empty_lab", "shared_lab"]


@pytest.fixture
def volume(tmp_path: Path) -> Iterator[Volume]:
    """A boot/ for containers in which nothing but layers runs."""
    boot = tmp_path / "boot"
    (boot / "roots").mkdir(parents=True)
    with ExitStack() as lives:
        yield Volume(boot, lives)
