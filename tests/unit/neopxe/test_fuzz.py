"""Random and mutated packets against the real command: it goes on, counts all, and stays small."""

from __future__ import annotations

import random
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from scapy.layers.inet import UDP
from scapy.utils import rdpcap

from appliance.neopxe import packet
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
