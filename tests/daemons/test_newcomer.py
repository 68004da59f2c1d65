"""The first `docker compose up`, with something wrong: one line says what to do."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

READ_ONLY = """
services:
  appliance:
    volumes: ["{boot}:/srv/boot:ro"]
"""
FULL = """
services:
  appliance:
    volumes: ["boot:/srv/boot"]
volumes:
  boot:
    driver_opts: {{type: tmpfs, device: tmpfs, o: size=1m}}
"""


@pytest.mark.parametrize(
    ("settings", "compose", "line"),
    [
        pytest.param(
            {"BOOTDROP_INTERFACE": ""},
            "",
            r"no interface is named, so nothing speaks DHCP; put BOOTDROP_INTERFACE=NAME into \.env"
            r" and run `docker compose up -d`; here are: .*br0 \(192\.168\.10\.1/24\).*",
            id="no settings at all",
        ),
        pytest.param(
            {"BOOTDROP_INTERFACE": "rb0"},
            "",
            r"BOOTDROP_INTERFACE=rb0: there is no such interface \(waiting for it\); here are: .*",
            id="interface misspelt",
        ),
        pytest.param(
            {"BOOTDROP_DHCP_RANGE": "192.168.20.10-192.168.20.90"},
            "",
            r"BOOTDROP_DHCP_RANGE=192\.168\.20\.10-192\.168\.20\.90: outside of the subnet "
            r"192\.168\.10\.0/24; allowed: .*",
            id="range outside of the subnet",
        ),
        pytest.param(
            {"BOOTDROP_DHCP_RANGE": "192.168.10.1-192.168.10.90"},
            "",
            r"BOOTDROP_DHCP_RANGE=192\.168\.10\.1-192\.168\.10\.90: holds the server's own address "
            r"192\.168\.10\.1; allowed: .*",
            id="range that holds the server",
        ),
        pytest.param(
            {},
            READ_ONLY,
            r"/srv/boot\S* \(boot\S* on the host\): the volume is read-only: mount it writable",
            id="volume read-only",
        ),
        pytest.param(
            {},
            FULL,
            r"/srv/boot\S* \(boot\S* on the host\): no space is left on the volume: .*",
            id="volume full",
        ),
    ],
)
def test_what_is_wrong_is_one_line_in_the_log_and_in_the_status(
    lab: Lab, settings: dict[str, str], compose: str, line: str
) -> None:
    lab.up(settings, compose=compose.format(boot=Path(lab.boot).resolve()))
    status = lab.wait_status(lambda status: status.state == "degraded", 30)
    assert len(status.reasons) == 1
    assert re.fullmatch(line, status.reasons[0])
    said = [each for each in lab.logs().splitlines() if re.search(line, each)]
    assert said == [f"bootdrop: {status.reasons[0]}"]
    assert "Traceback" not in lab.logs()
    _, shown = lab.exec_appliance(["bootdrop", "status"])
    assert f"  ! {status.reasons[0]}" in shown.splitlines()
