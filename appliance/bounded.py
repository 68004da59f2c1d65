"""What may become long: tables that strangers can add to, names in one line."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TypeVar

MOST_MACHINES = 4096  # anybody can ask for an address
_MOST_NAMES = 5  # in one notice

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def put(table: dict[_Key, _Value], key: _Key, value: _Value, most: int = MOST_MACHINES) -> None:
    """Have a value in a table, as the newest of at most so many; the oldest is forgotten."""
    table.pop(key, None)
    table[key] = value
    while len(table) > most:
        del table[next(iter(table))]


def some(names: Sequence[str], most: int = _MOST_NAMES, between: str = ", ") -> str:
    """List the first of many names."""
    more = len(names) - most
    return between.join(names[:most]) + (f" and {more} more" if more > 0 else "")
