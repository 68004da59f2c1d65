"""zypper: openSUSE and SLES."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rootfs_builder.managers import rpm
from rootfs_builder.managers.base import (
    CACHE,
    CONFIG,
    KEYS,
    TREE,
    Command,
    Diagnosis,
    Progress,
    diagnose,
    diagnosis,
)
from rootfs_builder.recipe import Recipe

_COUNT = re.compile(r"^.*\((\d{1,9})/(\d{1,9})\)")

_DIAGNOSES: tuple[Diagnosis, ...] = (
    diagnosis(
        r"Download \(curl\) error for '([^']+)'[\s\S]*?Error message: (.+)$",
        r"\1: \2; check the address, its server, and the way from here to it",
    ),
    diagnosis(
        r"\[[^|\]]+\|(\S+)\] Repository type can't be determined",
        r"\1: the server has no repository there; check the address in `repositories:`",
    ),
    diagnosis(
        r"^\[[^|\]]+\|(\S+)\] Failed to retrieve[\s\S]*?Signature verification failed",
        r"\1: its index is signed by another key than the repository's `gpgkey:`, or by none",
    ),
    diagnosis(
        r"^(\S+) \(\S+\): Signature verification failed \[\d+-File is unsigned\]",
        r"\1 is not signed; sign it, or write `unsigned: true` at its repository",
    ),
    diagnosis(
        r"^(\S+) \(\S+\): Signature verification failed",
        r"\1 came damaged, or is signed by another key than the repository's `gpgkey:`",
    ),
    diagnosis(
        r"File (\S+)\s+from install of\s+(\S+) \(.*\)\s+conflicts with file from "
        r"(?:install of|package)\s+(\S+)",
        r"\2 and \3 both hold \1; leave one of them out",
    ),
    diagnosis(
        r"^(?:No provider of|'?)'?([^\s']+)'? not found",
        r"no repository has \1; check the spelling in `packages:`",
    ),
    diagnosis(
        r"nothing provides '?(.+?)'? needed by (?:the to be installed )?(\S+)",
        r"\2 needs \1, which no repository has",
    ),
    *rpm.DIAGNOSES,
)


@dataclass(frozen=True)
class Zypper:
    """The commands of zypper for one recipe."""

    recipe: Recipe

    def configuration(self) -> dict[str, str]:
        """Return a .repo file for each repository, and zypp.conf."""
        files = {"zypp.conf": "[main]\nsolver.onlyRequires = true\nrpm.install.excludedocs = no\n"}
        for number, one in enumerate(self.recipe.repositories, 1):
            text = (
                f"[repository-{number}]\nname=repository-{number}\nbaseurl={one.url}\nenabled=1\n"
            )
            text += f"priority={one.priority}\nautorefresh=0\nkeeppackages=1\ntype=rpm-md\n"
            if one.unsigned:
                text += "gpgcheck=0\nrepo_gpgcheck=0\npkg_gpgcheck=0\n"
            else:
                # With gpgcheck alone zypper takes an unsigned package, and ends with 0.
                text += "gpgcheck=1\nrepo_gpgcheck=1\npkg_gpgcheck=1\n"
                text += f"gpgkey=file://{KEYS}/{number}.asc\n"
            files[f"repos/{number}.repo"] = text
        return files

    def download(self) -> Sequence[Command]:
        """Return: trust the keys, read what the repositories have, bring the packages."""
        return [
            *self._keys(),
            self._zypper("refresh", "--force"),
            self._zypper("install", *self._how(), "--download-only", *self.recipe.wanted),
        ]

    def install(self) -> Sequence[Command]:
        """Return the same from the cache alone."""
        return [
            *self._keys(),
            self._zypper("--no-refresh", "install", *self._how(), *self.recipe.wanted),
        ]

    def _keys(self) -> list[Command]:
        """zypper's own --gpg-auto-import-keys trusts whatever key a server sends."""
        return [
            ["rpm", "--root", TREE, "--import", f"{KEYS}/{number}.asc"]
            for number, one in enumerate(self.recipe.repositories, 1)
            if not one.unsigned
        ]

    def _how(self) -> Command:
        return ["--no-recommends", "--auto-agree-with-licenses", "--no-confirm"]

    def _zypper(self, *arguments: str) -> Command:
        return [
            "zypper",
            "--non-interactive",
            # Not --root, which reads repositories out of the tree.
            f"--installroot={TREE}",
            f"--reposd-dir={CONFIG}/repos",
            f"--cache-dir={CACHE}",
            f"--releasever={self.recipe.release or '1'}",
            *arguments,
        ]

    def proofs(self) -> Sequence[Command]:
        """Ask rpm."""
        return rpm.proofs(self.recipe)

    def missing(self, output: str) -> str | None:
        """Read what rpm --verify says."""
        return rpm.missing(output)

    def progress(self, line: str) -> Progress | None:
        """Read `(3/40) Installing: bash …` and `Retrieving: bash … (3/40)`."""
        found = _COUNT.match(line)
        return Progress(int(found[1]), int(found[2])) if found else None

    def failure(self, output: str) -> str | None:
        """zypper ends with 107 for a scriptlet; its output is read all the same."""
        return rpm.scriptlets(output.splitlines())

    def explain(self, output: str) -> str:
        """Say why zypper ended."""
        return diagnose(_DIAGNOSES, output)
