from __future__ import annotations

import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from appliance.neopxe import packet
from appliance.neopxe.boot_menu import Reply
from appliance.neopxe.server import Answers, Drops
from tests.unit.neopxe.requests import a_request
from tests.unit.neopxe.server import CHECKOUT, ON_LOOPBACK, Running, neopxe, serving

ITEM_1 = packet.build(a_request(item=b"\0\1\0\0"))
ANSWERED = "answer client=52:54:00:12:34:56 address=192.168.10.10 arch=bios item=1 file=pxelinux.0"
MENU = "menu client=52:54:00:12:34:56 address=192.168.10.10 arch=bios"


@pytest.fixture
def running(tmp_path: Path) -> Iterator[Running]:
    with serving(tmp_path) as running:
        yield running


def tell(configuration: str, folder: Path, *arguments: str) -> tuple[int, str]:
    """Run the command to its end; return its exit status and what it said."""
    file = folder / "another.conf"
    file.write_text(configuration)
    argv = neopxe("--config", str(file), *arguments)
    ended = subprocess.run(
        argv, cwd=CHECKOUT, capture_output=True, text=True, check=False, timeout=10
    )
    return ended.returncode, ended.stderr.replace(str(file), "FILE")


def test_an_item_is_answered_to_the_port_that_asked(running: Running) -> None:
    assert packet.parse(running.ask(ITEM_1)).file == b"pxelinux.0"
    assert running.end() == [ANSWERED]


def test_hostile_packets_are_counted_and_good_ones_still_answered(running: Running) -> None:
    for garbage in (b"", b"\0" * 240, b"x" * 1400, packet.build(a_request(item=b"\0\7\0\0"))):
        running.client.send(garbage)
    running.settle()
    *dropped, answered = sorted(running.end())
    assert answered == MENU
    assert sorted("; ".join(each.removeprefix("dropped ") for each in dropped).split("; ")) == [
        "1 x 0 bytes, a DHCP packet has at least 240",
        "1 x item 7: not in the menu",
        "2 x no DHCP magic cookie after the header",
    ]


def test_an_answer_that_cannot_be_sent_is_counted_and_the_next_one_goes_out(
    running: Running,
) -> None:
    # A relay beyond loopback: the kernel lets nothing from 127.0.0.1 go there.
    relayed = bytearray(ITEM_1)
    relayed[24:28] = bytes([192, 0, 2, 1])
    running.client.send(relayed)
    running.settle()
    assert sorted(running.end()) == ["dropped 1 x answer cannot be sent: Invalid argument", MENU]


def test_a_client_that_is_gone_before_the_answer_changes_nothing(running: Running) -> None:
    for _ in range(10):
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as gone:
            gone.sendto(ITEM_1, ("127.0.0.1", running.port))
    running.settle()
    assert running.end() == [ANSWERED] * 10 + [MENU]


def test_a_discovery_by_multicast_is_answered(tmp_path: Path) -> None:
    more = "discovery=multicast\nmulticast_addr=239.255.40.11\n"
    with (
        serving(tmp_path, ON_LOOPBACK + more) as running,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        client.settimeout(10)
        client.bind(("127.0.0.1", 0))
        client.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton("127.0.0.1"))
        client.sendto(ITEM_1, ("239.255.40.11", running.port))
        reply, source = client.recvfrom(65535)
        assert source == ("127.0.0.1", running.port)
    assert packet.parse(reply).file == b"pxelinux.0"


def test_it_ends_at_once_and_cleanly_when_it_is_told_to(running: Running) -> None:
    assert running.end() == []


@contextmanager
def ended_at_last(process: subprocess.Popen[str]) -> Iterator[None]:
    """End a process that a failed test leaves: else its context waits for it for ever."""
    try:
        yield
    finally:
        process.kill()


def test_a_new_configuration_is_taken_up_and_a_wrong_one_is_not(tmp_path: Path) -> None:
    file = tmp_path / "neopxe.conf"
    file.write_text(ON_LOOPBACK)
    argv = neopxe("--config", str(file), "--port", "0")
    with (
        subprocess.Popen(argv, cwd=CHECKOUT, stderr=subprocess.PIPE, text=True) as process,
        ended_at_last(process),
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client,
    ):
        assert process.stderr is not None
        ready = process.stderr.readline()
        client.settimeout(10)
        client.connect(("127.0.0.1", int(ready.rpartition(":")[2])))
        file.write_text(ON_LOOPBACK.replace("pxelinux.0", "other.0"))
        process.send_signal(signal.SIGHUP)
        assert process.stderr.readline() == ready
        client.send(ITEM_1)
        assert packet.parse(client.recv(4096)).file == b"other.0"
        file.write_text("nonsense\n")
        process.send_signal(signal.SIGHUP)
        lines = [process.stderr.readline() for _ in range(4)]
        assert lines[1].startswith(f"{file}:1:1: no `=`; a line is `key=value`")
        assert lines[2:] == ["neopxe: the configuration from before stays\n", ready]
        client.send(ITEM_1)
        assert packet.parse(client.recv(4096)).file == b"other.0"
        process.terminate()
        assert process.wait(10) == 0


def test_a_wrong_configuration_is_told_with_file_line_and_column(tmp_path: Path) -> None:
    assert tell("ip_addr=nowhere\n", tmp_path, "--check") == (
        2,
        "FILE:1:9: 'nowhere' is not an IPv4 address\n",
    )


def test_a_port_that_is_taken_is_one_line(running: Running, tmp_path: Path) -> None:
    port = running.port
    assert tell(ON_LOOPBACK, tmp_path, "--port", str(port)) == (
        1,
        f"neopxe: 127.0.0.1:{port}: cannot listen on UDP: Address already in use\n",
    )


def test_an_interface_that_is_not_there_is_one_line(tmp_path: Path) -> None:
    assert tell(ON_LOOPBACK + "listen_67=nowhere0\n", tmp_path, "--port", "0") == (
        1,
        "neopxe: 0.0.0.0:67 on nowhere0: cannot listen on UDP: No such device\n",
    )


def test_answers_have_a_line_each_but_for_a_flood() -> None:
    answers = Answers()
    reply = Reply(a_request(), architecture=0)
    lines = [line for _ in range(700) for line in answers.tell(reply, 100.0)]
    assert lines == 500 * [reply.summary]
    assert answers.tell(reply, 101.0) == ["answered 200 more", reply.summary]
    assert answers.rest() == []


def test_drops_are_told_at_once_and_then_every_ten_seconds() -> None:
    drops = Drops()
    assert drops.due_in(100) is None
    drops.add("noise")
    assert drops.due_in(100) == 0
    assert drops.tell(100) == "dropped 1 x noise"
    drops.add("noise")
    drops.add("noise")
    assert [drops.due_in(now) for now in (101, 110, 200)] == [9, 0, 0]
    assert drops.tell(110) == "dropped 2 x noise"
    assert drops.due_in(110) is None


def test_reasons_without_end_take_memory_with_an_end_and_none_is_uncounted() -> None:
    drops = Drops()
    for number in range(100_000):
        drops.add(f"item {number}: not in the menu")
    assert len(drops.counts) == 51
    assert drops.tell(0) == (
        "dropped 99950 x other reasons; 1 x item 0: not in the menu; 1 x item 1: not in the menu;"
        " 1 x item 2: not in the menu; 1 x item 3: not in the menu; 46 x further reasons"
    )
