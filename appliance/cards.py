"""The network cards that machines were seen with, remembered over restarts."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path, PurePosixPath

from appliance.bounded import put
from appliance.events.hub import Event
from appliance.files import read_file, replace_file
from appliance.menu.nic_drivers import is_card

_FILE = PurePosixPath("nics.json")
# Anybody can claim any address and any card: those that were heard last are kept.
_MOST = 1024  # machines
_MOST_KINDS = 32  # of cards, each of which every kernel is asked about
_LONGEST = _MOST * 64  # bytes of the file
_MAC = re.compile(r"[0-9a-f]{2}(:[0-9a-f]{2}){5}")


class Cards:
    """Which machine has which card; `folder` is that of the state."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._cards = _read(folder)  # by hardware address, the one heard last at the end

    @property
    def seen(self) -> Mapping[str, str]:
        """Return each card, as "8086:15f3", with the hardware address of a machine that has it.

        Of machines with the same card it is the one heard last, of many kinds of cards those.
        """
        kinds: dict[str, str] = {}
        for mac, card in reversed(self._cards.items()):
            if len(kinds) == _MOST_KINDS:
                break
            kinds.setdefault(card, mac)
        return kinds

    def hear(self, event: Event) -> bool:
        """Take in what an event tells of a card; return whether that is news."""
        if not event.card:
            return False
        before = self._cards.get(event.client)
        put(self._cards, event.client, event.card, _MOST)
        return before != event.card

    def save(self) -> None:
        """Write what is known to the state volume. Raises OSError."""
        text = json.dumps(self._cards, indent=1) + "\n"
        replace_file(self._folder, _FILE, text.encode())


def _read(folder: Path) -> dict[str, str]:
    """Return what an earlier life wrote; nothing where that is missing or broken."""
    content = read_file(folder, _FILE, _LONGEST)
    try:
        known = json.loads(content or b"{}")
    except ValueError:
        return {}
    if not isinstance(known, dict):
        return {}
    return {
        mac: card
        for mac, card in known.items()
        if _MAC.fullmatch(mac) and isinstance(card, str) and is_card(card)
    }
