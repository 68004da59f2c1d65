"""What a command prints, kept and waited for."""

from __future__ import annotations

import re
from threading import Condition

from tests.lab.feed import WaitedInVain


class Transcript:
    """Its `hear` is what a Stream hands on to."""

    def __init__(self) -> None:
        self.text = ""
        self._changed = Condition()

    def hear(self, piece: str) -> None:
        """Take in what was printed."""
        with self._changed:
            self.text += piece
            self._changed.notify_all()

    def wait_for(self, pattern: str, timeout: float) -> None:
        """Return once it was printed; `timeout` in seconds. Raises WaitedInVain."""
        with self._changed:
            if not self._changed.wait_for(lambda: re.search(pattern, self.text), timeout):
                raise WaitedInVain(f"/{pattern}/ not within {timeout:g} s in: {self.text}")
