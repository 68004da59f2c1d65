"""Builds one root: the article's steps, from the package manager's installroot to the ramdisk."""

from __future__ import annotations

import os
import platform
from collections.abc import Callable, Collection
from dataclasses import dataclass
from pathlib import Path

from rootfs_builder import manifest, ramdisk, recipe, versions
from rootfs_builder.customise import customise, packages
from rootfs_builder.errors import BuildFailed
from rootfs_builder.install import Site, install
from rootfs_builder.managers import manager_for
from rootfs_builder.recipe import Recipe
from rootfs_builder.room import require_room
from rootfs_builder.run import Log
from rootfs_builder.status import Teller

LOG = "build.log"
ROOT_JSON = "root.json"


@dataclass(frozen=True)
class Places:
    """The builder's folders: parts of the volume, and the packages that it keeps."""

    recipes: Path
    kernels: Path
    requests: Path
    roots: Path
    cache: Path

    @classmethod
    def on(cls, volume: Path, cache: Path) -> Places:
        """Return the places of a volume laid out as the design has it."""
        return cls(
            recipes=volume / "recipes",
            kernels=volume / "kernels",
            requests=volume / "requests",
            roots=volume / "roots",
            cache=cache,
        )


def build(
    name: str,
    wanted: Recipe,
    places: Places,
    tell: Teller,
    in_use: Callable[[], Collection[str]],
) -> str:
    """Build a root and show it; return its ID.

    `in_use` gives the versions that must stay: asked at the end, as a build takes a while.
    Raises BuildFailed; then what was shown before is shown still, and the log lies at
    roots/NAME/build.log.
    """
    root = places.roots / name
    require_room(places.roots)
    with versions.aside(root) as work:
        made = work / "version"
        tree = made / "tree"
        tree.mkdir(parents=True)
        tree.chmod(0o755)
        log_file = made / LOG
        with Log(log_file) as log:
            site = Site(wanted, places.recipes, work, tree, places.cache / name, log, tell)
            try:
                install(site, manager_for(wanted))
                customise(site, name)
                version = _finish(name, site, made)
            except (ramdisk.RamdiskError, manifest.ManifestError) as error:
                require_room(root)
                raise BuildFailed(f"{tell.status.step}: {error}") from None
            except BuildFailed as error:
                log.say(str(error))
                raise
            finally:
                _keep_log(log_file, root)
        tell.step("show")
        versions.show(root, made, version)
    versions.prune(root, wanted.keep, in_use())
    return version


def _finish(name: str, site: Site, made: Path) -> str:
    """Make the ramdisks and root.json; return the tree's ID."""
    wanted, tell = site.recipe, site.tell
    tell.step("identify")
    version = manifest.tree_id(site.tree)
    installed = packages(site)
    tell.step("ramdisk")

    def progress(step: str, done: int, total: int) -> None:
        require_room(made)
        if step != tell.status.step:
            tell.step(step)
        tell.progress(done, total, "bytes")

    formats = ramdisk.make(site.tree, made, wanted.formats, wanted.ramdisk_options, progress)
    files, size = _measure(site.tree)
    tell.step("manifest")
    text = manifest.to_json(
        manifest.Manifest(
            name=name,
            id=version,
            title=wanted.title or name,
            source=wanted.source,
            release=wanted.release,
            arch=platform.machine(),
            default=wanted.default,
            cmdline=wanted.cmdline,
            init=wanted.init,
            share=wanted.share,
            recipe=wanted.model_dump(mode="json", by_alias=True, exclude_unset=True),
            packages=installed,
            files=files,
            bytes=size,
            formats=formats,
            seconds=tell.seconds,
        )
    )
    (made / ROOT_JSON).write_text(text)
    return version


def _measure(tree: Path) -> tuple[int, int]:
    """Count a tree's entries and the bytes in its files, each hard link once."""
    files, size, seen = 0, 0, set[tuple[int, int]]()
    for place, folders, names in os.walk(tree):
        files += len(folders) + len(names)
        for name in names:
            entry = os.lstat(os.path.join(place, name))
            if (entry.st_dev, entry.st_ino) not in seen:
                seen.add((entry.st_dev, entry.st_ino))
                size += entry.st_size
    return files, size


def _keep_log(log: Path, root: Path) -> None:
    """Show the last build's log beside the versions, whatever becomes of the build."""
    aside = root / f".{LOG}.new"
    aside.unlink(missing_ok=True)
    os.link(log, aside)
    os.replace(aside, root / LOG)


def read_recipe(places: Places, name: str) -> Recipe:
    """Read the recipe of a root. Raises recipe.RecipeError."""
    for suffix in recipe.SUFFIXES:
        file = places.recipes / f"{name}{suffix}"
        if file.exists():
            return recipe.read(file)
    raise recipe.RecipeError(f"{name}: no such recipe; write recipes/{name}.yaml")
