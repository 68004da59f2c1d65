"""Real firmware finds the boot server of an item by unicast, broadcast and multicast.

neopxe runs alone here, as its manual has it, beside the appliance's dhcpd and in.tftpd. What passes
is recorded; with CAPTURES=FOLDER in the environment it is kept (tests/unit/neopxe/captures).
"""

from __future__ import annotations

import io
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from scapy.layers.inet import IP, UDP
from scapy.utils import rdpcap

from tests.lab.capture import recording
from tests.lab.lab import Lab
from tests.lab.machine import Hardware
from tests.lab.stream import Stream
from tests.lab.transcript import Transcript
from tests.unit.neopxe.test_captures import CONFIGURATION, DISCOVERY, FILES, WHERE

# The recordings hold what is found here; to find it anew takes two minutes.
pytestmark = [pytest.mark.lab, pytest.mark.long]

SETTINGS = {
    "BOOTDROP_BIOS_LOADER": "pxelinux",
    "BOOTDROP_PROMPT_TIMEOUT": "1",  # else dhcpd tells UEFI its loader
}
HARDWARE = {"bios": Hardware("bios"), "uefi": Hardware("uefi", option_rom=False)}
BOOT = 60  # seconds
PXE = "udp and (port 67 or port 68 or port 4011)"
SUPERVISORCTL = "/opt/venv/bin/supervisorctl -s unix:///run/bootdrop/supervisor.sock"
START = """
printf %s "$1" >/tmp/neopxe.conf
echo $$ >/tmp/neopxe.pid
exec neopxe --config /tmp/neopxe.conf
"""


@contextmanager
def neopxe(lab: Lab, configuration: str) -> Iterator[Transcript]:
    """Run neopxe alone, as root since port 67 is a privileged one, until the end of the block."""
    status, said = supervise(lab, "stop neopxe")
    assert re.search("stopped|not running", said), (status, said)
    log = Transcript()
    stream = Stream(lab.appliance, ["sh", "-c", START, "sh", configuration], log.hear)
    try:
        log.wait_for(r"ready 192\.168\.10\.1:4011", 10)
        yield log
    finally:
        lab.exec_appliance(["sh", "-c", "kill $(cat /tmp/neopxe.pid)"])
        assert stream.ended.wait(10), log.text


def supervise(lab: Lab, verb: str) -> tuple[int, str]:
    return lab.exec_appliance(["sh", "-c", f"{SUPERVISORCTL} {verb}"])


@pytest.mark.parametrize("discovery", DISCOVERY)
@pytest.mark.parametrize("firmware", FILES)
def test_firmware_finds_the_server_where_the_menu_says_and_loads_its_file(
    shared_lab: Lab, firmware: str, discovery: str
) -> None:
    lab = shared_lab
    with (
        neopxe(lab, CONFIGURATION + DISCOVERY[discovery]) as log,
        recording(lab.network, PXE) as capture,
        lab.machine(HARDWARE[firmware]) as machine,
    ):
        log.wait_for(f"menu client={machine.hardware.mac}", BOOT)
        if discovery == "broadcast":
            # ISC dhcpd takes a broadcast discovery for a renewal and answers it as well. EDK2 tells
            # the two apart by siaddr alone, which is the same here.
            assert supervise(lab, "stop dhcpd")[0] == 0
        try:
            loaded = f"filename {FILES[firmware].decode()}"
            lab.feed.wait_event(
                lambda event: event.daemon == "tftpd" and loaded in event.text,
                BOOT,
                since=machine.powered_on,
            )
        finally:
            machine.power_off()
            supervise(lab, "start dhcpd")
            recorded = capture.stop()
    if folder := os.environ.get("CAPTURES"):
        Path(folder, f"{firmware}-{discovery}.pcap").write_bytes(recorded)
    asked = {(frame[IP].dst, frame[UDP].dport) for frame in rdpcap(io.BytesIO(recorded))}
    assert WHERE[discovery] in asked
