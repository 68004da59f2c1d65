"""Tables that strangers can add to: whoever was heard longest ago is forgotten."""

from __future__ import annotations

from typing import TypeVar

MOST_MACHINES = 4096  # anybody can ask for an address

_Key = TypeVar("_Key")
_Value = TypeVar("_Value")


def put(table: dict[_Key, _Value], key: _Key, value: _Value, most: int = MOST_MACHINES) -> None:
    """Have a value in a table, as the newest of at most so many."""
    table.pop(key, None)
    table[key] = value
    while len(table) > most:
        del table[next(iter(table))]
