from typing import Any

from appliance.cli import report
from appliance.status import RefusedFile, Status


def a_status(refused: int) -> dict[str, Any]:
    files = tuple(RefusedFile(f"notes-{number}", "a text file") for number in range(refused))
    return Status(refused=files, pending=("late",)).as_json()


def test_the_status_shows_the_first_of_very_many_files_and_how_many_there_are() -> None:
    lines = report.status(a_status(1000)).splitlines()
    assert "1000 not served" in lines
    assert "  notes-19: a text file" in lines
    assert lines[-1] == "  and 980 more: `bootdrop kernels`"


def test_the_list_of_kernels_shows_all() -> None:
    lines = report.kernels(a_status(1000)).splitlines()
    assert lines[:3] == ["0 kernels in the menu", "1 still being written or copied", "  late"]
    assert lines[-1] == "  notes-999: a text file"
