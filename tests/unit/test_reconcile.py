"""Against a real supervisord, with daemons that are small shell loops."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from appliance.catalog.model import Catalog, Initrd, RamdiskFormat
from appliance.daemons.base import ConfigurationRejected, Daemon, Program
from appliance.menu import menu
from appliance.paths import Paths
from appliance.reconcile import (
    Outcome,
    publish_boot_files,
    reconcile,
    run_folders,
    still_offered,
)
from appliance.render import Renderer
from appliance.settings import Settings
from appliance.situation import Situation
from appliance.supervision import NotSupervised, Supervision
from tests.unit.builders import a_kernel, a_situation

_SUPERVISORD = """\
[supervisord]
nodaemon = true
logfile = {run}/supervisord.log
pidfile = {run}/supervisord.pid
[unix_http_server]
file = {run}/supervisor.sock
[rpcinterface:supervisor]
supervisor.rpcinterface_factory = supervisor.rpcinterface:make_main_rpcinterface
[include]
files = {run}/etc/supervisor/conf.d/*.conf
"""


class Loop(Daemon):
    """Waits for ever; its configuration is the lease time."""

    name = "loop"
    templates = ("etc/loop.conf",)

    def program(self, situation: Situation) -> Program:
        return Program(("sleep", "1000"))

    async def check(self, configuration: Path, situation: Situation) -> None:
        if (configuration / "etc/loop.conf").read_text() == "lease 666":
            raise ConfigurationRejected("666 is refused")


class Unprepared(Daemon):
    """Cannot be prepared."""

    name = "unprepared"

    def program(self, situation: Situation) -> Program:
        return Program(("/bin/true",))

    def prepare(self, situation: Situation) -> None:
        (situation.paths.run / "missing" / "file").touch()


@dataclass(frozen=True)
class Bench:
    paths: Paths
    supervision: Supervision

    def situation(self, **settings: object) -> Situation:
        chosen = Settings(interface="eth1", **settings)  # type: ignore[arg-type]
        # The host's setpriv may be older than Landlock.
        return replace(a_situation(chosen), paths=self.paths, landlock=False)

    async def reconcile(self, situation: Situation, *daemons: Daemon) -> tuple[Outcome, ...]:
        renderer = Renderer(self.paths.templates)
        return await reconcile(situation, daemons or (Loop(),), renderer, self.supervision)

    def starts(self) -> int:
        return (self.paths.run / "supervisord.log").read_text().count("spawned: 'loop'")


@contextmanager
def supervisord(run: Path) -> Iterator[None]:
    configuration = run / "supervisord.conf"
    configuration.write_text(_SUPERVISORD.format(run=run))
    argv = [sys.executable, "-u", "-m", "supervisor.supervisord", "-c", str(configuration)]
    process = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        assert any("supervisord started" in line for line in process.stdout)
        yield
    finally:
        process.terminate()
        process.wait(20)
        process.stdout.close()


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    # Short: the path of a unix socket has 108 bytes.
    paths = Paths(
        boot=tmp_path / "boot",
        run=tmp_path / "run",
        state=tmp_path / "state",
        templates=tmp_path / "config",
    )
    run_folders(paths)
    shipped = Path(__file__).parents[2] / "config"
    templates = paths.templates
    (templates / "etc/supervisor/conf.d").mkdir(parents=True)
    program = "etc/supervisor/conf.d/program.conf.j2"
    (templates / program).write_text((shipped / program).read_text())
    (templates / "etc/loop.conf.j2").write_text("lease {{ settings.lease_time }}")
    with supervisord(paths.run):
        yield Bench(paths, Supervision(paths.supervisor))


def test_a_daemon_is_started_once_and_then_left_alone(bench: Bench) -> None:
    async def test() -> None:
        first = await bench.reconcile(bench.situation())
        second = await bench.reconcile(bench.situation())
        assert (first, second) == ((Outcome("loop", disturbed=True),), (Outcome("loop"),))
        assert (await bench.supervision.states())["loop"] in ("STARTING", "RUNNING")

    asyncio.run(test())
    assert bench.starts() == 1


def test_a_changed_configuration_restarts_its_daemon(bench: Bench) -> None:
    async def test() -> None:
        await bench.reconcile(bench.situation())
        await bench.reconcile(bench.situation(lease_time=300))

    asyncio.run(test())
    assert bench.starts() == 2
    assert (bench.paths.run / "etc/loop.conf").read_text() == "lease 300"


class Killed(BaseException):
    """What a SIGKILL looks like from inside."""


def test_a_change_that_a_kill_cut_short_is_made_by_the_next(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def killed(_: str) -> None:
        raise Killed

    async def test() -> None:
        await bench.reconcile(bench.situation())
        with monkeypatch.context() as patch, pytest.raises(Killed):
            patch.setattr(bench.supervision, "restart", killed)
            await bench.reconcile(bench.situation(lease_time=300))
        assert await bench.reconcile(bench.situation(lease_time=300)) == (
            Outcome("loop", disturbed=True),
        )
        assert await bench.reconcile(bench.situation(lease_time=300)) == (Outcome("loop"),)

    asyncio.run(test())
    assert bench.starts() == 2


def test_a_rejected_configuration_is_never_installed_and_what_ran_keeps_running(
    bench: Bench,
) -> None:
    async def test() -> None:
        await bench.reconcile(bench.situation(lease_time=300))
        rejected = await bench.reconcile(bench.situation(lease_time=666))
        fault = "configuration rejected: 666 is refused; what ran before keeps running"
        assert rejected == (Outcome("loop", fault=fault),)
        assert (await bench.supervision.states())["loop"] in ("STARTING", "RUNNING")

    asyncio.run(test())
    assert bench.starts() == 1
    assert (bench.paths.run / "etc/loop.conf").read_text() == "lease 300"


def test_a_daemon_without_a_network_is_stopped_and_started_when_there_is_one(
    bench: Bench,
) -> None:
    async def test() -> None:
        await bench.reconcile(bench.situation())
        without = replace(bench.situation(), network=None)
        assert await bench.reconcile(without) == (Outcome("loop", idle="no network to boot on"),)
        assert await bench.supervision.states() == {}
        await bench.reconcile(bench.situation())

    asyncio.run(test())
    assert bench.starts() == 2


def test_one_daemon_that_fails_does_not_stop_the_others(bench: Bench) -> None:
    async def test() -> None:
        failed, started = await bench.reconcile(bench.situation(), Unprepared(), Loop())
        fault = f"{bench.paths.run}/missing/file: No such file or directory"
        assert failed == Outcome("unprepared", fault=fault, again=True)
        assert started == Outcome("loop", disturbed=True)

    asyncio.run(test())


def test_what_supervisord_refuses_is_asked_for_again(
    bench: Bench, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def refused(_: str) -> None:
        raise NotSupervised("supervisord: SPAWN_ERROR: loop")  # no process could be forked

    async def test() -> None:
        with monkeypatch.context() as patch:
            patch.setattr(bench.supervision, "start", refused)
            outcome = Outcome("loop", fault="supervisord: SPAWN_ERROR: loop", again=True)
            assert await bench.reconcile(bench.situation()) == (outcome,)
        assert await bench.reconcile(bench.situation()) == (Outcome("loop", disturbed=True),)

    asyncio.run(test())


CPIO = Initrd(RamdiskFormat.CPIO)


def test_what_a_menu_offers_that_cannot_be_replaced_is_told_from_the_menu(tmp_path: Path) -> None:
    one, two = a_kernel("one", initrd=CPIO), a_kernel("two")
    situation = a_situation()
    paths = replace(situation.paths, boot=tmp_path)
    plan = menu.plan(Settings(), Catalog((one,)), (), None)
    situation = replace(situation, paths=paths, menu=plan)
    publish_boot_files(situation, Renderer(paths.templates))
    both = Catalog((two, one))
    assert still_offered(paths, both) == Catalog((one,))
    (paths.published / "boot.ipxe").unlink()
    assert still_offered(paths, both) == Catalog()


def test_menus_are_published_by_rename_and_only_when_they_change(tmp_path: Path) -> None:
    situation = a_situation()
    renderer = Renderer(situation.paths.templates)
    situation = replace(situation, paths=replace(situation.paths, boot=tmp_path))
    assert publish_boot_files(situation, renderer)
    script = tmp_path / "published/boot.ipxe"
    before = script.stat()
    assert not publish_boot_files(situation, renderer)
    assert script.stat().st_mtime_ns == before.st_mtime_ns
    assert before.st_mode & 0o777 == 0o644
