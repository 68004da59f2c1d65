"""Random and mutated packets against the real command: it goes on, counts all, and stays small."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from scapy.layers.inet import UDP
from scapy.utils import rdpcap

from appliance.neopxe import conf, packet
from appliance.neopxe.boot_menu import Reply, answer
from appliance.neopxe.packet import Option
from tests.unit.neopxe.requests import a_request
from tests.unit.neopxe.server import serving

CAPTURES = Path(__file__).parent / "captures"
UNTIL_SETTLED = 32  # packets: as many as any receive buffer holds
GROWTH = 1 << 20  # bytes, for all of them
LONG = [pytest.mark.long, pytest.mark.timeout(1800)]


def seeds() -> list[bytes]:
    """What firmware sends, and what we test with."""
    captured = [
        bytes(frame[UDP].payload)
        for file in sorted(CAPTURES.glob("*.pcap"))
        for frame in rdpcap(str(file))
    ]
    # Short ones: what follows the options is of no interest.
    ours = [packet.build(a_request(item=item)) for item in (None, b"\0\1\0\0", b"\0\0\x80\1")]
    return captured + ours


def hostile(chance: random.Random) -> Iterator[bytes]:
    valid = seeds()
    while True:
        data = bytearray(chance.choice(valid))
        kind = chance.randrange(6)
        if kind == 0:
            data = bytearray(chance.randbytes(chance.randrange(1500)))
        elif kind == 1:
            del data[chance.randrange(len(data)) :]
        elif kind == 2:
            data[240:] = chance.randbytes(chance.randrange(300))
        elif kind == 3:
            # A piece comes twice: options in pieces, longer than any one option may be.
            start = chance.randrange(240, len(data))
            data[start:start] = data[start : start + chance.randrange(300)] * chance.randrange(1, 4)
        else:
            for _ in range(chance.randrange(1, 8)):
                data[chance.randrange(len(data))] = chance.randrange(256)
        yield bytes(data)


LINES = st.one_of(
    st.builds(
        "service={},{},{},{}".format,
        st.integers(0, 70000),
        st.sampled_from(["192.168.10.1", "300.1.1.1", ""]),
        st.text("ax0./", max_size=140),
        st.text("Ab ,\u00e9", max_size=80),
    ),
    st.builds(
        "arch_file={},{},{}".format,
        st.integers(0, 5),
        st.sampled_from(["bios", "efi-x64", "ipxe", "x"]),
        st.text("ax0./", max_size=140),
    ),
    st.builds("prompt={}".format, st.text("P [", max_size=80)),
    st.builds("prompt_timeout={}".format, st.integers(0, 300)),
    st.sampled_from(["discovery=multicast", "multicast_addr=239.1.1.1", "#", "listen_67=eth0"]),
    st.text(max_size=20),
)


@given(st.lists(LINES, max_size=12), st.integers(0, 65535), st.booleans(), st.integers(0, 65535))
@example([f"service={type_},10.0.0.1,a,{'x' * 69}" for type_ in (1, 2)], 0, False, 1)
def test_what_the_reader_takes_can_be_answered_to_every_machine(
    lines: list[str], architecture: int, ipxe: bool, item: int
) -> None:
    try:
        configuration = conf.parse("\n".join(["ip_addr=192.168.10.1", *lines]))
    except conf.BadConfiguration as bad:
        assert bad.problems
        return
    user_class = {Option.USER_CLASS: b"iPXE"} if ipxe else {}
    for wanted in (None, item.to_bytes(2, "big") + b"\0\0"):
        request = a_request(item=wanted, arch=architecture)
        request = replace(request, options={**request.options, **user_class})
        reply = answer(configuration, request)
        if isinstance(reply, Reply):
            assert packet.parse(packet.build(reply.packet)) == reply.packet
        else:
            assert reply.reason


def counted(log: list[str]) -> int:
    answered = sum(line.startswith(("menu ", "answer ")) for line in log)
    answered += sum(int(line.split()[1]) for line in log if line.startswith("answered "))
    dropped = (
        sum(map(int, re.findall(r"(\d+) x ", line))) for line in log if line.startswith("dropped ")
    )
    return answered + sum(dropped)


@pytest.mark.parametrize("packets", [20_000, pytest.param(1_000_000, marks=LONG)])
def test_no_packet_ends_it_or_makes_it_grow_and_each_one_is_counted(
    tmp_path: Path, packets: int
) -> None:
    sent = 0
    with serving(tmp_path) as running:
        before = 0
        for data in hostile(random.Random(0)):
            running.client.send(data)
            sent += 1
            if sent % UNTIL_SETTLED == 0:
                running.settle()
                sent += 1
                if not before and sent > packets / 10:
                    before = running.resident()
            if sent >= packets:
                break
        running.settle()
        assert running.resident() - before < GROWTH
        assert counted(running.end()) == sent + 1
