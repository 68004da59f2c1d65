"""Handles made up against the whole appliance: where they lead from its own exports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import pytest

from tests.daemons.forge import Refused, replaced
from tests.daemons.nfs import CLIENT, Forger
from tests.lab.lab import Lab
from tests.lab.nfs_root import NfsRoot, add_roots

pytestmark = pytest.mark.lab

ROOT = NfsRoot(share="rw")
PATH = f"/{ROOT.name}/{ROOT.id}/rw"
MOUNTED = f"/run/bootdrop/exports{PATH}"
# What no machine may see of the volume, which lies on the host's file system, and of the container.
SECRETS = {
    "a file of the host": "/srv/boot/secret",
    "a kernel that is not published": "/srv/boot/kernels/.secret",
    "a recipe": "/srv/boot/recipes/.secret",
    "the tree that was built": f"/srv/boot/roots/{ROOT.name}/{ROOT.id}/tree/content",
    "state": "/var/lib/bootdrop/secret",
}
FOLDERS = ("/srv/boot", "/srv/boot/kernels", f"/srv/boot/roots/{ROOT.name}", "/var/lib/bootdrop")
# What a client of either version hears of a handle that is none, or none any more.
NO_HANDLE = r"nfs[34] 70|nfs[34] 10001|nfs[34] 5|nfs[34] 22|nfs[34] 2$"

BOTH_VERSIONS = pytest.mark.parametrize("version", [3, 4])
Below = Literal["upper", "lower"]
BOTH_BELOW = pytest.mark.parametrize("below", ["upper", "lower"])


def served(lab: Lab, store: str) -> Lab:
    """Start an appliance with a root that all share, and secrets beside it."""
    lab.up({"BOOTDROP_NFS": "ganesha", "BOOTDROP_NFS_STORE": store, "BOOTDROP_STORE_SIZE": "256"})
    address = ["ip", "address", "add", f"{CLIENT}/24", "dev", "br0"]
    assert lab.network.exec_run(address)[0] == 0
    add_roots(lab, [ROOT])
    lab.wait_status(lambda status: "ganesha" in status.serving, 60)
    files = " ".join(path for path in SECRETS.values() if path.endswith("secret"))
    script = f"echo mine >{MOUNTED}/mine; for file in {files}; do echo secret >$file; done"
    status, said = lab.exec_appliance(["sh", "-c", script])
    assert status == 0, said
    return lab


@pytest.fixture(scope="module")
def image_lab(lab_images: None) -> Iterator[Lab]:
    with Lab("forged-image") as lab:
        yield served(lab, "image")


@pytest.fixture(scope="module")
def volume_lab(lab_images: None) -> Iterator[Lab]:
    with Lab("forged-volume") as lab:
        yield served(lab, "volume")


def below_of(lab: Lab, below: Below) -> tuple[str, str]:
    """Return a file of the export, and where it really lies."""
    is_image = lab.exec_appliance(["test", "-d", "/run/bootdrop/store/trees"])[0] == 0
    layers = "/run/bootdrop/store/layers" if is_image else "/srv/boot/machines"
    tree = f"/srv/boot/roots/{ROOT.name}/{ROOT.id}/tree"
    if is_image:
        tree = f"/run/bootdrop/store/trees/{ROOT.id}/{ROOT.name}"
    if below == "upper":
        return "mine", f"{layers}/rw/{ROOT.name}/{ROOT.id}/upper/mine"
    return "content", f"{tree}/content"


def forged(client: Forger, version: int, below: Below, target: bytes | str) -> bytes:
    """Return the handle of a file of the export, changed into one of another file."""
    name, real = below_of(client.lab, below)
    honest = client.lookup(version, client.mount(version, PATH), name)
    wanted = client.kernel_handle(target) if isinstance(target, str) else target
    handle = replaced(honest, client.kernel_handle(real), wanted)
    assert handle != honest
    return handle


def is_refused(client: Forger, version: int, handle: bytes) -> None:
    for attack in (client.read, client.names):
        with pytest.raises(Refused, match=NO_HANDLE):
            attack(version, handle)
    with pytest.raises(Refused, match=NO_HANDLE):
        client.write(version, handle, "owned")


@BOTH_VERSIONS
@BOTH_BELOW
def test_no_forged_handle_leads_to_anything_of_the_host(
    image_lab: Lab, version: int, below: Below
) -> None:
    with Forger(image_lab) as client:
        name = below_of(image_lab, below)[0]
        honest = client.lookup(version, client.mount(version, PATH), name)
        wanted = {"mine": "mine", "content": ROOT.content}[name]
        assert client.read(version, honest) == f"{wanted}\n"
        for path in (*SECRETS.values(), *FOLDERS):
            is_refused(client, version, forged(client, version, below, path))


@BOTH_VERSIONS
@BOTH_BELOW
def test_the_stores_own_folders_are_not_served(image_lab: Lab, version: int, below: Below) -> None:
    """Inode 2 of generation 0 is the root of any ext4: nothing has to be known for it."""
    with Forger(image_lab) as client:
        roots = (2).to_bytes(4, "little") + bytes(4)
        for target in (roots, "/run/bootdrop/store/layers", "/run/bootdrop/store/trees"):
            is_refused(client, version, forged(client, version, below, target))


@BOTH_VERSIONS
def test_what_the_store_holds_is_what_a_forged_handle_can_reach(
    image_lab: Lab, version: int
) -> None:
    """So nothing but machines' layers and roots may ever lie in it (docs/security.md)."""
    target = f"/run/bootdrop/store/trees/{ROOT.id}/{ROOT.name}/etc/hostname"
    with Forger(image_lab) as client:
        assert client.read(version, forged(client, version, "upper", target)) == "tree\n"
    stored = image_lab.exec_appliance(["ls", "-A", "/run/bootdrop/store"])[1].split()
    assert stored == ["layers", "lost+found", "trees"]


@BOTH_VERSIONS
@BOTH_BELOW
def test_on_the_volume_itself_a_forged_handle_reads_the_hosts_files(
    volume_lab: Lab, version: int, below: Below
) -> None:
    """The attack works, so that it fails above means something: BOOTDROP_NFS_STORE=volume."""
    with Forger(volume_lab) as client:
        for folder in ("/srv/boot", "/srv/boot/kernels", "/srv/boot/recipes"):
            # overlayfs remembers a file as of its upper or its lower layer: one for each.
            path = f"{folder}/.{below}-{version}"
            assert volume_lab.exec_appliance(["sh", "-c", f"echo secret >{path}"])[0] == 0
            assert client.read(version, forged(client, version, below, path)) == "secret\n"
        for path in FOLDERS:
            with pytest.raises(Refused, match=NO_HANDLE):
                client.names(version, forged(client, version, below, path))
