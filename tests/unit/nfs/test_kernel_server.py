from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from appliance.nfs.kernel_server import Record, here, record_path, recorded, running
from appliance.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = replace(Paths(), state=tmp_path)
    record_path(paths).parent.mkdir()
    return paths


def test_threads_are_counted() -> None:
    assert running("rc 0 0 0\nth 8 0 0.000 0.000\nra 32 0 0\n") == 8
    assert running("rc 0 0 0\n") == 0


def test_the_record_of_this_boot_and_network_is_recognised(paths: Paths) -> None:
    # As config/etc/nfs/nfsd.sh writes it.
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text()
    inode = Path("/proc/self/ns/net").stat().st_ino
    record_path(paths).write_text(f"{boot_id}{inode}\n")
    assert recorded(paths) == here()


@pytest.mark.parametrize("text", ["", "one", "a b c", "boot x", "\0\0", "boot -1"])
def test_what_is_no_record_is_none(paths: Paths, text: str) -> None:
    record_path(paths).write_text(text)
    assert recorded(paths) is None


def test_a_record_of_another_boot_is_another_record(paths: Paths) -> None:
    record_path(paths).write_text("another\n4026531833\n")
    assert recorded(paths) == Record("another", 4026531833)
    assert recorded(paths) != here()


def test_without_a_record_nothing_is_ours(paths: Paths) -> None:
    assert recorded(paths) is None
