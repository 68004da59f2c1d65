"""The verbs of `bootdrop`."""

from __future__ import annotations

import argparse
import asyncio
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from appliance import settings_docs
from appliance.cli import nfs, report, roots
from appliance.control import NotRunning, ask
from appliance.network import NoNetwork
from appliance.paths import Paths
from appliance.run import CommandFailed
from appliance.settings_load import InvalidSettings

_EXAMPLES = """\
examples:
  bootdrop status              which services run, what is in the menu
  bootdrop kernels             what was found in boot/kernels/, and what is wrong with the rest
  bootdrop roots               what machines can boot with, and what is being built
  bootdrop build NAME --follow build a root from boot/recipes/NAME.yaml
  bootdrop clients             which machine has which root mounted over NFS
  bootdrop machines            what machines wrote to their roots; `machines reset MAC` undoes it
  bootdrop events              what machines ask for, live
  bootdrop render /tmp/out     write every file that a daemon or a machine would get
"""


def main(argv: Sequence[str]) -> int:
    """Run one verb and return the exit status: 2 for wrong settings or usage, 1 for failure."""
    arguments = _parser().parse_args(argv)
    try:
        return int(arguments.verb(arguments) or 0)
    except InvalidSettings as error:
        for problem in error.problems:
            print(f"bootdrop: {problem}", file=sys.stderr)
        return 2
    except (NotRunning, NoNetwork, CommandFailed, roots.CannotDo) as error:
        print(f"bootdrop: {error}", file=sys.stderr)
        return 1
    except BrokenPipeError:
        # `bootdrop events | head`; nothing shall be written at exit either.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 1
    except OSError as error:
        print(f"bootdrop: {error.filename}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="bootdrop",
        description="Boots diskless machines from kernels dropped into boot/kernels/.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    verbs = parser.add_subparsers(required=True, metavar="VERB")

    def verb(name: str, run: object, sentence: str, example: str) -> argparse.ArgumentParser:
        sub = verbs.add_parser(
            name,
            help=sentence,
            description=sentence[0].upper() + sentence[1:] + ".",
            epilog=f"example: {example}",
        )
        sub.set_defaults(verb=run)
        return sub

    status = verb("status", _status, "tell which services run and why not", "bootdrop status")
    kernels = verb(
        "kernels",
        _kernels,
        "list what was found in kernels/, and what each kernel lacks for a root over NFS",
        "bootdrop kernels",
    )
    listed_roots = roots.add_verbs(verb)
    for each in (status, kernels, listed_roots, *nfs.add_verbs(verb)):
        each.add_argument("--json", action="store_true", help="print JSON for programs")
    events = verb(
        "events", _events, "follow what machines and daemons do", "bootdrop events | grep dhcpd"
    )
    events.add_argument("--json", action="store_true", help="print a line of JSON for each")
    render = verb(
        "render",
        _render,
        "write every file that a daemon or a machine would get",
        "bootdrop render --settings bootdrop.yaml /tmp/out",
    )
    render.add_argument("--settings", type=Path, metavar="FILE", help="YAML file of settings")
    render.add_argument("dir", type=Path, metavar="DIR", help="folder to write into")
    settings = verb("settings", _settings, "check the settings and print them", "bootdrop settings")
    settings.add_argument(
        "--write-docs", type=Path, metavar="CHECKOUT", help="write .env.example and settings.md"
    )
    verb("start", _start, "start the appliance: the container's first process", "bootdrop start")
    verb("serve", _serve, "run the orchestrator: started by supervisord", "bootdrop serve")
    return parser


def _ask_status() -> dict[str, Any]:
    for status in ask(Paths().control, "status"):
        return status
    raise NotRunning("the appliance ended before it answered")


def _status(arguments: argparse.Namespace) -> int:
    status = _ask_status()
    print(json.dumps(status, indent=2) if arguments.json else report.status(status))
    return 0 if status["state"] == "ready" else 1


def _kernels(arguments: argparse.Namespace) -> None:
    status = _ask_status()
    chosen = {key: status[key] for key in ("kernels", "refused", "pending", "notices")}
    print(json.dumps(chosen, indent=2) if arguments.json else report.all_kernels(status))


def _events(arguments: argparse.Namespace) -> None:
    for line in ask(Paths().control, "events"):
        print(json.dumps(line) if arguments.json else report.event(line), flush=True)


def _render(arguments: argparse.Namespace) -> None:
    # Imported here: `status` and `events` shall not pay for a template engine.
    from appliance.cli import start  # noqa: PLC0415

    count = asyncio.run(start.render(Paths(), arguments.settings, arguments.dir))
    print(f"{arguments.dir}: {count} files")


def _settings(arguments: argparse.Namespace) -> None:
    from appliance import settings, settings_load  # noqa: PLC0415

    if arguments.write_docs is not None:
        settings_docs.write(arguments.write_docs)
        return
    for name, value in settings_load.load(Paths().settings):
        print(f"{settings.variable(name)}={'' if value is None else value}")


def _start(_: argparse.Namespace) -> None:
    from appliance.cli import start  # noqa: PLC0415

    start.start(Paths())


def _serve(_: argparse.Namespace) -> None:
    from appliance import orchestrator  # noqa: PLC0415

    asyncio.run(orchestrator.serve(Paths()))
