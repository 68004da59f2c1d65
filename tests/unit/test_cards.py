from __future__ import annotations

import json
from pathlib import Path

import pytest

from appliance.cards import Cards
from appliance.events.hub import Event

MAC, OTHER = "52:54:00:12:34:56", "52:54:00:12:34:57"
IGC, VIRTIO = "8086:15f3", "1af4:1000"


def heard(mac: str, card: str) -> Event:
    return Event("dhcpd", f"stage=ipxe mac={mac} card={card}", "dhcp", mac, card)


def test_a_machines_card_is_known_after_a_restart(tmp_path: Path) -> None:
    cards = Cards(tmp_path)
    assert cards.hear(heard(MAC, IGC))
    cards.save()
    again = Cards(tmp_path)
    assert again.seen == {IGC: MAC}
    assert not again.hear(heard(MAC, IGC))


def test_a_machine_may_get_another_card(tmp_path: Path) -> None:
    cards = Cards(tmp_path)
    cards.hear(heard(MAC, IGC))
    assert cards.hear(heard(MAC, VIRTIO))
    assert cards.seen == {VIRTIO: MAC}


def test_of_machines_with_one_card_the_last_one_is_named(tmp_path: Path) -> None:
    cards = Cards(tmp_path)
    for mac in (MAC, OTHER, MAC):
        cards.hear(heard(mac, IGC))
    assert cards.seen == {IGC: MAC}


def test_an_event_without_a_card_tells_nothing(tmp_path: Path) -> None:
    cards = Cards(tmp_path)
    assert not cards.hear(Event("dhcpd", "DHCPACK", "dhcp", MAC))
    assert cards.seen == {}


def test_forged_machines_fill_neither_memory_nor_disk(tmp_path: Path) -> None:
    cards = Cards(tmp_path)
    for number in range(5000):
        cards.hear(heard(f"02:00:00:00:{number >> 8:02x}:{number & 255:02x}", f"8086:{number:04x}"))
    cards.save()
    file = tmp_path / "nics.json"
    assert len(json.loads(file.read_text())) == 1024
    assert file.stat().st_size < 64 * 1024
    assert list(cards.seen) == [f"8086:{number:04x}" for number in range(4999, 4967, -1)]
    assert Cards(tmp_path).seen == cards.seen


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"\xff",
        b"[]",
        b"{",
        b"[" * 100_000,
        b'{"52:54:00:12:34:56": 5}',
        b'{"52:54:00:12:34:56": "8086:15f3\\n"}',
        b'{"\\u001b[2J": "8086:15f3"}',
        b" " * 70_000 + b"{}",
    ],
)
def test_a_broken_file_is_as_none(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "nics.json").write_bytes(content)
    assert Cards(tmp_path).seen == {}


def test_a_link_in_the_place_of_the_file_is_not_followed(tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.write_text(json.dumps({MAC: IGC}))
    (tmp_path / "nics.json").symlink_to(elsewhere)
    cards = Cards(tmp_path)
    assert cards.seen == {}
    cards.hear(heard(OTHER, VIRTIO))
    cards.save()
    assert json.loads(elsewhere.read_text()) == {MAC: IGC}
    assert Cards(tmp_path).seen == {VIRTIO: OTHER}
