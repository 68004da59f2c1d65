"""What became of dropped files, in no more lines than a person reads."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from appliance.catalog.model import Catalog

_MOST = 100  # lines
_WITHIN = 10.0  # seconds


def differences(before: Catalog, after: Catalog) -> Iterator[str]:
    """Yield a line for each kernel that came or went and for each file that is newly refused."""
    known = {(each.name, each.id) for each in before.kernels}
    for kernel in reversed(after.kernels):
        if (kernel.name, kernel.id) not in known:
            yield f"{kernel.name}: {kernel.version} is published as {kernel.id}"
    gone = {each.name for each in before.kernels}.difference(each.name for each in after.kernels)
    for name in sorted(gone):
        yield f"{name}: removed from the menu"
    was_refused = frozenset(before.refused)
    for refused in after.refused:
        if refused not in was_refused:
            yield f"{refused.path}: not served: {refused.reason}"


class Brevity:
    """Passes on so many lines within a time, then only that there are more.

    `clock` gives seconds. The log is for what happens; what is there, the command `lists` tells.
    """

    def __init__(
        self,
        say: Callable[[str], None],
        clock: Callable[[], float] = time.monotonic,
        lists: str = "bootdrop kernels",
    ) -> None:
        self._say = say
        self._lists = lists
        self._clock = clock
        self._since = clock()
        self._said = 0

    def say(self, line: str) -> None:
        """Say a line, or keep silent about it."""
        now = self._clock()
        if now - self._since >= _WITHIN:
            self._since, self._said = now, 0
        self._said += 1
        if self._said <= _MOST:
            self._say(line)
        elif self._said == _MOST + 1:
            self._say(
                f"more than {_MOST} such lines, so no more for {_WITHIN:g} s; "
                f"`{self._lists}` lists all"
            )
