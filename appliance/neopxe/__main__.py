"""The command `neopxe`."""

from __future__ import annotations

import argparse
import signal
import sys
from collections.abc import Sequence
from pathlib import Path
from types import FrameType

from appliance.neopxe import conf
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
        configuration = conf.parse(arguments.config.read_text(encoding="utf-8"))
    except conf.BadConfiguration as bad:
        for problem in bad.problems:
            print(f"{arguments.config}:{problem}", file=sys.stderr)
        return 2
    except (OSError, UnicodeDecodeError) as error:
        print(f"neopxe: {arguments.config}: cannot be read: {error}", file=sys.stderr)
        return 2
    if arguments.check:
        return 0
    signal.signal(signal.SIGTERM, _end)
    try:
        Server(configuration, arguments.port).serve()
    except CannotBind as error:
        print(f"neopxe: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0


def _end(_signal: int, _frame: FrameType | None) -> None:
    raise SystemExit(0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
