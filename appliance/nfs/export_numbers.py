"""The number of each export in nfs-ganesha's file handles: 16 bits, never given away twice.

A handle that a machine holds names its export by this number. Were it another export's after a
restart, the machine would get `Stale file handle` for ever, so what was given is on record.
"""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path, PurePosixPath

from appliance.files import read_file, replace_file
from appliance.nfs.export import Export

# 0 is the root of what NFSv4 finds exports by.
_FIRST, _LAST = 1, 65534
_RECORD = PurePosixPath("export-numbers.json")


class ExportNumbers:
    """The numbers on record in `folder`, to which nobody else writes: they are read once.

    There may be all of them, as also machines that somebody makes up get theirs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._read: Mapping[uuid.UUID, int] | None = None

    def numbered(self, exports: Iterable[Export]) -> tuple[Export, ...]:
        """Return exports with their numbers, which are on record when this returns.

        Raises OSError when the record cannot be written, ValueError when there are too many
        exports.
        """
        exports, known = tuple(exports), self._known()
        if any(export.fsid not in known for export in exports):
            given = given_numbers(known, [export.fsid for export in exports])
            text = json.dumps({str(fsid): number for fsid, number in given.items()}, indent=0)
            replace_file(self._folder, _RECORD, text.encode())
            self._read = given
        return self.known_ones(exports)

    def known_ones(self, exports: Iterable[Export]) -> tuple[Export, ...]:
        """Return those of exports that have numbers on record, with them; nothing is written."""
        known = self._known()
        return tuple(
            replace(export, number=known[export.fsid]) for export in exports if export.fsid in known
        )

    def _known(self) -> Mapping[uuid.UUID, int]:
        if self._read is None:
            self._read = recorded(read_file(self._folder, _RECORD))
        return self._read


def given_numbers(
    known: Mapping[uuid.UUID, int], wanted: Iterable[uuid.UUID]
) -> dict[uuid.UUID, int]:
    """Return every number that is given: those that are known, and for the rest the next free ones.

    Where all are given, the oldest that nobody wants any more become free. Raises ValueError when
    more are wanted than there are.
    """
    wanted = tuple(dict.fromkeys(wanted))
    if len(wanted) > _LAST - _FIRST + 1:
        raise ValueError(f"{len(wanted)} exports: nfs-ganesha has numbers for {_LAST}")
    given = dict(known)
    new = [fsid for fsid in wanted if fsid not in given]
    in_use = set(wanted)
    unwanted = iter([fsid for fsid in given if fsid not in in_use])
    while len(given) + len(new) > _LAST - _FIRST + 1:
        del given[next(unwanted)]
    taken = set(given.values())
    for fsid in new:
        # From the export itself, so that a record that was lost is likely to come out the same.
        number = fsid.int % _LAST + _FIRST
        while number in taken:
            number = number % _LAST + _FIRST
        taken.add(number)
        given[fsid] = number
    return given


def recorded(content: bytes | None) -> dict[uuid.UUID, int]:
    """Read a record; what is no record, or not a number of an export, is passed over."""
    try:
        read = json.loads(content or b"{}")
        pairs = [(uuid.UUID(fsid), number) for fsid, number in read.items()]
    except (ValueError, AttributeError):
        return {}
    given: dict[uuid.UUID, int] = {}
    taken: set[int] = set()
    for fsid, number in pairs:
        if type(number) is int and _FIRST <= number <= _LAST and number not in taken:
            taken.add(number)
            given[fsid] = number
    return given
