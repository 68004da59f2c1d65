"""What a package manager is to the builder."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

# Paths inside a sandbox.
TREE = "/tree"
CACHE = "/cache"  # packages and metadata
CONFIG = "/config"  # what configuration() holds, read-only
KEYS = f"{CONFIG}/keys"  # of repository N: N.asc
ARCHIVE = "/archive.tar"  # the file that a recipe's `tar:` names

# Characters at an output's end that are searched for a reason: some patterns take the square of
# that, and a scriptlet prints what it likes.
_READ = 64 * 1024

Command = Sequence[str]


@dataclass(frozen=True)
class Progress:
    """How far a manager is, by its own output; `total` is 0 where it does not say."""

    done: int
    total: int
    unit: str = "packages"


@dataclass(frozen=True)
class Diagnosis:
    """A pattern in a manager's output, and what a user reads instead.

    `says` is a template of the pattern's groups, as re.Match.expand takes it.
    """

    pattern: re.Pattern[str]
    says: str

    def of(self, output: str) -> str | None:
        """Return the sentence for the first match in an output."""
        found = self.pattern.search(output)
        return found.expand(self.says) if found else None


def diagnosis(pattern: str, says: str) -> Diagnosis:
    """Make a Diagnosis; `^` and `$` match at each line."""
    return Diagnosis(re.compile(pattern, re.MULTILINE), says)


def diagnose(diagnoses: Iterable[Diagnosis], output: str) -> str:
    """Say what an output complains of: the first diagnosis that fits, or its last line."""
    output = output[-_READ:]
    for one in diagnoses:
        if said := one.of(output):
            return said
    lines = [line.strip() for line in output.splitlines() if line.strip()]
    return lines[-1] if lines else "it said nothing"


class Manager(Protocol):
    """The commands that fill a tree, and how their output is read.

    All paths are those of a sandbox. The download's commands have the network and an empty tree
    that is thrown away; the install's have the tree, a copy of the cache, and no network.
    """

    def configuration(self) -> dict[str, str]:
        """Return files below CONFIG, by their names."""

    def download(self) -> Sequence[Command]:
        """Return the commands that bring packages into CACHE."""

    def install(self) -> Sequence[Command]:
        """Return the commands that fill TREE."""

    def proofs(self) -> Sequence[Command]:
        """Return commands that end well only if what was asked for is installed."""

    def missing(self, output: str) -> str | None:
        """Name a file that is not there, by what the last of the proofs printed."""

    def progress(self, line: str) -> Progress | None:
        """Read a line of output; None says nothing of how far it is."""

    def failure(self, output: str) -> str | None:
        """Say what failed although all commands ended well: exit codes lie."""

    def explain(self, output: str) -> str:
        """Say in one line why a command failed, and what to do."""
