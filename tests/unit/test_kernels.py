from __future__ import annotations

import asyncio
import errno
import os
from pathlib import Path

import pytest

from appliance.kernels import Kernels
from appliance.paths import Paths
from appliance.store import Store
from tests.unit.catalog.kernels import make_bzimage


def test_a_version_that_cannot_be_deleted_keeps_no_kernel_from_the_menu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = Paths(boot=tmp_path / "boot", provisions=tmp_path / "provisions")
    (paths.provisions / "loaders").mkdir(parents=True)
    paths.kernels.mkdir(parents=True)
    (paths.kernels / "bzImage").write_bytes(make_bzimage("6.1"))

    def immutable(_: Store, now: float) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM), "published/kernels/a")

    monkeypatch.setattr(Store, "retire", immutable)

    async def test() -> None:
        told: asyncio.Queue[str | None] = asyncio.Queue()
        looks: list[bool] = []
        kernels = Kernels(
            paths,
            keep=0,
            looked=looks.append,
            say=lambda _: None,
            fault=told.put_nowait,
            replaced=lambda: None,
        )
        following = asyncio.create_task(kernels.follow())
        said = await told.get()
        following.cancel()
        assert said is not None
        assert said.startswith("published/kernels/a: Operation not permitted")
        assert looks == [True]
        assert kernels.catalog is not None
        assert [kernel.name for kernel in kernels.catalog.kernels] == ["bzImage"]

    asyncio.run(asyncio.wait_for(test(), 10))
