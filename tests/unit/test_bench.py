"""What the benchmarks compute and print, without the lab."""

from __future__ import annotations

import subprocess
from pathlib import Path

from bench import report
from bench.boot import INIT, init_program


def test_a_percentile_is_the_smallest_value_that_so_many_do_not_exceed() -> None:
    hundred = [float(number) for number in range(100, 0, -1)]
    assert report.percentile(hundred, 50) == 50
    assert report.percentile(hundred, 99) == 99
    assert report.percentile(hundred, 100) == 100
    assert report.percentile([7.0], 99) == 7


def test_a_table_has_words_to_the_left_and_figures_to_the_right() -> None:
    assert report.table(["", "MB"], [["ours", "9.1"], ["theirs", "12.0"]]).splitlines() == [
        "          MB",
        "ours     9.1",
        "theirs  12.0",
    ]


def test_the_last_line_is_for_programs() -> None:
    assert report.last_line({"p50_s": 0.123456, "n": 100}) == "p50_s=0.1235 n=100"


def test_the_machines_init_says_so_and_stays(tmp_path: Path) -> None:
    program = tmp_path / "init"
    program.write_bytes(init_program())
    program.chmod(0o755)
    with subprocess.Popen([program], stdout=subprocess.PIPE) as init:
        assert init.stdout is not None
        assert init.stdout.readline() == f"{INIT}\n".encode()
        assert init.poll() is None
        init.kill()
