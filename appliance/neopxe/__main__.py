"""The command `neopxe`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections import deque
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from appliance.neopxe import conf
from appliance.neopxe.conf import Configuration
from appliance.neopxe.server import PORT, CannotBind, Server

_EXAMPLES = """\
examples:
  neopxe --config /usr/local/etc/neopxe.conf           serve
  neopxe --config /usr/local/etc/neopxe.conf --check   only tell what is wrong with the file

a configuration:
  ip_addr=192.168.10.1
  prompt=Press [F8] for menu...
  prompt_timeout=10
  service=1,192.168.10.1,pxelinux.0,Linux
  arch_file=1,efi-x64,snponly.efi
"""


class Unusable(Exception):
    """No configuration can be had from the file; the message has a line for each reason."""


def main(argv: Sequence[str]) -> int:
    """Run the command; return 2 for a wrong configuration, 1 when the port cannot be had."""
    parser = argparse.ArgumentParser(
        prog="neopxe",
        description="A PXE boot server (PXE 2.1) on UDP port 4011.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", type=Path, required=True, metavar="FILE")
    parser.add_argument("--check", action="store_true", help="check the configuration and end")
    parser.add_argument("--port", type=int, default=PORT, help=f"UDP port, {PORT} by default")
    arguments = parser.parse_args(argv)
    try:
        configuration = _read(arguments.config)
    except Unusable as unusable:
        print(unusable, file=sys.stderr)
        return 2
    if arguments.check:
        return 0
    try:
        _serve(Server(configuration, arguments.port), arguments.config, configuration)
    except CannotBind as error:
        print(f"neopxe: {error}", file=sys.stderr)
        return 1
    return 0


def _read(file: Path) -> Configuration:
    try:
        return conf.parse(file.read_text(encoding="utf-8"))
    except conf.BadConfiguration as bad:
        raise Unusable("\n".join(f"{file}:{problem}" for problem in bad.problems)) from None
    except (OSError, UnicodeDecodeError) as error:
        raise Unusable(f"neopxe: {file}: cannot be read: {error}") from None


def _serve(server: Server, file: Path, configuration: Configuration) -> None:
    """Serve until SIGTERM or SIGINT; SIGHUP has the file read again. Raises CannotBind."""
    came: deque[int] = deque()

    def end(number: int, _: FrameType | None) -> None:
        came.append(number)
        server.end()

    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, end)
    while True:
        server.serve()
        while came:
            if came.popleft() != signal.SIGHUP:
                return
        configuration = _read_again(file, configuration)
        server.configure(configuration)


def _read_again(file: Path, running: Configuration) -> Configuration:
    """Return the new configuration, or the one that runs where the new one is of no use."""
    try:
        return _read(file)
    except Unusable as unusable:
        print(f"{unusable}\nneopxe: the configuration from before stays", file=sys.stderr)
        return running


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
