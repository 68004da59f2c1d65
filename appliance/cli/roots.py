"""The verbs about roots: what there is, have one built, begin a recipe."""

from __future__ import annotations

import argparse
import json
import os
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import Any, TextIO

from appliance.catalog.root import is_root_name
from appliance.cli import report
from appliance.control import NotRunning, ask
from appliance.files import replace_file
from appliance.paths import Paths

_SUFFIX = ".yaml"
_SUFFIXES = (_SUFFIX, ".yml")
_NAMES = "letters, digits, `.`, `_`, `-` and spaces, no dot first"

# Adds a verb: name, what it runs, one sentence, an example.
AddVerb = Callable[[str, object, str, str], argparse.ArgumentParser]


class CannotDo(Exception):
    """What was asked for cannot be done; one line says why and what to do."""


def add_verbs(verb: AddVerb) -> argparse.ArgumentParser:
    """Add `roots`, `build` and `recipe` to the parser; return that of `roots`."""
    roots = verb("roots", _roots, "list the roots that machines can boot with", "bootdrop roots")
    build = verb(
        "build", _build, "have a root built from its recipe", "bootdrop build fedora --follow"
    )
    build.add_argument("name", metavar="NAME", help="of the recipe: boot/recipes/NAME.yaml")
    build.add_argument(
        "--follow", action="store_true", help="show how it goes; exit status 1 when it failed"
    )
    recipe = verb(
        "recipe", None, "begin a recipe, or list them", "bootdrop recipe new lab --from fedora"
    )
    actions = recipe.add_subparsers(required=True, metavar="ACTION")
    new = actions.add_parser("new", help="copy one that came with Bootdrop into boot/recipes/")
    new.set_defaults(verb=_recipe_new)
    new.add_argument("name", metavar="NAME", help=_NAMES)
    new.add_argument(
        "--from", dest="source", required=True, metavar="RECIPE", help="`bootdrop recipe list`"
    )
    listed = actions.add_parser("list", help="list what came with Bootdrop, and your own")
    listed.set_defaults(verb=_recipe_list)
    return roots


def _roots(arguments: argparse.Namespace) -> None:
    for status in ask(Paths().control, "status"):
        roots = status["roots"]
        print(json.dumps(roots, indent=2) if arguments.json else report.roots(roots))
        return
    raise NotRunning("the appliance ended before it answered")


# --- build


def _build(arguments: argparse.Namespace) -> int:
    paths, name = Paths(), arguments.name
    own = _recipes(paths.recipes)
    if name not in own:
        raise CannotDo(
            f"boot/recipes/{name}{_SUFFIX}: there is no such recipe"
            + (f"; there are: {', '.join(own)}" if own else "")
            + "; `bootdrop recipe new` makes one"
        )
    if not arguments.follow:
        request(paths, name, time.time())
        print(f"asked for {name}; `bootdrop build {name} --follow` shows how it goes")
        return 0
    # Listened first, so that nothing is missed of what follows from the request.
    lines = ask(paths.control, "events")
    next(lines, None)
    asked = time.time()
    request(paths, name, asked)
    return follow(name, asked, lines, sys.stdout)


def request(paths: Paths, name: str, now: float) -> None:
    """Ask the builder for a root; raises OSError."""
    text = json.dumps({"verb": "build", "name": name, "time": now})
    replace_file(paths.boot, PurePosixPath("requests", f"build-{name}.json"), text.encode())


def follow(name: str, asked: float, lines: Iterator[dict[str, Any]], out: TextIO) -> int:
    """Show each step of a build that goes on after `asked` (epoch); return the exit status.

    On a terminal the line of a step is drawn over. Raises NotRunning when the appliance ends.
    """
    drawn = is_terminal = out.isatty()
    said = ""
    if is_terminal:
        print(f"{name}: waiting for the root builder", end="", file=out, flush=True)
    for line in lines:
        root = next((each for each in line.get("roots", ()) if each["name"] == name), None)
        if root is None or root["updated"] < asked:
            continue
        is_over = root["state"] in ("done", "failed")
        if is_over and root["request"] < asked:
            continue  # a build that was under way; ours comes next
        text = report.progress(root, bar=is_terminal)
        if text != said:
            if drawn:
                out.write("\r\x1b[K")
            print(text, end="" if is_terminal and not is_over else "\n", file=out, flush=True)
            said = text
        if is_over:
            return 0 if root["state"] == "done" else 1
    raise NotRunning("the appliance ended before the root was built")


# --- recipes


def _recipes(folder: Path) -> dict[str, Path]:
    """Return the recipes of a folder by their names, sorted."""
    return {
        path.stem: path
        for path in sorted(folder.glob("*.y*ml"))
        if path.suffix in _SUFFIXES and is_root_name(path.stem)
    }


def _recipe_new(arguments: argparse.Namespace) -> None:
    target = recipe_new(Paths(), arguments.name, arguments.source)
    print(f"boot/recipes/{target.name}: change what you like; it is built as soon as it is there")


def recipe_new(paths: Paths, name: str, source: str) -> Path:
    """Copy a recipe that came with Bootdrop into the volume; nothing is overwritten.

    Raises CannotDo and OSError.
    """
    brought = _recipes(paths.recipes_brought)
    if not is_root_name(name):
        raise CannotDo(f"{name}: not a name for a recipe: {_NAMES}")
    if source not in brought:
        raise CannotDo(f"{source}: no such recipe; there are: {', '.join(brought)}")
    paths.recipes.mkdir(exist_ok=True)
    target = paths.recipes / f"{name}{_SUFFIX}"
    if (other := target.with_suffix(_SUFFIXES[1])).exists():
        raise CannotDo(f"boot/recipes/{other.name}: is there already, and names the same root")
    new = paths.recipes / f".{target.name}.{os.getpid()}.new"  # the builder shall not see half
    try:
        new.write_bytes(brought[source].read_bytes())
        new.chmod(0o644)
        owner = paths.recipes.stat()
        os.chown(new, owner.st_uid, owner.st_gid)  # whose editor shall be able to change it
        os.link(new, target)
    except FileExistsError:
        raise CannotDo(
            f"boot/recipes/{target.name}: is there already; choose another name, or remove it first"
        ) from None
    finally:
        with suppress(FileNotFoundError):
            new.unlink()
    return target


def _recipe_list(_: argparse.Namespace) -> None:
    paths = Paths()
    for title, folder in (
        ("for `bootdrop recipe new NAME --from RECIPE`:", paths.recipes_brought),
        ("in boot/recipes/:", paths.recipes),
    ):
        recipes = _recipes(folder)
        width = max(map(len, recipes), default=0)
        print(title if recipes else f"{title} none")
        for name, path in recipes.items():
            print(f"  {name:{width}}  {_first_comment(path)}".rstrip())


def _first_comment(path: Path) -> str:
    """Return what a recipe says of itself."""
    with path.open(encoding="utf-8", errors="replace") as file:
        first = file.readline(200)
    text = "".join(c for c in first if c.isprintable())
    return text.lstrip("# ") if text.startswith("#") else ""
