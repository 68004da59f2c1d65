from pathlib import PurePosixPath

from appliance.catalog.model import Catalog, Refused
from appliance.events.drops import Brevity, differences
from tests.unit.builders import a_kernel


def test_what_came_went_and_is_refused_is_told_once() -> None:
    notes = Refused(PurePosixPath("notes"), "a text file, not a kernel")
    before = Catalog((a_kernel("old"), a_kernel("stays")))
    after = Catalog((a_kernel("new"), a_kernel("stays")), (notes,))
    assert list(differences(before, after)) == [
        "new: 6.1.192 is published as 00112233445566aa",
        "old: removed from the menu",
        "notes: not served: a text file, not a kernel",
    ]
    assert list(differences(after, after)) == []


def test_of_very_many_lines_the_first_are_said_and_that_there_are_more() -> None:
    now = 0.0
    said: list[str] = []
    brevity = Brevity(said.append, clock=lambda: now)
    for number in range(1000):
        brevity.say(str(number))
    assert said[:100] == [str(number) for number in range(100)]
    (more,) = said[100:]
    assert "`bootdrop kernels` lists all" in more
    now = 10.0
    brevity.say("later")
    assert said[-1] == "later"
