from __future__ import annotations

import json
import time
import uuid
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.nfs.export_numbers import ExportNumbers, given_numbers, recorded
from tests.unit.builders import an_export

FIRST, SECOND, THIRD = (uuid.UUID(int=65534 * factor) for factor in (1, 2, 3))


def test_exports_of_one_number_get_the_next_free_ones() -> None:
    assert given_numbers({}, [FIRST, SECOND, THIRD]) == {FIRST: 1, SECOND: 2, THIRD: 3}


def test_a_number_stays_while_its_export_is_away() -> None:
    known = given_numbers({}, [FIRST, SECOND])
    without = given_numbers(known, [SECOND, THIRD])
    assert without == {FIRST: 1, SECOND: 2, THIRD: 3}
    assert given_numbers(without, [THIRD, FIRST]) == without


@given(st.sets(st.uuids(), max_size=40), st.sets(st.uuids(), max_size=40))
def test_nobody_gets_anothers_number(before: set[uuid.UUID], after: set[uuid.UUID]) -> None:
    known = given_numbers({}, before)
    both = given_numbers(known, after)
    assert set(both) == before | after
    assert len(set(both.values())) == len(both)
    assert all(0 < number < 65535 for number in both.values())
    assert {fsid: both[fsid] for fsid in before} == known


def test_where_all_are_given_the_oldest_that_nobody_wants_becomes_free() -> None:
    known = {uuid.UUID(int=number): number for number in range(1, 65535)}
    new, kept = uuid.UUID(int=1 << 100), uuid.UUID(int=1)
    given = given_numbers(known, [kept, new])
    assert (given[kept], given[new], len(given)) == (1, 2, 65534)


@pytest.mark.parametrize(
    "content",
    [None, b"", b"\xff", b"[]", b"7", b'{"no uuid": 3}', b'{"%s": "3"}' % str(FIRST).encode()],
)
def test_what_is_no_record_is_none(content: bytes | None) -> None:
    assert recorded(content) == {}


def test_a_record_outlives_whoever_made_it(tmp_path: Path) -> None:
    exports = (an_export("/a/1/rw", number=0), an_export("/a/1/ro", number=0, writable=False))
    first = ExportNumbers(tmp_path).numbered(exports)
    assert [export.path for export in first] == [export.path for export in exports]
    assert ExportNumbers(tmp_path).numbered(reversed(exports)) == tuple(reversed(first))


def test_a_full_record_is_read_and_kept_in_no_time() -> None:
    full = {uuid.uuid5(FIRST, str(number)): number for number in range(1, 65535)}
    content = json.dumps({str(fsid): number for fsid, number in full.items()}).encode()
    begun = time.process_time()
    assert given_numbers(recorded(content), list(full)[:300]) == full
    assert time.process_time() - begun < 3  # the orchestrator waits; it was two minutes


def test_a_full_record_holds_nobody_up_when_nothing_new_is_asked_for(tmp_path: Path) -> None:
    known = {str(uuid.uuid5(FIRST, str(number))): number for number in range(2, 65535)}
    (tmp_path / "export-numbers.json").write_text(json.dumps(known))
    numbers = ExportNumbers(tmp_path)
    first = numbers.numbered([an_export(number=0)])
    begun = time.process_time()
    assert {numbers.numbered([an_export(number=0)]) for _ in range(100)} == {first}
    assert time.process_time() - begun < 3  # for each lease; read again each time it was 30
