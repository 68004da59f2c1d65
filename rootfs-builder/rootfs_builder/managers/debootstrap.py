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
    diagnosis(
        r"^E: Keyring-based check was requested",
        "the key of this release is not in the image; name its file: `gpgkey:` of a repository",
    ),
    diagnosis(r"^E: (.+)$", r"\1"),
)


@dataclass(frozen=True)
class Debootstrap:
    """The commands of debootstrap for one recipe."""

    recipe: Recipe

    def configuration(self) -> dict[str, str]:
        """It has no configuration."""
        return {}

    def download(self) -> Sequence[Command]:
        """Return the command that packs all packages into the file that install() reads."""
        return [
            ["mkdir", "-p", f"{CACHE}/debs"],
            self._debootstrap(f"--make-tarball={_TARBALL}", f"{TREE}/debs"),
        ]

    def install(self) -> Sequence[Command]:
        """Return the command that installs from that file."""
        return [self._debootstrap(f"--unpack-tarball={_TARBALL}", TREE)]

    def _debootstrap(self, how: str, target: str) -> Command:
        mirror = self.recipe.repositories[:1]
        argv = [
            # It would make devices to see whether it can, unless it knows that it cannot.
            "env",
            "container=lxc",
            "debootstrap",
            "--variant=minbase",
            # Without a keyring (Ubuntu's is not in the image) it would take what nobody signed.
            "--force-check-gpg",
            f"--cache-dir={CACHE}/debs",
            how,
        ]
        if self.recipe.packages:
            argv.append(f"--include={','.join(self.recipe.packages)}")
        if mirror and mirror[0].gpgkey:
            argv.append(f"--keyring={KEYS}/1.asc")
        if mirror and mirror[0].components:
            argv.append(f"--components={','.join(mirror[0].components)}")
        return [*argv, self.recipe.release, target, *[one.url for one in mirror]]

    def proofs(self) -> Sequence[Command]:
        """Ask dpkg for packages that are not wholly installed."""
        query = f"dpkg-query --admindir={TREE}/var/lib/dpkg --show"
        names = "--showformat='${db:Status-Abbrev} ${Package}\\n'"
        return [["sh", "-c", f"! {query} {names} | grep -v '^ii '"]]

    def missing(self, output: str) -> str | None:
        """dpkg does not look at files."""
        return None

    def progress(self, line: str) -> Progress | None:
        """It says no numbers; install.py counts."""
        return None

    def failure(self, output: str) -> str | None:
        """Its exit status is true."""
        return None

    def explain(self, output: str) -> str:
        """Say why debootstrap ended."""
        return diagnose(_DIAGNOSES, output)
