"""The lab itself: what the tests that use it rely on."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.feed import Event, WaitedInVain
from tests.lab.lab import Lab
from tests.lab.machine import Hardware, printed
from tests.lab.project import CHECKOUT, Project


def left_of(project: Project) -> list[str]:
    """What is there of a project: containers, volumes, networks, its folder."""
    label = f"label=com.docker.compose.project={project.name}"
    things: list[str] = []
    for listing in (["ps", "--all"], ["volume", "ls"], ["network", "ls"]):
        argv = ["docker", *listing, "--quiet", "--filter", label]
        things += subprocess.check_output(argv, text=True).split()
    return things + [str(project.folder)] * project.folder.exists()


def test_checkouts_side_by_side_share_neither_labs_nor_images(tmp_path: Path) -> None:
    here, there = Project("demo"), Project("demo", tmp_path)
    assert here.name != there.name
    assert here.image("appliance") != there.image("appliance")


def test_escape_sequences_are_no_text() -> None:
    assert printed("\x1b[2J\x1b[01;01H>>Start \x1b[0mPXE\r\n") == (">>Start PXE\n", "")


def test_an_escape_sequence_that_is_cut_waits_for_its_end() -> None:
    text, rest = printed("ok\x1b[0")
    assert (text, rest) == ("ok", "\x1b[0")
    assert printed(rest + "1;02Hgo") == ("go", "")


def test_a_prompt_that_ipxe_takes_back_stays_readable() -> None:
    assert printed("Press Ctrl-B..." + "\x08 \x08" * 15 + "next") == ("Press Ctrl-B...next", "")


def test_each_machine_has_an_address_of_its_own_in_the_range_of_qemu() -> None:
    addresses = {Hardware().mac for _ in range(50)}
    assert len(addresses) == 50
    assert all(address.startswith("52:54:00:") for address in addresses)


def is_about(mac: str) -> Callable[[Event], bool]:
    return lambda event: event.client == mac


@pytest.mark.lab
def test_two_labs_side_by_side_do_not_know_of_each_other(lab: Lab) -> None:
    with Lab(f"{lab.project.suffix}-2") as other:
        lab.up()
        other.up()
        (lab.boot / "kernels" / "notes.txt").write_text("no kernel\n")
        lab.wait_status(lambda status: [path for path, _ in status.refused] == ["notes.txt"], 30)
        assert other.wait_status(lambda status: status.state != "starting", 30).refused == ()
        first, second = lab.machine(), other.machine()
        with first, second:
            first.expect(r"SeaBIOS", 10)
            for machine, its_lab, foreign in ((first, lab, other), (second, other, lab)):
                mac = machine.hardware.mac
                machine.expect(rf"Configuring \(net0 {mac}\)", 30)
                its_lab.feed.wait_event(is_about(mac), 10)
                assert not [event for event in foreign.events if is_about(mac)(event)]
    assert left_of(other.project) == []


@pytest.mark.lab
def test_the_appliance_is_followed_through_a_kill_and_through_new_settings(lab: Lab) -> None:
    lab.up()
    first = lab.wait_status(lambda status: status.address == "192.168.10.1", 30)
    lab.kill_appliance()
    second = lab.wait_status(lambda status: status.address == "192.168.10.1", 30, time.time())
    assert second.time > first.time
    lab.restart({"BOOTDROP_HTTP_PORT": "8070"})
    lab.wait_status(lambda status: status.address == "192.168.10.1", 30, time.time())
    _, settings = lab.exec_appliance(["bootdrop", "settings"])
    assert "BOOTDROP_HTTP_PORT=8070" in settings.splitlines()


@pytest.mark.lab
def test_a_machine_that_goes_off_ends_what_waits_for_its_console(lab: Lab) -> None:
    lab.up()
    with lab.machine() as machine:
        machine.expect(r"SeaBIOS", 10)
        machine.power_off()
        start = time.monotonic()
        with pytest.raises(WaitedInVain, match=r"/never/ on the console: the machine went off"):
            machine.expect(r"never", 60)
        assert time.monotonic() - start < 1


@pytest.mark.lab
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_lab_that_is_ended_by_a_signal_leaves_nothing(
    lab_images: None, number: signal.Signals
) -> None:
    project = Project(f"signal-{number.name.lower()}")
    # SIGINT is put right as shells start background jobs with it ignored.
    script = f"""
import signal
signal.signal(signal.SIGINT, signal.default_int_handler)
from tests.lab.lab import Lab
from tests.lab.project import end_on_sigterm
end_on_sigterm()
with Lab({project.suffix!r}) as lab:
    lab.up()
    with lab.machine() as machine:
        machine.expect("SeaBIOS", 30)
        print("on", flush=True)
        machine.expect("never", 60)
"""
    with subprocess.Popen(
        [sys.executable, "-c", script], cwd=CHECKOUT, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "on\n"
        assert left_of(project)
        process.send_signal(number)
        assert process.wait(30) != 0
    assert left_of(project) == []


def test_project_names_differ_by_checkout_and_by_suffix(tmp_path: Path) -> None:
    projects = [Project(), Project("a"), Project("", tmp_path), Project("a", tmp_path)]
    assert len({project.name for project in projects}) == 4
