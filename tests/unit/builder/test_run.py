from __future__ import annotations

import os
from pathlib import Path

import pytest

from rootfs_builder.errors import BuildFailed
from rootfs_builder.room import Stall, require_room
from rootfs_builder.run import CommandFailed, Log, Watch, run


def test_a_command_is_heard_line_by_line_and_logged(tmp_path: Path) -> None:
    heard: list[str] = []
    with Log(tmp_path / "build.log") as log:
        output = run(["printf", "one\\ntwo\\rthree"], log, Watch(10, heard.append))
    assert heard == ["one", "two", "three"]
    assert output == "one\ntwo\nthree"
    assert (tmp_path / "build.log").read_bytes() == b"one\ntwo\rthree"


def test_a_command_that_fails_says_its_status_and_its_output(tmp_path: Path) -> None:
    with Log(tmp_path / "build.log") as log, pytest.raises(CommandFailed) as raised:
        run(["sh", "-c", "echo why >&2; exit 7"], log, Watch(10))
    assert (str(raised.value), raised.value.output, raised.value.status) == (
        "exit status 7",
        "why",
        7,
    )


def test_a_command_that_takes_too_long_is_ended(tmp_path: Path) -> None:
    with Log(tmp_path / "build.log") as log, pytest.raises(CommandFailed) as raised:
        run(["sh", "-c", "echo $$; exec tail -f /dev/null"], log, Watch(0.3))
    assert str(raised.value) == "did not end within 0.3 s"
    assert not Path(f"/proc/{raised.value.output}").exists()


def test_what_a_command_started_ends_with_it(tmp_path: Path) -> None:
    script = "setsid tail -f /dev/null & echo $!; wait"
    with Log(tmp_path / "build.log") as log, pytest.raises(CommandFailed) as raised:
        run(["sh", "-c", script], log, Watch(0.3))
    assert not is_running(int(raised.value.output))


@pytest.mark.skipif(os.geteuid() != 0, reason="namespaces of root")
def test_a_sandbox_ends_whatever_its_first_process_became(tmp_path: Path) -> None:
    # Another user is no more told that its parent died.
    sleep = f"sleep {1000 + os.getpid()}"
    script = f"{sleep} & exec setpriv --reuid=65534 --clear-groups {sleep}"
    argv = ["unshare", "--pid", "--fork", "--kill-child", "sh", "-c", script]
    with Log(tmp_path / "build.log") as log, pytest.raises(CommandFailed, match="did not end"):
        run(argv, log, Watch(1))
    sleeping = f"{sleep} ".replace(" ", "\0").encode()
    assert [f for f in Path("/proc").glob("[0-9]*/cmdline") if contents(f) == sleeping] == []


def is_running(process: int) -> bool:
    """Tell whether there is a process that is more than its exit status."""
    stat = contents(Path(f"/proc/{process}/stat"))
    return bool(stat) and stat.rpartition(b")")[2].split()[0] != b"Z"


def contents(file: Path) -> bytes:
    try:
        return file.read_bytes()
    except OSError:
        return b""


def test_of_what_is_printed_without_end_the_last_is_kept(tmp_path: Path) -> None:
    script = "yes | head -c 6000000 | tr -d '\\n'; echo; yes | head -c 6000000; echo end"
    with Log(tmp_path / "build.log") as log:
        output = run(["sh", "-c", script], log, Watch(60))
    assert output.endswith("y\nend") and 4_000_000 < len(output) <= 4 * 1024 * 1024


def test_what_a_tick_raises_ends_the_command(tmp_path: Path) -> None:
    def full() -> None:
        raise BuildFailed("the volume is full")

    with Log(tmp_path / "build.log") as log, pytest.raises(BuildFailed, match="is full"):
        run(["tail", "-f", "/dev/null"], log, Watch(10, tick=full))


def test_what_a_tick_raises_is_told_of_a_command_that_has_ended(tmp_path: Path) -> None:
    def full() -> None:
        raise BuildFailed("the volume is full")

    # What it left has its output still: the end of that is not there yet.
    script = "sleep 3 & exit 0"
    with Log(tmp_path / "build.log") as log, pytest.raises(BuildFailed, match="is full"):
        run(["sh", "-c", script], log, Watch(10, tick=full))


def test_a_log_has_an_end(tmp_path: Path) -> None:
    with Log(tmp_path / "build.log", largest=10) as log:
        for _ in range(5):
            log.write(b"12345678")
    assert (tmp_path / "build.log").read_bytes() == b"1234567812\n[the log is cut here]\n"


def test_the_environment_is_not_the_callers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SECRET", "x")
    with Log(tmp_path / "build.log") as log:
        assert "SECRET" not in run(["env"], log, Watch(10))


def test_a_volume_without_room_is_told_with_what_to_do(tmp_path: Path) -> None:
    require_room(tmp_path, reserve=0)
    with pytest.raises(BuildFailed, match=r"MiB left, less than .* free some: old versions"):
        require_room(tmp_path, reserve=1 << 60)


def test_a_download_without_a_sign_of_life_is_given_up(tmp_path: Path) -> None:
    now = [0.0]
    stall = Stall(tmp_path, 60, clock=lambda: now[0])
    stall.tick()
    now[0] = 50
    (tmp_path / "part").write_bytes(os.urandom(8192))
    stall.tick()
    now[0] = 100
    stall.line("(1/2): bash.rpm")
    now[0] = 150
    stall.tick()
    now[0] = 161
    with pytest.raises(BuildFailed, match="no byte came for 60 s"):
        stall.tick()
