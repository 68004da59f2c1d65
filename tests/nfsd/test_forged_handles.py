"""File handles made up against the kernel's NFS server: what they lead out of, and what not."""

from __future__ import annotations

import pytest

from tests.daemons.forge import Refused, replaced
from tests.nfsd.server import Server

pytestmark = [pytest.mark.lab, pytest.mark.nfsd]

PATH = "/fedora/aabbccddeeff0011/52-54-00-00-00-01"
LAYER = f"/srv/boot/machines{PATH}"


def forged(server: Server, version: int, own: str, other: str) -> str:
    """Return the handle of a file of the layer, changed into one of a file of the server."""
    root = server.forge("mount", version=version, path=PATH)
    honest = server.forge("lookup", version=version, handle=root, about=own)
    real = bytes.fromhex(server.forge("kernel_handle", path=f"{LAYER}/upper/{own}"))
    wanted = bytes.fromhex(server.forge("kernel_handle", path=other))
    return replaced(bytes.fromhex(honest), real, wanted).hex()


def test_an_overlay_holds_forged_handles_of_folders_but_not_of_files(server: Server) -> None:
    """As tests/daemons/test_ganesha.py has it: the kernel's server is held no better.

    overlayfs asks of a folder whether it lies in the layer, of a file it does not (fs/overlayfs/
    namei.c, ovl_acceptable), so layers on the host's own file system need it to be boot/'s alone.
    """
    server.do(f"mkdir -p {LAYER}/upper/folder && echo mine >{LAYER}/upper/mine")
    server.do("mkdir -p /srv/boot/secrets && echo secret >/srv/boot/secrets/one")
    server.do(f"echo {PATH} >/srv/boot/layers")
    server.start()
    for version in (3, 4):
        own = forged(server, version, "mine", f"{LAYER}/upper/mine")
        assert server.forge("read", version=version, handle=own) == "mine\n"
        for folder in ("/srv/boot/secrets", "/srv/boot", "/"):
            handle = forged(server, version, "folder", folder)
            with pytest.raises(Refused):
                server.forge("list", version=version, handle=handle)
        file = forged(server, version, "mine", "/srv/boot/secrets/one")
        assert server.forge("read", version=version, handle=file) == "secret\n"
