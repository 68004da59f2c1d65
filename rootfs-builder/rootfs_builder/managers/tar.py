"""tar: a root that somebody packed."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rootfs_builder.managers.base import ARCHIVE, TREE, Command, Progress, diagnose, diagnosis
from rootfs_builder.recipe import Recipe

_MOUNTED = ("dev", "proc", "sys", "./dev", "./proc", "./sys")

_DIAGNOSES = (
    diagnosis(r"tar: (.*(?:not look like a tar|Unexpected EOF|invalid).*)$", r"\1"),
    diagnosis(r"^tar: (.+)$", r"\1"),
)


@dataclass(frozen=True)
class Tar:
    """The command that unpacks one file."""

    recipe: Recipe

    def configuration(self) -> dict[str, str]:
        """It has no configuration."""
        return {}

    def download(self) -> Sequence[Command]:
        """Nothing is downloaded."""
        return []

    def install(self) -> Sequence[Command]:
        """Return tar's command; it finds out the compression, and strips `/` and `..`."""
        return [
            [
                "tar",
                "--extract",
                "--file",
                ARCHIVE,
                "--directory",
                TREE,
                "--numeric-owner",
                "--preserve-permissions",
                "--xattrs",
                "--xattrs-include=*",
                # What is mounted here; devices are made by the booted kernel.
                "--anchored",
                *[
                    f"--exclude={dot}{name}"
                    for name in ("dev", "proc", "sys")
                    for dot in ("", "./")
                ],
            ]
        ]

    def proofs(self) -> Sequence[Command]:
        """There is nothing to ask."""
        return []

    def missing(self, output: str) -> str | None:
        """What should be in the tree is not known."""
        return None

    def progress(self, line: str) -> Progress | None:
        """It prints nothing."""
        return None

    def failure(self, output: str) -> str | None:
        """Its exit status is true."""
        return None

    def explain(self, output: str) -> str:
        """Say why tar ended."""
        return diagnose(_DIAGNOSES, output)
