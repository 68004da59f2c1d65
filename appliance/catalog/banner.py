"""The version of a kernel that has no header for it: the first line that it will print."""

from __future__ import annotations

import re
from collections.abc import Iterable

from appliance.catalog.model import UNKNOWN_VERSION

# init/version.c: `Linux version UTS_RELEASE (user@host) …`; the release has 64 bytes at most.
_BANNER = re.compile(rb"Linux version ([0-9][0-9A-Za-z._+~:@-]{0,63}) \(")
_LONGEST = len("Linux version ") + 64 + len(" (")


def version(pieces: Iterable[bytes]) -> str:
    """Return the release in a kernel's code and data; reads no farther than to where it stands."""
    window = b""
    for piece in pieces:
        window = window[1 - _LONGEST :] + piece
        if found := _BANNER.search(window):
            return found[1].decode("ascii")
    return UNKNOWN_VERSION
