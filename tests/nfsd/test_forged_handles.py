"""File handles made up against the kernel's NFS server: none may lead out of an export."""

from __future__ import annotations

import pytest

from tests.daemons.forge import Refused, replaced
from tests.nfsd.server import Server

pytestmark = [pytest.mark.lab, pytest.mark.nfsd]

BOTH_VERSIONS = pytest.mark.parametrize("version", [3, 4])
PATH = "/fedora/aabbccddeeff0011/52-54-00-00-00-01"
LAYER = f"/srv/boot/machines{PATH}"


def forged(server: Server, version: int, own: str, other: str) -> str:
    """Return the handle of a file of the layer, changed into one of a file of the server."""
    root = server.forge("mount", version=version, path=PATH)
    honest = server.forge("lookup", version=version, handle=root, about=own)
    real = bytes.fromhex(server.forge("kernel_handle", path=f"{LAYER}/upper/{own}"))
    wanted = bytes.fromhex(server.forge("kernel_handle", path=other))
    return replaced(bytes.fromhex(honest), real, wanted).hex()


@BOTH_VERSIONS
def test_a_handle_of_the_layers_own_file_is_good(server: Server, version: int) -> None:
    server.do(f"mkdir -p {LAYER}/upper && echo mine >{LAYER}/upper/mine")
    server.do(f"echo {PATH} >/srv/boot/layers")
    server.start()
    handle = forged(server, version, "mine", f"{LAYER}/upper/mine")
    assert server.forge("read", version=version, handle=handle) == "mine\n"
    server.do("mkdir -p /srv/boot/secrets && echo s | tee /srv/boot/secret /srv/boot/secrets/s")
    for other in ("/srv/boot/secret", "/srv/boot/secrets", "/srv/boot", "/srv/boot/secrets/s"):
        handle = forged(server, version, "mine", other)
        for verb in ("read", "list", "write"):
            with pytest.raises(Refused):
                said = server.forge(verb, version=version, handle=handle, about="owned")
                print(version, other, verb, said)
