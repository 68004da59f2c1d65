"""What dnf and zypper share: rpm's checks of what was installed."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from rootfs_builder.managers.base import TREE, Command, Diagnosis, diagnosis
from rootfs_builder.recipe import Recipe

_MOUNTED = ("/proc", "/sys", "/dev", "/run")  # while it is looked at

DIAGNOSES: tuple[Diagnosis, ...] = (
    diagnosis(
        r"%(\w+)\((\S+?)\) scriptlet failed",
        r"the %\1 scriptlet of \2 failed; its own lines are in build.log",
    ),
    diagnosis(
        r"file (\S+)\s+from install of\s+(\S+)\s+conflicts with file from package\s+(\S+)",
        r"\2 and \3 both hold \1; leave one of them out",
    ),
    diagnosis(
        r"file (\S+) conflicts between attempted installs of (\S+) and (\S+)",
        r"\2 and \3 both hold \1; leave one of them out",
    ),
    diagnosis(
        r"(?:needs|At least) (\S+?) ?(?:more|of) space .*",
        r"the volume has no room: \1 more are needed; free some, or set `keep: 0`",
    ),
    diagnosis(
        r"No space left on device",
        "the volume has no room; free some, or set `keep: 0`",
    ),
)


def query(recipe: Recipe) -> Command:
    """Return the command that fails unless what was asked for is installed."""
    asked = [name for name in recipe.wanted if not name.startswith("@")]
    return ["rpm", "--root", TREE, "--query", "--whatprovides", *asked] if asked else ["true"]


def verify() -> Command:
    """Return the command that compares the tree with its database; its status says nothing."""
    return ["rpm", "--root", TREE, "--verify", "--all", "--nodeps", "--noscripts"]


def missing(output: str) -> Iterator[str]:
    """Yield what `verify` misses, but for documentation and what lies under a mount."""
    for line in output.splitlines():
        words = line.split()
        if words[:1] != ["missing"] or (len(words) > 2 and words[1] in {"c", "d", "g"}):
            continue
        path = line.split(None, 1)[1].split(" (")[0].strip()
        if not path.startswith(_MOUNTED):
            yield path


def scriptlets(lines: Iterable[str]) -> str | None:
    """Return rpm's line on a scriptlet that failed, if there is one."""
    return next((line for line in lines if "scriptlet failed" in line), None)
