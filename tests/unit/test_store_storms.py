"""The store when there is much to publish, little room, or somebody else at work."""

import os
from pathlib import Path

import pytest

from tests.unit.catalog.kernels import make_bzimage
from tests.unit.test_store import LATER, Lab


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_what_time_does_not_allow_is_pending_until_the_next_time(lab: Lab) -> None:
    for number in range(3):
        lab.drop(f"bzImage-{number}", make_bzimage(f"6.{number}"))
    names = []
    for _ in range(3):
        catalog = lab.store.publish(lab.scan(), seconds=0)
        names.append({one.name for one in catalog.kernels} | {str(one) for one in catalog.pending})
        if not catalog.pending:
            break
    assert set(map(frozenset, names)) == {frozenset({"bzImage-0", "bzImage-1", "bzImage-2"})}
    assert lab.publish().pending == ()


def test_a_kernel_under_two_names_takes_the_room_of_one(lab: Lab) -> None:
    lab.drop("one", make_bzimage("6.1", config="CONFIG_A=y\n"))
    lab.drop("two", make_bzimage("6.1", config="CONFIG_A=y\n"))
    lab.publish()
    assert lab.store.read_configs()
    one, two = sorted(lab.publish().kernels, key=lambda kernel: kernel.name)
    assert (lab.published / one.kernel).samefile(lab.published / two.kernel)
    assert one.config is two.config
    lab.drop("one", make_bzimage("6.2"))
    lab.publish()
    lab.store.retire(LATER + 10_000)
    assert lab.read(two.kernel) == make_bzimage("6.1", config="CONFIG_A=y\n")


def test_a_file_that_somebody_deleted_from_a_version_is_made_again(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage("6.1"))
    kernel = lab.only()
    (lab.published / kernel.kernel).unlink()
    assert lab.only().id == kernel.id
    assert lab.read(kernel.kernel) == make_bzimage("6.1")


def test_a_copy_for_which_there_is_no_room_is_not_begun(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.drop("old", make_bzimage("6.0", config="CONFIG_A=y\n"))
    lab.publish()
    lab.drop("bzImage", make_bzimage("6.1"))
    full = list(os.statvfs(lab.published))
    full[4] = 0  # f_bavail
    monkeypatch.setattr(os, "statvfs", lambda _: os.statvfs_result(full))
    catalog = lab.publish()
    assert catalog.refused[0].reason == (
        "cannot be published: no space is left on the volume: delete something"
    )
    assert lab.store.blocked == "no space is left on the volume: delete something"
    # What cannot be kept is not awaited any more, which is said once.
    assert catalog.kernels[0].config_awaited
    assert lab.store.read_configs()
    assert not lab.publish().kernels[0].config_awaited
    assert not lab.store.read_configs()
    monkeypatch.undo()
    assert {kernel.version for kernel in lab.publish().kernels} == {"6.0", "6.1"}
    assert lab.store.blocked is None
    assert lab.store.read_configs()
