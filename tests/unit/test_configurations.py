"""What is known of kernels' configurations, where it cannot be read or kept."""

from __future__ import annotations

import errno
from pathlib import Path, PurePosixPath

import pytest

from appliance import configurations
from appliance.configurations import Configurations

KEY, BESIDE = "bzImage/00112233", PurePosixPath("bzImage.config")


@pytest.fixture
def known(tmp_path: Path) -> Configurations:
    published, kernels = tmp_path / "published", tmp_path / "kernels"
    (published / KEY).mkdir(parents=True)
    kernels.mkdir()
    return Configurations(published, kernels)


def read(known: Configurations) -> bool:
    return known.read({KEY: BESIDE}, {KEY: "00112233"})


def test_a_file_that_was_emptied_meanwhile_is_read_once(
    known: Configurations, tmp_path: Path
) -> None:
    (tmp_path / "kernels" / BESIDE).touch()
    assert known.is_awaited(KEY, BESIDE)
    assert read(known)
    assert not known.is_awaited(KEY, BESIDE)
    assert not read(known)


def test_what_somebody_deleted_is_not_read_again_and_again(
    known: Configurations, tmp_path: Path
) -> None:
    (tmp_path / "kernels" / BESIDE).write_text("CONFIG_A=y\n")
    assert read(known)
    (tmp_path / "published" / KEY / "config").unlink()
    assert not read(known)


def test_what_cannot_be_kept_is_not_awaited_and_tried_again(
    known: Configurations, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device", "config")

    (tmp_path / "kernels" / BESIDE).write_text("CONFIG_A=y\n")
    with monkeypatch.context() as full:
        full.setattr(configurations, "write_text", refuse)
        assert read(known)
        assert not known.is_awaited(KEY, BESIDE)
        assert not read(known)
    assert read(known)
    assert known.known(KEY) is not None
