"""The verbs about NFS: who has a root mounted, and machines' layers."""

from __future__ import annotations

import argparse
import json
import re
from collections.abc import Sequence
from typing import Any

from appliance.bounded import some
from appliance.cli import nfs_report
from appliance.cli.roots import AddVerb, CannotDo
from appliance.control import NotRunning, ask
from appliance.nfs.export import EVERYBODY
from appliance.paths import Paths

# 52:54:00:12:34:56, 52-54-00-12-34-56, 5254.0012.3456, 525400123456; dhcpd and old tools leave out
# zeros that lead.
_SPELLINGS = (
    re.compile(r"([0-9a-f]{1,2})" + r"[:-]([0-9a-f]{1,2})" * 5),
    re.compile(r"([0-9a-f]{2})([0-9a-f]{2})[.]?" * 2 + r"([0-9a-f]{2})([0-9a-f]{2})"),
)
_MOST_NAMED = 10

_EXAMPLES = """\
examples:
  bootdrop machines                                what each layer takes, which version it is of
  bootdrop machines reset 52:54:00:12:34:56        a fresh root at its next boot
  bootdrop machines reset 52-54-00-12-34-56 fedora --force
                                                   the same for one root, though it is mounted
  bootdrop machines keep 525400123456 fedora       stay on this version when a new one is built
  bootdrop machines follow 525400123456 fedora     take the newest version again
  bootdrop machines forget 5254.0012.3456          delete its layers: the machine is gone for good
  bootdrop machines forget --old                   delete layers of old versions: nobody boots them
  bootdrop machines reset rw fedora                a fresh tree for all where all write one
"""


def add_verbs(verb: AddVerb) -> Sequence[argparse.ArgumentParser]:
    """Add `clients` and `machines` to the parser; return those of both that list."""
    clients = verb(
        "clients",
        _clients,
        "list the machines that have a root mounted over NFS",
        "bootdrop clients",
    )
    machines = verb(
        "machines", _machines, "list what machines wrote to their roots over NFS, or undo it", ""
    )
    machines.formatter_class = argparse.RawDescriptionHelpFormatter
    machines.epilog = _EXAMPLES
    actions = machines.add_subparsers(metavar="ACTION")
    for name, sentence, is_forcible in (
        ("reset", "give a machine a fresh layer: what it wrote is deleted", True),
        ("keep", "leave a machine on the version that it has", False),
        ("follow", "give a machine the newest version at its next boot", False),
        ("forget", "delete a machine's layers", True),
    ):
        action = actions.add_parser(name, help=sentence, description=f"{sentence.capitalize()}.")
        action.set_defaults(verb=_change, action=name)
        of_all = ", or rw or ro for what all machines share" if is_forcible else ""
        action.add_argument(
            "mac",
            metavar="MAC",
            help=f"hardware address, in any usual spelling{of_all}",
            nargs="?" if name == "forget" else None,
        )
        action.add_argument(
            "root", metavar="ROOT", nargs="?", help="needed where it has layers of several"
        )
        if is_forcible:
            action.add_argument(
                "--force", action="store_true", help="also while the machine has it mounted"
            )
    action.add_argument(
        "--old",
        action="store_true",
        help="only layers of old versions, without MAC those of all machines; kept ones stay",
    )
    return clients, machines


def _status() -> dict[str, Any]:
    for status in ask(Paths().control, "status"):
        return status
    raise NotRunning("the appliance ended before it answered")


def _clients(arguments: argparse.Namespace) -> None:
    status = _status()
    clients = status["clients"]
    text = nfs_report.clients(clients, _why_none(status))
    print(json.dumps(clients, indent=2) if arguments.json else text)


def _machines(arguments: argparse.Namespace) -> None:
    status = _status()
    machines = status["machines"]
    text = nfs_report.machines(machines, _why_none(status))
    print(json.dumps(machines, indent=2) if arguments.json else text)


def _why_none(status: dict[str, Any]) -> str:
    """Return why no roots are served over NFS; "" where they are."""
    nfs = status["nfs"]
    return "" if nfs["server"] else str(nfs["reason"])


def _change(arguments: argparse.Namespace) -> None:
    name, action, root = arguments.mac, arguments.action, arguments.root
    is_old = getattr(arguments, "old", False)
    if name is None and not is_old:
        raise CannotDo("say whose layers: MAC, or --old for those of old versions")
    mac = name if name in (None, *EVERYBODY.values()) else mac_of(name)
    status = _status()
    if not status["machines"] and (why := nfs_report.none_served(_why_none(status))):
        raise CannotDo(f"{why}; what machines wrote stays as it is until one is")
    if mac is not None:
        root = find_root(status["machines"], mac, root, action == "forget")
    action = f"{action}-old" if is_old else action
    print(change(action, mac, root, getattr(arguments, "force", False)))


def change(action: str, mac: str | None, root: str | None, force: bool) -> str:
    """Have the running appliance change a layer; return what it says. Raises CannotDo."""
    request = json.dumps({"layer": action, "mac": mac, "root": root, "force": force})
    for answer in ask(Paths().control, request):
        if not answer["ok"]:
            raise CannotDo(answer["message"])
        return str(answer["message"])
    raise NotRunning(
        "the appliance ended before it answered; `bootdrop machines` shows what it did"
    )


def mac_of(text: str) -> str:
    """Write a hardware address as 52:54:00:12:34:56. Raises CannotDo."""
    for spelling in _SPELLINGS:
        if match := spelling.fullmatch(text.lower()):
            return ":".join(byte.zfill(2) for byte in match.groups())
    raise CannotDo(f"{text}: no hardware address; one looks like 52:54:00:12:34:56")


def find_root(
    machines: list[dict[str, Any]], mac: str, root: str | None, all_at_once: bool
) -> str | None:
    """Return the root whose layer is meant; None for all, where `all_at_once`. Raises CannotDo."""
    own = sorted({layer["root"] for layer in machines if layer["holder"] == mac})
    if not own:
        known = sorted({layer["holder"] for layer in machines})
        raise CannotDo(f"{mac}: has no layer; {_there_are('machines with layers', known)}")
    if root is None:
        if len(own) == 1 or all_at_once:
            return None if all_at_once else own[0]
        raise CannotDo(f"{mac}: has layers of several roots; name one of: {', '.join(own)}")
    if root not in own:
        raise CannotDo(f"{root}: {mac} has no layer of it; it has of: {', '.join(own)}")
    return root


def _there_are(what: str, names: list[str]) -> str:
    if not names:
        return f"there are no {what}"
    return f"{what} are: {some(names, _MOST_NAMED)}"
