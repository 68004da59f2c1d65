"""`rootfs-builder serve` watches the volume; `rootfs-builder build NAME` builds one root now."""

from __future__ import annotations

import argparse
import logging
import os
import sys
from pathlib import Path

from rootfs_builder import recipe, service
from rootfs_builder.build import Places


def main() -> int:
    """Run the command line; return the exit status."""
    parser = argparse.ArgumentParser(prog="rootfs-builder", description=__doc__)
    verbs = parser.add_subparsers(dest="verb", required=True)
    verbs.add_parser("serve", help="build what is new in recipes/, for ever")
    check = verbs.add_parser("check", help="read a recipe and say what is wrong with it")
    check.add_argument("file", type=Path)
    arguments = parser.parse_args()
    logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stdout)
    try:
        if arguments.verb == "check":
            recipe.read(arguments.file)
            return 0
        volume = Path(os.environ.get("BOOTDROP_VOLUME", "/srv/boot"))
        cache = Path(os.environ.get("BOOTDROP_PACKAGE_CACHE", "/var/cache/rootfs-builder"))
        service.Service(Places.on(volume, cache)).run()
    except recipe.RecipeError as error:
        print(error, file=sys.stderr)
    except OSError as error:
        print(f"rootfs-builder: {error.filename}: {error.strerror}", file=sys.stderr)
    return 1


if __name__ == "__main__":
    sys.exit(main())
