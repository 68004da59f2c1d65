"""The queue: what is new in recipes/ and requests/ is built, one root after the other."""

from __future__ import annotations

import hashlib
import json
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from queue import SimpleQueue
from threading import Lock, Thread
from typing import Any

from rootfs_builder import recipe, status, versions
from rootfs_builder.build import LOG, Places, build, read_recipe
from rootfs_builder.errors import BuildFailed
from rootfs_builder.inotify import Watcher
from rootfs_builder.layers import Layers
from rootfs_builder.status import Status, Teller

_LOG = logging.getLogger(__name__)

RESCAN = 60.0  # seconds; what a remote client of the volume changes is not told
IN_USE = "in-use.json"


@dataclass(frozen=True)
class Job:
    """A root to build, and why: the recipe's SHA-256 and the request's time."""

    name: str
    recipe: str
    request: float


def wanted(places: Places) -> Iterator[Job]:
    """Yield what is new: recipes that were not tried as they are, and requests not answered yet."""
    requests = _requests(places.requests)
    seen = set[str]()
    for file in sorted(places.recipes.iterdir()):
        name = recipe.name_of(file)
        if name is None or name in seen or not file.is_file():
            continue
        seen.add(name)  # beside NAME.yaml, NAME.yml says nothing: read_recipe takes the first
        try:
            digest = _digest(file)
        except OSError as error:
            _LOG.error("recipes/%s: cannot be read: %s", file.name, error.strerror)
            continue
        tried = status.read(places.roots / name)
        job = Job(name, digest, requests.get(name, tried.request))
        unfinished = tried.state in ("queued", "building")
        if unfinished or (job.recipe, job.request) != (tried.recipe, tried.request):
            yield job


def _digest(file: Path) -> str:
    """Return a recipe's SHA-256; one that is too long to be a recipe is known by its start."""
    with file.open("rb") as stream:
        return hashlib.sha256(stream.read(1024 * 1024)).hexdigest()


def _requests(folder: Path) -> dict[str, float]:
    """Return when each root was last asked for."""
    asked: dict[str, float] = {}
    for file in sorted(folder.glob("build-*.json")):
        content = _json(file)
        name, when = content.get("name"), content.get("time")
        if content.get("verb") != "build":
            continue
        if isinstance(name, str) and isinstance(when, int | float):
            asked[name] = float(when)
    return asked


def in_use(places: Places, name: str) -> frozenset[str] | None:
    """Return the versions that machines run from; None where nobody can tell."""
    content = _json(places.requests / IN_USE)
    roots = content.get("roots")
    if not isinstance(roots, dict):
        return None if (places.requests / IN_USE).exists() else frozenset()
    versions_of = roots.get(name, [])
    return frozenset(str(one) for one in versions_of) if isinstance(versions_of, list) else None


def _json(file: Path) -> dict[str, Any]:
    try:
        content = json.loads(file.read_bytes())
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        _LOG.error("requests/%s: cannot be read: %s", file.name, error)
        return {}
    return content if isinstance(content, dict) else {}


class Service:
    """Watches the volume in one thread and builds in another."""

    def __init__(self, places: Places) -> None:
        self._places = places
        self._queue: SimpleQueue[str | None] = SimpleQueue()  # None: settle the layers
        self._jobs: dict[str, Job] = {}  # queued, by name
        self._building: Job | None = None
        self._in_use: dict[str, Any] = {}
        self._layers = Layers(places)
        self._lock = Lock()

    def run(self) -> None:
        """Serve until the process ends. Raises OSError where the volume cannot be used."""
        places = self._places
        # Trees have setuid programs, of any age: no user of the host may start them.
        places.roots.chmod(0o700)
        for folder in places.roots.iterdir():
            if folder.is_dir() and not folder.is_symlink():
                versions.sweep(folder)
        with Watcher((places.recipes, places.requests, places.kernels)) as watcher:
            Thread(target=self._work, daemon=True).start()
            while True:
                self._enqueue()
                self._prune()
                self._queue.put(None)
                watcher.wait(RESCAN)

    def _enqueue(self) -> None:
        """Queue what is new; a root that is being built is queued again when its recipe changed."""
        with self._lock:
            for job in wanted(self._places):
                if job in (self._building, self._jobs.get(job.name)):
                    continue
                if job.name not in self._jobs:
                    self._queue.put(job.name)
                self._jobs[job.name] = job
                if self._building is None or self._building.name != job.name:
                    root = self._places.roots / job.name
                    try:
                        status.write(root, replace(status.read(root), state="queued", error=""))
                    except OSError as error:  # a full volume; it is built all the same, or not
                        _LOG.error("%s: %s", error.filename, error.strerror)

    def _prune(self) -> None:
        """Delete versions that machines ran from until now."""
        in_use_now = _json(self._places.requests / IN_USE)
        if in_use_now == self._in_use:
            return
        self._in_use = in_use_now
        with self._lock:
            for root in self._places.roots.iterdir():
                if self._building and self._building.name == root.name:
                    continue  # it does so itself at its end
                try:
                    keep = read_recipe(self._places, root.name).keep
                except recipe.RecipeError:
                    continue  # without a recipe nothing says how many stay
                try:
                    versions.prune(root, keep, _protected(self._places, root.name))
                except OSError as error:
                    _LOG.error("%s: %s", error.filename, error.strerror)

    def _work(self) -> None:
        while True:
            self._take(self._queue.get())

    def _take(self, name: str | None) -> None:
        if name is not None:
            with self._lock:
                job = self._building = self._jobs.pop(name)
            try:
                build_one(self._places, job)
            except OSError as error:
                # Not even its status could be written; the next look finds it unfinished.
                _LOG.error("%s: %s: %s", job.name, error.filename, error.strerror)
            finally:
                with self._lock:
                    self._building = None
        self._settle()

    def _settle(self) -> None:
        try:
            self._layers.settle()
        except BuildFailed as error:
            _LOG.error("modules: %s", error)
        except OSError as error:
            _LOG.error("modules: %s: %s", error.filename, error.strerror)


def build_one(places: Places, job: Job) -> bool:
    """Build a root and say in its status how that ended; return whether it is there."""
    root = places.roots / job.name
    begun = Status(
        "building",
        started=round(time.time(), 3),
        log=LOG,
        id=versions.current(root) or "",
        recipe=job.recipe,
        request=job.request,
    )
    tell = Teller(root, begun)
    _LOG.info("%s: building", job.name)
    try:
        tell.step("read")
        found = read_recipe(places, job.name)
        version = build(job.name, found, places, tell, lambda: _protected(places, job.name))
    except (BuildFailed, recipe.RecipeError) as error:
        _fail(tell, job.name, str(error))
    except OSError as error:
        _fail(tell, job.name, f"{tell.status.step}: {error.filename or root}: {error.strerror}")
    except Exception:
        _LOG.exception("%s: a defect of the builder", job.name)
        _fail(
            tell, job.name, f"{tell.status.step}: a defect of the builder; its log has the details"
        )
    else:
        seconds = time.time() - begun.started
        message = f"built in {seconds:.1f} s"
        tell.end(replace(begun, state="done", step="", message=message, id=version))
        _LOG.info("%s: %s is there, %s", job.name, version, message)
        return True
    return False


def _protected(places: Places, name: str) -> frozenset[str]:
    """Return what must stay; where nobody can tell what is in use, all of it."""
    known = in_use(places, name)
    if known is not None:
        return known
    return frozenset(one.name for one in (places.roots / name).iterdir())


def _fail(tell: Teller, name: str, why: str) -> None:
    # A file's name may be no text, and JSON with half of a character is none to who reads it.
    why = " ".join(why.split())[:500].encode("utf-8", "backslashreplace").decode()
    _LOG.error("%s: %s", name, why)
    tell.end(replace(tell.status, state="failed", error=why, message=""))
