"""dnf: Fedora, RHEL and what is made like them."""

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

_MAIN = f"""[main]
reposdir={CONFIG}/none
varsdir={CONFIG}/none
pluginpath={CONFIG}/none
plugins=0
history_record=0
keepcache=1
# What was asked for and what that needs, no more.
install_weak_deps=0
best=1
# A repository that is away is a failure, not a smaller system.
skip_if_unavailable=0
gpgcheck=1
localpkg_gpgcheck=1
installonly_limit=0
# A server that stalls: given up after half a minute.
timeout=15
minrate=1000
retries=2
max_parallel_downloads=6
"""

_COUNT = re.compile(
    r"^\s*(?:\((?P<done>\d{1,9})/(?P<total>\d{1,9})\): "
    r"|(?:Installing|Running scriptlet)\s*: .*?\s(?P<installed>\d{1,9})/(?P<all>\d{1,9})\s*$)"
)

_DIAGNOSES: tuple[Diagnosis, ...] = (
    diagnosis(
        r"Curl error \(\d+\): (.+?) for (\S+)(?: \[.*)?$",
        r"\2: \1; check the address, its server, and the way from here to it",
    ),
    diagnosis(
        r"Status code: (\d+) for (\S+)",
        r"\2: the server answers \1; check the address in `repositories:`",
    ),
    diagnosis(
        r"^\[MIRROR\] (\S+): Downloading successful, but checksum doesn't match",
        r"\1 is not what its repository's index says; build again, then ask who keeps it",
    ),
    diagnosis(
        r"Unable to find a match: (.+)$",
        r"no repository has \1; check the spelling in `packages:`",
    ),
    diagnosis(
        r"nothing provides (.+?) needed by (\S+)",
        r"\2 needs \1, which no repository has",
    ),
    diagnosis(
        r"package (\S+) .*does not have a compatible architecture",
        r"\1 is for another architecture",
    ),
    diagnosis(
        r"cannot install the best candidate for the job[\s\S]*?- (.+)$",
        r"\1",
    ),
    diagnosis(
        r"Package (\S+) is not signed",
        r"\1 is not signed; sign it, or write `unsigned: true` at its repository",
    ),
    diagnosis(
        r"(?:Public key for|The GPG keys listed for) (.+?) (?:is not installed"
        r"|repository are already installed but they are not correct)",
        r"\1 is signed by another key than the repository's `gpgkey:`",
    ),
    diagnosis(
        r"GPG check FAILED",
        "a package's signature is not by the repository's `gpgkey:`",
    ),
    *rpm.DIAGNOSES,
)


@dataclass(frozen=True)
class Dnf:
    """The commands of dnf 4 for one recipe."""

    recipe: Recipe

    def configuration(self) -> dict[str, str]:
        """Return dnf.conf, with the repositories in it."""
        text = _MAIN
        for number, one in enumerate(self.recipe.repositories, 1):
            text += f"\n[repository-{number}]\nname={one.url}\nbaseurl={one.url}\nenabled=1\n"
            text += f"priority={one.priority}\n"
            if one.unsigned:
                text += "gpgcheck=0\n"
            else:
                text += f"gpgcheck=1\ngpgkey=file://{KEYS}/{number}.asc\n"
        return {"dnf.conf": text}

    def download(self) -> Sequence[Command]:
        """Return one transaction that stops before it installs."""
        return [self._install("--downloadonly")]

    def install(self) -> Sequence[Command]:
        """Return the same transaction from the cache alone."""
        return [self._install("--cacheonly")]

    def _install(self, how: str) -> Command:
        return [
            "dnf",
            "install",
            "--assumeyes",
            f"--config={CONFIG}/dnf.conf",
            f"--installroot={TREE}",
            # dnf would ask the empty tree's release package.
            f"--releasever={self.recipe.release or '1'}",
            "--setopt=color=never",
            # Here and not in dnf.conf, whose paths dnf takes to be below the installroot.
            f"--setopt=cachedir={CACHE}",
            "--setopt=logdir=/tmp",
            "--setopt=persistdir=/tmp",
            how,
            *self.recipe.wanted,
        ]

    def proofs(self) -> Sequence[Command]:
        """Ask rpm."""
        return rpm.proofs(self.recipe)

    def missing(self, output: str) -> str | None:
        """Read what rpm --verify says."""
        return rpm.missing(output)

    def progress(self, line: str) -> Progress | None:
        """Read `(3/40): bash.rpm …` and `Installing : bash 3/40`."""
        found = _COUNT.match(line)
        if not found:
            return None
        return Progress(
            int(found["done"] or found["installed"]), int(found["total"] or found["all"])
        )

    def failure(self, output: str) -> str | None:
        """A failing scriptlet is no error to dnf 4: it ends with 0."""
        return rpm.scriptlets(output.splitlines())

    def explain(self, output: str) -> str:
        """Say why dnf ended."""
        return diagnose(_DIAGNOSES, output)
