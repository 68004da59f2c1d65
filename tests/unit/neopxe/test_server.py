from __future__ import annotations

import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import pytest

from appliance.neopxe import packet
from tests.unit.neopxe.requests import ARTICLE, a_request

CHECKOUT = Path(__file__).parents[3]


def neopxe(*arguments: str) -> list[str]:
    return [sys.executable, "-m", "appliance.neopxe", *arguments]


@dataclass(frozen=True)
class Running:
    process: subprocess.Popen[str]
    log: IO[str]
    client: socket.socket

    def ask(self, data: bytes) -> bytes:
        self.client.send(data)
        return self.client.recv(65535)


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    file = tmp_path / "neopxe.conf"
    file.write_text(ARTICLE.replace("192.168.10.1", "127.0.0.1"))
    return file


@pytest.fixture
def running(configuration: Path) -> Iterator[Running]:
    argv = neopxe("--config", str(configuration), "--port", "0")
    process = subprocess.Popen(argv, cwd=CHECKOUT, stderr=subprocess.PIPE, text=True)
    assert process.stderr is not None
    ready = re.fullmatch(r"ready 127\.0\.0\.1:(\d+)\n", process.stderr.readline())
    assert ready
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10)
        client.connect(("127.0.0.1", int(ready[1])))
        yield Running(process, process.stderr, client)
    process.kill()
    process.wait()
    process.stderr.close()


def test_an_item_is_answered_to_the_port_that_asked(running: Running) -> None:
    reply = packet.parse(running.ask(packet.build(a_request(item=b"\0\1\0\0"))))
    assert reply.file == b"pxelinux.0"
    assert running.log.readline() == (
        "answer client=52:54:00:12:34:56 address=192.168.10.10 arch=bios item=1 file=pxelinux.0\n"
    )


def test_hostile_packets_are_counted_and_good_ones_still_answered(running: Running) -> None:
    for garbage in (b"", b"\0" * 240, b"x" * 1400, packet.build(a_request(item=b"\0\7\0\0"))):
        running.client.send(garbage)
    assert packet.parse(running.ask(packet.build(a_request()))).op == 2
    assert running.log.readline().startswith("dropped 1 x 0 bytes")
    assert running.log.readline().startswith("menu client=52:54:00:12:34:56")


def test_it_ends_at_once_and_cleanly_when_it_is_told_to(running: Running) -> None:
    running.process.send_signal(signal.SIGTERM)
    assert running.process.wait(10) == 0


def test_a_wrong_configuration_is_told_with_file_line_and_column(configuration: Path) -> None:
    configuration.write_text("ip_addr=nowhere\n")
    ended = subprocess.run(
        neopxe("--config", str(configuration), "--check"),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (
        2,
        f"{configuration}:1:9: 'nowhere' is not an IPv4 address\n",
    )


def test_a_port_that_is_taken_is_one_line(running: Running, configuration: Path) -> None:
    port = running.client.getpeername()[1]
    ended = subprocess.run(
        neopxe("--config", str(configuration), "--port", str(port)),
        cwd=CHECKOUT,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (ended.returncode, ended.stderr) == (
        1,
        f"neopxe: 127.0.0.1:{port}: cannot listen on UDP: Address already in use\n",
    )
