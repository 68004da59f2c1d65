"""A workbench for all tests of a file."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.builder.workbench import Workbench


@pytest.fixture(scope="module")
def workbench() -> Iterator[Workbench]:
    with Workbench() as workbench:
        yield workbench
