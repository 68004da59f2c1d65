"""Makes an installed tree what its recipe asks for: files, accounts, services, scripts."""

from __future__ import annotations

import json
import os
import re
import stat
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

from rootfs_builder import inside
from rootfs_builder.errors import BuildFailed
from rootfs_builder.install import Site
from rootfs_builder.managers.base import CONFIG
from rootfs_builder.manifest import Package
from rootfs_builder.room import require_room
from rootfs_builder.run import CommandFailed, Watch, run
from rootfs_builder.sandbox import TREE, Bind, Sandbox

_LONGEST_LIST = 16 << 20  # bytes; more root.json could not be published

# A kernel without DEVTMPFS_MOUNT has these from its root, or init has no output. Linux,
# Documentation/admin-guide/devices.txt
_NODES = {"console": (5, 1, 0o600), "null": (1, 3, 0o666)}


def customise(site: Site, name: str) -> None:
    """Apply a recipe to the site's tree; `name` is the root's. Raises BuildFailed."""
    recipe = site.recipe
    site.tell.step("customise")
    files = _files(site)
    config = site.folder("config")
    wanted = inside.Customisation(
        hostname=recipe.hostname or _hostname(name),
        root_password=recipe.root_password,
        ssh_keys=recipe.ssh_keys,
        serial_login=recipe.serial_login,
        services=recipe.services,
        files=files is not None,
    )
    (config / inside.SPEC).write_text(wanted.to_json())
    binds = (Bind(config, CONFIG),) + ((Bind(files, inside.FILES),) if files else ())
    sandbox = Sandbox(site.tree, binds, rpm_database=recipe.database)
    _inside(site, sandbox, "configure")
    for number, script in enumerate(recipe.run, 1):
        site.tell.step("run", f"script {number} of {len(recipe.run)}")
        _script(site, script, number)
    site.tell.step("clean")
    _inside(site, Sandbox(site.tree), "clean")
    _make_nodes(site.tree)


def packages(site: Site) -> tuple[Package, ...]:
    """List what is installed; a foreign database is read in the sandbox, too."""
    output = site.folder("output")
    _inside(site, Sandbox(site.tree, (Bind(output, inside.OUTPUT, writable=True),)), "list")
    try:
        # What read a foreign database may be its author's by now: no link, no fifo, no end.
        fd = os.open(output / inside.LISTED, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
        with open(fd, "rb") as file:
            text = file.read(_LONGEST_LIST + 1)
    except OSError as error:
        raise BuildFailed(f"identify: the list of packages: {error.strerror}") from None
    if len(text) > _LONGEST_LIST:
        raise BuildFailed("identify: its database lists more packages than there can be")
    listed = json.loads(text)
    return tuple(Package(**package) for package in listed)


def _hostname(name: str) -> str:
    """Make a host name of a root's name."""
    return re.sub(r"[^A-Za-z0-9-]+", "-", name).strip("-")[:63] or "localhost"


def _files(site: Site) -> Path | None:
    """Return the folder to lay over the tree: the recipe's, or one made of the texts in it."""
    files = site.recipe.files
    if not files:
        return None
    if isinstance(files, str):
        folder = site.beside(files, "files:")
        if not folder.is_dir():
            raise BuildFailed(f"files: {files}: no folder; name one that is laid over the tree")
        return folder
    folder = site.folder("files")
    for name, text in files.items():
        file = folder / name.lstrip("/")  # one or more: `//etc` is a path, too
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
        except OSError as error:
            raise BuildFailed(f"files: {name}: {error.strerror}") from None
        file.chmod(0o755 if text.startswith("#!") else 0o644)
    return folder


def _inside(site: Site, sandbox: Sandbox, verb: str) -> None:
    argv = ["python3", "-m", "rootfs_builder.inside", verb]
    environment = {
        "PYTHONPATH": str(Path(__file__).parents[1]),
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    try:
        run(sandbox.command(argv), site.log, site.watch(), environment)
    except CommandFailed as error:
        require_room(site.work)
        said = error.output.strip().splitlines() or [str(error)]
        raise BuildFailed(f"{site.tell.status.step}: {said[-1]}") from None


def _script(site: Site, script: str, number: int) -> None:
    """Run one script in the tree, by the tree's own shell."""
    site.log.say(f"run {number}")
    argv: Sequence[str] = ["chroot", TREE, "/bin/sh", "-euc", script]
    watch = Watch(site.recipe.run_seconds, tick=lambda: require_room(site.work))
    try:
        run(Sandbox(site.tree).command(argv), site.log, watch)
    except CommandFailed as error:
        require_room(site.work)
        last = ([""] + [line for line in error.output.splitlines() if line.strip()])[-1]
        cure = "; if it needs more, set `run_seconds:`" if error.status is None else ""
        why = f"{error}{': ' + last if last else ''}{cure}"
        raise BuildFailed(f"run: script {number} of {len(site.recipe.run)}: {why}") from None


def _make_nodes(tree: Path) -> None:
    """Make the devices that a boot needs before /dev is there; the sandbox cannot."""
    folder = os.open(tree / "dev", os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for name, (major, minor, mode) in _NODES.items():
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=folder)
            os.mknod(name, mode | stat.S_IFCHR, os.makedev(major, minor), dir_fd=folder)
            os.chmod(name, mode, dir_fd=folder)  # whatever the umask
    finally:
        os.close(folder)
