"""What dnf and zypper share: rpm's checks of what was installed."""

from __future__ import annotations

from collections.abc import Iterable

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


def proofs(recipe: Recipe) -> list[Command]:
    """Return: ask for what was wanted; compare the tree with its database."""
    asked = [name for name in recipe.wanted if not name.startswith("@")]
    # By name (with version or architecture, as `glibc.i686`), or as what a package provides.
    rpm = f"rpm --root {TREE} --query"
    each = f'for name; do {rpm} "$name" || {rpm} --whatprovides "$name" || exit 1; done'
    query = ["sh", "-c", each, "sh", *asked]
    # A changed configuration file ends it with 1: what it prints is read.
    verify = f"rpm --root {TREE} --verify --all --nodeps --noscripts || true"
    return [*([query] if asked else []), ["sh", "-c", verify]]


def missing(output: str) -> str | None:
    """Name a file that is missing, but for configuration, documentation and what is mounted."""
    for line in output.splitlines():
        words = line.split()
        if words[:1] != ["missing"] or (len(words) > 2 and words[1] in {"c", "d", "g"}):
            continue
        path = line.split(None, 1)[1].split(" (")[0].strip()
        if not path.startswith(_MOUNTED):
            return path
    return None


def scriptlets(lines: Iterable[str]) -> str | None:
    """Return rpm's line on a scriptlet that failed, if there is one."""
    return next((line for line in lines if "scriptlet failed" in line), None)
