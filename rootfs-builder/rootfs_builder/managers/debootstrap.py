"""debootstrap: Debian, Ubuntu and what is made like them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rootfs_builder.managers.base import (
    CACHE,
    KEYS,
    TREE,
    Command,
    Diagnosis,
    Progress,
    diagnose,
    diagnosis,
)
from rootfs_builder.recipe import Recipe

_TARBALL = f"{CACHE}/packages.tar"

_DIAGNOSES: tuple[Diagnosis, ...] = (
    diagnosis(
        r"^E: Couldn't find these debs: (.+)$",
        r"the mirror has no \1; check the spelling in `packages:`",
    ),
    diagnosis(r"^E: (.+)$", r"\1"),
)


@dataclass(frozen=True)
class Debootstrap:
    """The commands of debootstrap for one recipe."""

    recipe: Recipe

    @property
    def rpm(self) -> bool:
        """Its trees have dpkg's database."""
        return False

    def configuration(self) -> dict[str, str]:
        """It has no configuration."""
        return {}

    def download(self) -> Sequence[Command]:
        """Return the command that packs all packages into the file that install() reads."""
        return [["mkdir", "-p", f"{CACHE}/debs"], self._debootstrap(f"--make-tarball={_TARBALL}")]

    def install(self) -> Sequence[Command]:
        """Return the command that installs from that file."""
        return [self._debootstrap(f"--unpack-tarball={_TARBALL}")]

    def _debootstrap(self, how: str) -> Command:
        mirror = self.recipe.repositories[:1]
        argv = [
            # It would make devices to see whether it can, unless it knows that it cannot.
            "env",
            "container=lxc",
            "debootstrap",
            "--variant=minbase",
            f"--cache-dir={CACHE}/debs",
            how,
        ]
        if self.recipe.packages:
            argv.append(f"--include={','.join(self.recipe.packages)}")
        if mirror and mirror[0].gpgkey:
            argv.append(f"--keyring={KEYS}/1.asc")
        if mirror and mirror[0].components:
            argv.append(f"--components={','.join(mirror[0].components)}")
        return [*argv, self.recipe.release, TREE, *[one.url for one in mirror]]

    def progress(self, line: str) -> Progress | None:
        """It says no numbers; install.py counts."""
        return None

    def failure(self, output: str) -> str | None:
        """Its exit status is true."""
        return None

    def explain(self, output: str) -> str:
        """Say why debootstrap ended."""
        return diagnose(_DIAGNOSES, output)
