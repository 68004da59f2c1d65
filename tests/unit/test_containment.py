from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import Path

import pytest

from appliance.daemons import ALL
from appliance.daemons.base import Daemon, Program
from appliance.daemons.containment import confine
from appliance.hosts import Host
from appliance.settings import Settings
from tests.unit.builders import a_situation

SITUATION = a_situation(
    Settings(
        interface="eth1",
        rarp_hosts=(Host("52:54:00:12:34:56", IPv4Address("192.168.10.5")),),
    )
)
KERNELS = ("nfsd", "mountd", "nfsdcld")  # whose files in /proc and rpc_pipefs are root's
EVERY_DAEMON = pytest.mark.parametrize("daemon", ALL, ids=lambda daemon: daemon.name)


def test_a_program_keeps_its_user_its_capabilities_and_its_files() -> None:
    program = Program(
        ("daemon", "--serve"),
        user="someone",
        group="nogroup",
        capabilities=("net_raw",),
        reads=(Path("/srv/shown"),),
        writes=(Path("/run/own"),),
    )
    line = " ".join(confine(program, landlock=True))
    assert line.startswith("setpriv --no-new-privs --reuid someone --regid nogroup --clear-groups")
    assert " --inh-caps -all,+net_raw --ambient-caps -all,+net_raw " in line
    assert " path-beneath:execute,read-file,read-dir:/srv/shown " in line
    assert "write-file,make-reg,remove-file,make-dir,remove-dir:/run/own " in line
    assert line.endswith(" daemon --serve")


def test_without_landlock_the_user_remains() -> None:
    program = Program(("daemon",), user="someone", reads=(Path("/srv"),))
    assert confine(program, landlock=False) == [
        *("setpriv", "--no-new-privs", "--reuid", "someone", "--regid", "someone"),
        *("--clear-groups", "--inh-caps", "-all", "--ambient-caps", "-all", "daemon"),
    ]


def test_root_keeps_no_more_than_it_names() -> None:
    program = Program(("daemon",), capabilities=("chown", "mknod"))
    assert confine(program, landlock=False) == [
        *("setpriv", "--no-new-privs", "--bounding-set", "-all,+chown,+mknod"),
        *("--inh-caps", "-all", "daemon"),
    ]


@EVERY_DAEMON
def test_no_daemon_may_read_the_drop_folder_or_all_of_the_volume(daemon: Daemon) -> None:
    program, paths = daemon.program(SITUATION), SITUATION.paths
    for allowed in (*program.reads, *program.writes):
        assert not paths.kernels.is_relative_to(allowed)
        assert not (paths.boot / "clients").is_relative_to(allowed)


@EVERY_DAEMON
def test_few_start_as_root_and_no_daemon_writes_to_the_volume(daemon: Daemon) -> None:
    program = daemon.program(SITUATION)
    assert (program.user is None) == (daemon.name in ("tftpd", "rpcbind", "ganesha", *KERNELS))
    assert bool(program.unconfined) == (daemon.name in ("rpcbind", "ganesha"))
    assert not [path for path in program.writes if path.is_relative_to(SITUATION.paths.boot)]
