"""The lab's verbs for people: what the Makefile's targets call."""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from subprocess import run

from tests.lab.feed import WaitedInVain
from tests.lab.lab import Lab
from tests.lab.machine import Firmware
from tests.lab.project import SERVER, LabError, build_images, end_on_sigterm
from tests.lab.timeline import table

RESCUE_SHELL = r"BOOTDROP: rescue shell"
_PROMPT = r"rescue:\S+# "

_WHAT_NEXT = f"""
An appliance of your own to play with:
  make lab-up                          the same network, and it stays
  cp bzImage .lab/lab/boot/kernels/    drop a kernel
  make lab-boot FIRMWARE=uefi          boot a machine from it
  ./bootdrop status                    what is in the menu; `./bootdrop events` follows it
  make lab-shell                       http://{SERVER}, tcpdump -i br0 …
  make lab-down
On a lab box, for real machines:
  cp .env.example .env                 and set BOOTDROP_INTERFACE
  docker compose up -d
  cp bzImage boot/kernels/             drop a kernel; power on a machine"""


def main(argv: Sequence[str]) -> int:
    """Run one verb. Returns 0, 1 when a machine did not do what was expected, 2 for trouble."""
    arguments = _parser().parse_args(argv)
    end_on_sigterm()
    try:
        return int(arguments.verb(arguments))
    except WaitedInVain as error:
        print(f"\nlab: {error}", file=sys.stderr)
        return 1
    except (LabError, OSError) as error:
        print(f"lab: {error}", file=sys.stderr)
        return 2
    except KeyboardInterrupt:
        return 130


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.lab", description=__doc__)
    verbs = parser.add_subparsers(required=True, metavar="VERB")
    verbs.add_parser("build", help="build the images").set_defaults(verb=_build)
    up = verbs.add_parser("up", help="start the lab; it stays")
    up.add_argument("settings", nargs="*", metavar="NAME=VALUE", help="BOOTDROP_… settings")
    up.set_defaults(verb=_up)
    boot = verbs.add_parser("boot", help="boot a machine and show its console")
    boot.add_argument("--kernel", type=Path, help="dropped first; Debian's when there is none")
    boot.add_argument("--initrd", type=Path, help="dropped beside the kernel")
    boot.add_argument("--expect", default=RESCUE_SHELL, help="regular expression; then it is over")
    boot.add_argument("--timeout", type=float, default=60, help="seconds from power-on")
    boot.set_defaults(verb=_boot)
    demo = verbs.add_parser("demo", help="lab up, a kernel dropped, a machine booted, lab down")
    demo.set_defaults(verb=_demo)
    for each in (boot, demo):
        each.add_argument("--firmware", choices=("bios", "uefi", "uefi-arm64"), default="bios")
    verbs.add_parser("shell", help="a shell in the lab").set_defaults(verb=_shell)
    verbs.add_parser("down", help="remove the lab").set_defaults(verb=_down)
    return parser


def _build(_: argparse.Namespace) -> int:
    build_images()
    return 0


def _up(arguments: argparse.Namespace) -> int:
    settings = dict(setting.partition("=")[::2] for setting in arguments.settings)
    lab = Lab()
    lab.up(settings)
    try:
        status = lab.wait_ready()
    finally:
        lab.detach()
    print(f"lab: {status.state}; drop kernels into {lab.boot / 'kernels'}")
    return 0


def _boot(arguments: argparse.Namespace) -> int:
    lab = Lab()
    stays = lab.is_up()
    try:
        if stays:
            lab.attach()
        else:
            lab.up()
        _drop(lab, arguments.firmware, arguments.kernel, arguments.initrd)
        _watch(lab, arguments.firmware, arguments.expect, arguments.timeout)
    finally:
        if stays:
            lab.detach()
        else:
            lab.down()
    return 0


def _drop(lab: Lab, firmware: Firmware, kernel: Path | None, initrd: Path | None) -> None:
    """Drop what is to be booted and wait until a machine would get it."""
    since = time.time()
    if kernel is None:
        name = lab.drop_demo_kernel("arm64" if firmware == "uefi-arm64" else "amd64")
    else:
        if initrd is not None:
            lab.drop(initrd)
        name = lab.drop(kernel).name
    print(f"lab: {name} dropped", flush=True)
    lab.wait_status(lambda status: status.default.startswith(f"{name} "), 30, since)
    lab.wait_ready()


def _watch(lab: Lab, firmware: Firmware, expected: str, timeout: float) -> None:
    """Boot a machine with its console shown until the expected text; draw its timeline."""
    machine = lab.machine(firmware, echo=_show)
    try:
        with machine:
            machine.expect(expected, timeout)
            if expected == RESCUE_SHELL:
                machine.send("\n")
                machine.expect(_PROMPT, 10)
    finally:
        print(f"\n\nseconds from power-on ({firmware})\n{table(machine, lab.events)}", flush=True)


def _demo(arguments: argparse.Namespace) -> int:
    build_images()
    with Lab("demo") as lab:
        print("lab: up", flush=True)
        lab.up()
        _drop(lab, arguments.firmware, None, None)
        _watch(lab, arguments.firmware, RESCUE_SHELL, 60)
    print(_WHAT_NEXT)
    return 0


def _shell(_: argparse.Namespace) -> int:
    lab = Lab()
    if not lab.is_up():
        raise LabError("no lab is up; start it with `make lab-up`")
    terminal = ["--tty"] if sys.stdin.isatty() else []
    return run(
        ["docker", "exec", "--interactive", *terminal, f"{lab.project.name}-lab-1", "bash"],
        check=False,
    ).returncode


def _down(_: argparse.Namespace) -> int:
    Lab().down()
    return 0


def _show(text: str) -> None:
    sys.stdout.write(text)
    sys.stdout.flush()
