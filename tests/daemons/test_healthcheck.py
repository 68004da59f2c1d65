"""Docker's own view of the container: healthy, and unhealthy when it should be."""

from __future__ import annotations

import time

import pytest

from tests.lab.lab import Lab

pytestmark = pytest.mark.lab


def wait_health(lab: Lab, state: str, since: float, timeout: int) -> str:
    """Wait until the engine calls the container healthy or unhealthy; return the last check's word.

    `since` and `timeout` in seconds: the event must come after `since` (epoch), within `timeout`.
    """
    container = lab.appliance
    events = lab.docker.events(
        decode=True,
        since=int(since),
        until=int(time.time()) + timeout,
        filters={"container": container.id},
    )
    for event in events:
        if event["status"] == f"health_status: {state}" and event["timeNano"] / 1e9 > since:
            events.close()
            container.reload()
            return str(container.attrs["State"]["Health"]["Log"][-1]["Output"])
    container.reload()
    pytest.fail(f"not {state} within {timeout} s: {container.attrs['State']['Health']}")


def signal(lab: Lab, name: str, program: str) -> float:
    """Send a signal to a program of supervisord; return when."""
    sent = time.time()
    command = "/opt/venv/bin/python -m supervisor.supervisorctl"
    command += f" -s unix:///run/bootdrop/supervisor.sock pid {program}"
    status, said = lab.exec_appliance(["sh", "-c", f"kill -{name} $({command})"])
    assert status == 0, said
    return sent


def test_the_container_is_healthy_as_long_as_everything_serves(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("BOOTDROP_LAB_HEALTH_INTERVAL", "1s")
    started = time.time()
    lab.up()
    assert wait_health(lab, "healthy", started, 30) == "ready\n"

    # The orchestrator hangs, and its socket is still there.
    stopped = signal(lab, "STOP", "orchestrator")
    said = wait_health(lab, "unhealthy", stopped, 30)
    assert said == "the orchestrator does not answer within 3 s\n"
    assert wait_health(lab, "healthy", signal(lab, "CONT", "orchestrator"), 30) == "ready\n"

    # A daemon that runs and does not serve: the next probe tells.
    stopped = signal(lab, "STOP", "nginx")
    said = wait_health(lab, "unhealthy", stopped, 60)
    assert said.startswith("degraded: nginx: no HTTP from 192.168.10.1:8069")
    assert wait_health(lab, "healthy", signal(lab, "CONT", "nginx"), 30) == "ready\n"
