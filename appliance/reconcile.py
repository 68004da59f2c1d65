"""Makes what runs be what the situation asks for: check, swap, restart what changed.

Idempotent: what is installed is read from the run folder and from supervisord each time, so an
orchestrator that was started anew touches nothing that is right.
"""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path, PurePosixPath

from appliance import ports
from appliance.catalog.model import Catalog
from appliance.daemons.base import ConfigurationRejected, Daemon
from appliance.daemons.containment import confine
from appliance.events.hub import printable
from appliance.files import keep_only, read_file, replace_file
from appliance.menu.firmware_menu import ENTRIES
from appliance.paths import Paths
from appliance.render import Renderer, Tree
from appliance.run import CommandFailed
from appliance.situation import Situation
from appliance.supervision import ALIVE, NotSupervised, Supervision

_BOOT_FILES = PurePosixPath("tftp")
_IPXE_MENU = PurePosixPath("boot.ipxe")
_PXELINUX = "pxelinux.cfg"  # folders of this name have files of machines


class PortTaken(Exception):
    """Somebody else has the port that a daemon needs; the message says who, if it is known."""


@dataclass(frozen=True)
class Outcome:
    """What became of one daemon."""

    daemon: str
    idle: str | None = None  # why it does not run, when it shall not
    waits: str | None = None  # what it waits for before it can start
    fault: str | None = None  # why it could not be brought there; what ran keeps running
    again: bool = False  # what is at fault may go away without our being told
    disturbed: bool = False  # it was started, restarted or told to read its files again
    # supervisord's word for its state before, such as RUNNING
    process: str = field(default="", compare=False)


def everything(situation: Situation, daemons: Sequence[Daemon], renderer: Renderer) -> Tree:
    """Return every file that a daemon or a machine would get: what `bootdrop render` writes."""
    tree = renderer.boot_files(situation)
    for daemon in daemons:
        if daemon.idle(situation) is None:
            tree |= _daemon_files(daemon, situation, renderer)
    return tree


def write_tree(tree: Tree, folder: Path) -> None:
    """Write a tree of files under a folder, each by rename."""
    for path, text in tree.items():
        replace_file(folder, path, text.encode())


def published_path(situation: Situation, boot_file: PurePosixPath) -> Path:
    """Return where a file of the tree's `tftp/…` is published."""
    return situation.paths.published / boot_file.relative_to(_BOOT_FILES)


def publish_boot_files(situation: Situation, renderer: Renderer) -> bool:
    """Put the menus into published/; tell whether any changed."""
    published = situation.paths.published
    wanted = {
        path.relative_to(_BOOT_FILES): text for path, text in renderer.boot_files(situation).items()
    }
    changed = {path: text for path, text in wanted.items() if _differs(published, path, text)}
    write_tree(changed, published)
    # The folders of entries that the firmware's menu no longer lists, and pxelinux's files for
    # machines that are no longer known.
    keep_only(published, ENTRIES, {item.entry.key for item in situation.firmware_menu.kernels})
    for folder in {path.parent for path in wanted if path.parent.name == _PXELINUX}:
        keep_only(published, folder, {path.name for path in wanted if path.parent == folder})
    return bool(changed)


def still_offered(paths: Paths, catalog: Catalog) -> Catalog:
    """Return what of a catalog is in the menu that machines get, when no new one can be written."""
    menu = (read_file(paths.published, _IPXE_MENU) or b"").decode("utf-8", "replace")
    kernels = (kernel for kernel in catalog.kernels if f"/{kernel.kernel} " in menu)
    return replace(catalog, kernels=tuple(kernels))


async def reconcile(
    situation: Situation,
    daemons: Sequence[Daemon],
    renderer: Renderer,
    supervision: Supervision,
) -> tuple[Outcome, ...]:
    """Bring each daemon to what the situation asks for; one that fails does not stop the others."""
    states = await supervision.states()
    outcomes = []
    for daemon in daemons:
        state = states.get(daemon.name)
        try:
            outcome = await _reconcile_one(daemon, situation, renderer, supervision, state)
        except ConfigurationRejected as rejection:
            fault = f"configuration rejected: {rejection}; what ran before keeps running"
            outcome = Outcome(daemon.name, fault=fault)
        except PortTaken as reason:
            outcome = Outcome(daemon.name, fault=str(reason), again=True)
        except CommandFailed as error:
            outcome = Outcome(daemon.name, fault=printable(str(error)), again=True)
        except OSError as error:
            fault = f"{error.filename}: {error.strerror}"
            outcome = Outcome(daemon.name, fault=fault, again=True)
        except NotSupervised as error:
            # What is written is not what runs: without its section it is all new next time.
            (situation.paths.run / _section(daemon)).unlink(missing_ok=True)
            outcome = Outcome(daemon.name, fault=str(error), again=True)
        outcomes.append(replace(outcome, process=state or ""))
    return tuple(outcomes)


async def _reconcile_one(
    daemon: Daemon,
    situation: Situation,
    renderer: Renderer,
    supervision: Supervision,
    state: str | None,  # None: supervisord does not know it
) -> Outcome:
    run = situation.paths.run
    idle = daemon.idle(situation)
    # What runs, by an earlier life of the orchestrator, goes on until there is a reason.
    waits = daemon.waits(situation) if idle is None and state not in ALIVE else None
    if idle is not None or waits is not None:
        if state is not None:
            (run / _section(daemon)).unlink(missing_ok=True)
            await supervision.remove(daemon.name)
        return Outcome(daemon.name, idle=idle, waits=waits)

    if state is None:
        for port in daemon.listens(situation):
            if holder := await ports.taken(port):
                raise PortTaken(holder)

    wanted = _daemon_files(daemon, situation, renderer)
    changed = {path: text for path, text in wanted.items() if _differs(run, path, text)}
    if state is not None and not changed:
        return Outcome(daemon.name)
    if changed:
        daemon.prepare(situation)
        await _check(daemon, wanted, situation)
    # The section goes first and comes last: to who is killed in between all of it is new.
    section = _section(daemon)
    (run / section).unlink(missing_ok=True)
    write_tree({path: text for path, text in changed.items() if path != section}, run)
    if state is not None and section not in changed:
        if state in ALIVE and daemon.on_change != "restart":
            await supervision.signal(daemon.name, daemon.on_change)
        else:
            await supervision.restart(daemon.name)
        write_tree({section: wanted[section]}, run)
    else:
        if state is not None:
            await supervision.remove(daemon.name)
        write_tree({section: wanted[section]}, run)
        await supervision.add(daemon.name)
    return Outcome(daemon.name, disturbed=True)


async def _check(daemon: Daemon, files: Tree, situation: Situation) -> None:
    """Let the daemon's checker read the new files where they can do no harm yet."""
    staged = situation.paths.run / "staged" / daemon.name
    write_tree(files, staged)
    try:
        await daemon.check(staged, situation)
    finally:
        shutil.rmtree(staged)


def _daemon_files(daemon: Daemon, situation: Situation, renderer: Renderer) -> Tree:
    program = daemon.program(situation)
    argv = confine(program, landlock=situation.landlock)
    section = renderer.program(daemon.name, argv, program.stops_in)
    return renderer.files(daemon.templates, situation) | section


def _section(daemon: Daemon) -> PurePosixPath:
    return PurePosixPath(f"etc/supervisor/conf.d/{daemon.name}.conf")


def _differs(folder: Path, path: PurePosixPath, text: str) -> bool:
    return read_file(folder, path) != text.encode()


def run_folders(paths: Paths) -> None:
    """Make the folders that generated files and sockets lie in."""
    (paths.run / "etc/supervisor/conf.d").mkdir(parents=True, exist_ok=True)
