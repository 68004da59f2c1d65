"""The running container: what it says, what it serves, what it survives."""

from __future__ import annotations

import hashlib
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemons.squatters import beside, lab_exec
from tests.lab.feed import Event, Status
from tests.lab.lab import Lab
from tests.lab.project import Project

pytestmark = pytest.mark.lab

SETTINGS = {
    "BOOTDROP_MENU_TIMEOUT": "3",
    "BOOTDROP_RARP_HOSTS": "52:54:00:00:0a:01=192.168.10.5",
}


def refused(lab: Lab, path: str) -> str:
    """Return why a file is not served, once that is known."""
    status = lab.wait_status(lambda status: path in dict(status.refused), 10)
    return dict(status.refused)[path]


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def test_every_daemon_serves_on_the_one_interface(shared_lab: Lab) -> None:
    assert shared_lab.wait_ready().address == "192.168.10.1"
    status, said = shared_lab.exec_appliance(["bootdrop", "status"])
    assert status == 0
    phases = dict(line.split()[:2] for line in said.splitlines() if line.startswith("  "))
    serving = {"nginx", "tftpd", "neopxe", "radvd", "rarpd", "dhcpd"}
    assert {name for name, phase in phases.items() if phase == "serving"} == serving
    # There is no root that could be served.
    idle = {"rpcbind", "ganesha", "nfsdcld", "mountd", "nfsd"}
    assert {name for name, phase in phases.items() if phase == "idle:"} == idle


def test_what_is_no_kernel_is_named_with_its_reason_and_never_offered(
    empty_lab: Lab, test_kernel: Path
) -> None:
    whole = test_kernel.read_bytes()
    folder = empty_lab.boot / "kernels"
    (folder / "half").write_bytes(whole[: len(whole) // 2])
    (folder / "notes.txt").write_text("remember the milk\n")
    (folder / "install.sh").write_text("#!/bin/sh\nexit 0\n")
    (folder / "empty").touch()
    assert refused(empty_lab, "half") == (
        f"cut short: {len(whole) // 2} of at least {len(whole)} bytes are there; copy it again"
    )
    assert "text" in refused(empty_lab, "notes.txt")
    assert "shell script" in refused(empty_lab, "install.sh")
    assert "empty" in refused(empty_lab, "empty")
    assert empty_lab.wait_ready().kernels == ()
    _, said = empty_lab.exec_appliance(["bootdrop", "kernels"])
    assert "  install.sh: a shell script, not a kernel" in said.splitlines()


def test_a_download_goes_on_whole_while_its_kernel_is_overwritten_and_removed(
    empty_lab: Lab, drop: Callable[..., None], test_kernel_dir: Path
) -> None:
    first = next(test_kernel_dir.glob("bzImage-*-labtest"))
    second = next(test_kernel_dir.glob("bzImage-*-noroot"))
    drop(first, "bzImage")
    lab = str(empty_lab.network.id)
    (path,) = (empty_lab.boot / "published" / "kernels" / "bzImage").glob("*/kernel")
    url = f"http://192.168.10.1:8069/{path.relative_to(empty_lab.boot / 'published')}"
    # Three seconds at this rate: long enough for both changes to be published in the meantime.
    rate = first.stat().st_size // 3
    argv = ["docker", "exec", lab, "curl", "--silent", "--limit-rate", str(rate), url]
    with subprocess.Popen(argv, stdout=subprocess.PIPE) as download:
        assert download.stdout is not None
        got = download.stdout.read(1)
        empty_lab.drop(second, "bzImage")
        empty_lab.wait_status(lambda status: version_of(second) in status.default, 10)
        empty_lab.remove("bzImage")
        empty_lab.wait_status(lambda status: status.kernels == (), 10)
        got += download.stdout.read()
    assert sha256(got) == sha256(first.read_bytes())


def version_of(kernel: Path) -> str:
    return kernel.name.removeprefix("bzImage-")


def is_line(event: Event, daemon: str, beginning: str, since: float) -> bool:
    return event.daemon == daemon and event.text.startswith(beginning) and event.time > since


def test_a_volume_that_is_closed_to_others_is_told_with_what_to_do(shared_lab: Lab) -> None:
    shared_lab.wait_ready()
    shared_lab.boot.chmod(0o700)
    shared_lab.exec_appliance(["sh", "-c", f"kill -KILL {pids(shared_lab)['nginx']}"])
    status = shared_lab.wait_status(is_degraded, 20)
    assert status.reasons == (
        "nginx: /srv/boot is closed to its user www-data; chmod o+x boot on the host",
    )
    opened = time.time()
    shared_lab.boot.chmod(0o755)
    shared_lab.wait_ready(10, since=opened)


def test_the_orchestrator_that_is_killed_comes_back_and_disturbs_no_machine(
    shared_lab: Lab,
) -> None:
    shared_lab.wait_ready()
    before = pids(shared_lab)
    killed = time.time()
    shared_lab.exec_appliance(["sh", "-c", f"kill -KILL {before.pop('serve')}"])
    shared_lab.wait_ready(20, since=killed)
    after = pids(shared_lab)
    assert {name: after[name] for name in ("dhcpd", "nginx", "neopxe")} == {
        name: before[name] for name in ("dhcpd", "nginx", "neopxe")
    }


def pids(lab: Lab) -> dict[str, str]:
    """Return the process of each daemon, and of the orchestrator as `serve`."""
    words = "dhcpd|nginx|radvd|neopxe|in.tftpd|serve"
    script = 'for p in /proc/[0-9]*; do echo "${p#/proc/} $(tr "\\0" " " <$p/cmdline)"; done'
    _, said = lab.exec_appliance(["sh", "-c", script])
    found: dict[str, str] = {}
    for line in said.splitlines():
        pid, _, command = line.partition(" ")
        for word in words.split("|"):
            if word in command and "/proc/" not in command and "supervisord" not in command:
                found.setdefault(word, pid)
    return found


def test_render_writes_what_daemons_and_machines_get(
    empty_lab: Lab, drop: Callable[..., None], test_kernel: Path
) -> None:
    drop(test_kernel, "bzImage")
    script = (
        "bootdrop render /tmp/out && diff -r /tmp/out/etc /run/bootdrop/etc "
        "-x supervisord.conf && cat /tmp/out/tftp/boot.ipxe"
    )
    status, said = empty_lab.exec_appliance(["sh", "-c", script])
    assert status == 0, said
    assert said.endswith((empty_lab.boot / "published" / "boot.ipxe").read_text())


def test_another_routers_advertisements_silence_ours(shared_lab: Lab) -> None:
    shared_lab.wait_ready()
    configuration = (
        "interface cable0 { AdvSendAdvert on; MinRtrAdvInterval 3; MaxRtrAdvInterval 4; };"
    )
    # The far end of the bridge's cable: a router, as br0 hears it.
    script = f"echo '{configuration}' >/tmp/radvd.conf; exec radvd -n -m stderr -C /tmp/radvd.conf"
    script += " -p /tmp/radvd.pid"
    with beside(shared_lab, script):
        silenced = shared_lab.feed.wait_event(
            lambda event: event.daemon == "radvd" and "another router advertises" in event.text, 20
        )
        assert "fe80::" in silenced.text
    # Silence is no fault.
    assert shared_lab.wait_ready().reasons == ()


def test_without_an_interface_the_log_says_what_to_put_into_env_and_http_runs(lab: Lab) -> None:
    lab.up({"BOOTDROP_INTERFACE": ""})
    status = lab.wait_status(is_degraded, 30)
    (reason,) = status.reasons
    assert "put BOOTDROP_INTERFACE=NAME into .env" in reason
    assert "br0 (192.168.10.1/24)" in reason
    lab.wait_status(lambda status: "nginx" in status.serving, 10)
    _, said = lab.exec_appliance(["bootdrop", "status"])
    assert "dhcpd    idle: no network to boot on" in said


def is_degraded(status: Status) -> bool:
    return status.state == "degraded"


def test_a_network_that_comes_later_is_waited_for(lab: Lab) -> None:
    lab.up({"BOOTDROP_INTERFACE": "late0"})
    reason = lab.wait_status(is_degraded, 30).reasons[0]
    assert "BOOTDROP_INTERFACE=late0: there is no such interface (waiting for it)" in reason
    lab_exec(
        lab,
        "ip link add late0 type veth peer name late1; ip link set late1 up; ip link set late0 up",
    )
    lab.wait_status(lambda status: "late0 has no IPv4 address" in "".join(status.reasons), 10)
    lab_exec(lab, "ip address add 10.9.8.1/24 dev late0")
    assert lab.wait_ready(20).address == "10.9.8.1"
    lab_exec(lab, "ip link del late0")
    lab.wait_status(lambda status: "no such interface" in "".join(status.reasons), 10)
    # Made anew at once, it has its name and its address, but a socket on the old one is deaf.
    make = "ip link add late0 type veth peer name late1 && ip link set late1 up && "
    make += "ip link set late0 up && ip address add 10.9.8.1/24 dev late0"
    lab_exec(lab, make)
    lab.wait_ready(20, since=time.time())
    made_anew = time.time()
    lab_exec(lab, f"ip link del late0 && {make}")
    lab.feed.wait_event(lambda event: is_line(event, "dhcpd", "Listening on", made_anew), 20)
    assert lab.wait_ready(20, since=made_anew).reasons == ()


@pytest.mark.parametrize(
    ("name", "value"),
    [("BOOTDROP_HTTP_PORT", "eighty"), ("BOOTDROP_INTERFCE", "eth1")],
)
def test_a_broken_setting_is_one_line_and_exit_status_2(
    lab_images: None, name: str, value: str
) -> None:
    argv = ["docker", "run", "--rm", "--network=none", f"--env={name}={value}"]
    ended = subprocess.run(
        [*argv, Project().image("appliance")], capture_output=True, text=True, check=False
    )
    assert ended.returncode == 2
    assert ended.stdout == ""
    (line,) = ended.stderr.splitlines()
    assert line.startswith(f"bootdrop: {name}={value}: ")
