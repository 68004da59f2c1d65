"""Fills a tree: downloads with the network and no tree, installs with the tree and no network."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from rootfs_builder.errors import BuildFailed
from rootfs_builder.managers.base import ARCHIVE, CACHE, CONFIG, Command, Manager
from rootfs_builder.recipe import Recipe
from rootfs_builder.room import Stall, require_room
from rootfs_builder.run import CommandFailed, Log, Watch, run
from rootfs_builder.sandbox import Bind, Sandbox
from rootfs_builder.status import Teller


@dataclass(frozen=True)
class Site:
    """Where one build happens: folders of its own, its log, and who hears of it."""

    recipe: Recipe
    recipes: Path  # the folder that paths in the recipe start from
    work: Path  # on the volume, gone after the build
    tree: Path
    cache: Path  # of this root; it stays
    log: Log
    tell: Teller

    def folder(self, name: str) -> Path:
        """Return a folder of the work's own, made at need."""
        folder = self.work / name
        folder.mkdir(exist_ok=True)
        return folder

    def watch(self) -> Watch:
        """Return what is looked at while a command of no particular kind runs."""
        return Watch(self.recipe.install_seconds, tick=lambda: require_room(self.work))

    def beside(self, path: str, what: str) -> Path:
        """Return the real path of what a recipe names. Raises BuildFailed."""
        named = self.recipes / path
        try:
            found = named.resolve(strict=True)
        except (OSError, RuntimeError) as error:
            why = getattr(error, "strerror", "") or "a link that leads to itself"
            raise BuildFailed(f"{what} {path}: {why}; its place is beside the recipe") from None
        if not Path(path).is_absolute() and not found.is_relative_to(self.recipes.resolve()):
            raise BuildFailed(f"{what} {path}: a link leads out of the folder of the recipes")
        return found


def install(site: Site, manager: Manager) -> None:
    """Fill the site's tree. Raises BuildFailed."""
    config = site.folder("config")
    _write_config(site, manager, config)
    site.cache.mkdir(parents=True, exist_ok=True)
    binds: tuple[Bind, ...] = (Bind(config, CONFIG),)
    online = Sandbox(
        site.folder("scratch"),
        (*binds, Bind(site.cache, CACHE, writable=True)),
        network=True,
        rpm_database=site.recipe.database,
    )
    site.tell.step("download")
    stall = Stall(site.cache, site.recipe.stall_seconds)
    for command in manager.download():
        _run(site, manager, online, command, stall)

    site.tell.step("install")
    packages = site.folder("cache")
    # A copy: a scriptlet must not change what the next build installs.
    copy = ["cp", "--archive", "--reflink=auto", f"{site.cache}/.", str(packages)]
    _quietly(site, copy)
    if site.recipe.tar:
        binds += (Bind(site.beside(site.recipe.tar, "tar:"), ARCHIVE),)
    offline = Sandbox(
        site.tree,
        (*binds, Bind(packages, CACHE, writable=True)),
        rpm_database=site.recipe.database,
    )
    failures = [_run(site, manager, offline, command) for command in manager.install()]
    if said := next(filter(None, failures), None):
        require_room(site.work)  # which may be why
        raise BuildFailed(f"install: {manager.explain(said)}")
    _prove(site, manager, offline)


def _write_config(site: Site, manager: Manager, config: Path) -> None:
    (config / "none").mkdir()
    (config / "keys").mkdir()
    for name, text in manager.configuration().items():
        file = config / name
        file.parent.mkdir(exist_ok=True)
        file.write_text(text)
    for number, one in enumerate(site.recipe.repositories, 1):
        if one.gpgkey:
            (config / "keys" / f"{number}.asc").write_bytes(_key(site, one.gpgkey))


def _key(site: Site, gpgkey: str) -> bytes:
    if gpgkey.startswith("-----"):
        return gpgkey.encode() + b"\n"
    file = site.beside(gpgkey, "gpgkey:")
    try:
        with file.open("rb") as stream:
            return stream.read(1024 * 1024)
    except OSError as error:
        raise BuildFailed(f"gpgkey: {gpgkey}: {error.strerror}") from None


def _run(
    site: Site, manager: Manager, sandbox: Sandbox, command: Command, stall: Stall | None = None
) -> str | None:
    """Run a command of a manager; return what failed although it ended well."""
    counted = _Counted(site, manager)

    def line(text: str) -> None:
        counted.line(text)
        if stall:
            stall.line(text)

    def tick() -> None:
        require_room(site.work)
        if stall:
            stall.tick()

    site.log.say(" ".join(command))
    step = site.tell.status.step
    try:
        run(sandbox.command(command), site.log, Watch(site.recipe.install_seconds, line, tick))
    except CommandFailed as error:
        if error.status is None:
            raise BuildFailed(
                f"{step}: {command[0]} {error}; if it needs more, set `install_seconds:`"
            ) from None
        require_room(site.work)
        raise BuildFailed(f"{step}: {manager.explain(counted.failure or error.output)}") from None
    return counted.failure


class _Counted:
    """Turns a manager's lines into progress; where it says no numbers, its steps are counted.

    `failure` is the first that a line told of: of a long output the beginning is not kept.
    """

    _STEPS = re.compile(r"I: (Retrieving|Unpacking|Configuring) \S+")

    def __init__(self, site: Site, manager: Manager) -> None:
        self._tell: Callable[[int, int, str], None] = site.tell.progress
        self._manager = manager
        self._steps = 0
        self.failure: str | None = None

    def line(self, text: str) -> None:
        self.failure = self.failure or self._manager.failure(text)
        if said := self._manager.progress(text):
            self._tell(said.done, said.total, said.unit)
        elif self._STEPS.match(text):
            self._steps += 1
            self._tell(self._steps, 0, "packages")


def _quietly(site: Site, argv: Command) -> None:
    try:
        run(argv, site.log, site.watch())
    except CommandFailed as error:
        require_room(site.work)
        raise BuildFailed(f"{argv[0]} failed: {error}: {error.output.strip()[-200:]}") from None


def _prove(site: Site, manager: Manager, sandbox: Sandbox) -> None:
    """Ask the tree's own database for what was wanted, and the tree for what the database lists."""
    site.tell.step("verify")
    output = ""
    for command in manager.proofs():
        try:
            output = run(sandbox.command(command), site.log, site.watch())
        except CommandFailed as error:
            said = " ".join(error.output.split()) or str(error)
            raise BuildFailed(f"verify: not installed after all: {said}") from None
    if gone := manager.missing(output):
        raise BuildFailed(f"verify: {gone} is missing although its package is installed")
