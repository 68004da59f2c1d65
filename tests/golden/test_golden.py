from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from tests.golden.cases import CASES, HERE, rendered


def files_of(folder: Path) -> dict[PurePosixPath, str]:
    return {
        PurePosixPath(file.relative_to(folder)): file.read_text()
        for file in folder.rglob("*")
        if file.is_file()
    }


@pytest.mark.parametrize("name", CASES)
def test_every_file_of_a_situation_is_as_it_was_agreed(name: str) -> None:
    assert rendered(CASES[name]) == files_of(HERE / name)


def test_there_is_no_folder_without_its_case() -> None:
    folders = {each.name for each in HERE.iterdir() if each.is_dir() and each.name[0] not in "._"}
    assert folders == set(CASES)
