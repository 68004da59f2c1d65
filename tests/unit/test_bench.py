"""What the benchmarks compute and print, without the lab."""

from __future__ import annotations

import io
import subprocess
from pathlib import Path

from appliance.catalog import kernel
from bench import report
from bench.boot import INIT, init_program
from bench.dropper import another
from tests.unit.catalog.kernels import make_bzimage


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


def test_each_dropped_kernel_is_another_one_and_whole() -> None:
    first = make_bzimage("6.12.0-cloud-amd64")
    one, two = another(first, 1), another(first, 2)
    versions = [kernel.identify(io.BytesIO(each), len(each)).version for each in (one, two)]
    assert versions == ["6.12.0-cloud-a0001", "6.12.0-cloud-a0002"]
    middle = len(first) // 2
    assert one[middle : middle + 8] != two[middle : middle + 8]
    assert len({len(first), len(one), len(two)}) == 1
