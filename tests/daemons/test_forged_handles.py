"""Handles made up against the whole appliance: where they lead from its own exports."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from typing import Literal

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet

from tests.daemons.forge import Refused, replaced
from tests.daemons.nfs import CLIENT, PYTHON, Forger
from tests.lab.lab import Lab
from tests.lab.nfs_root import NfsRoot, add_roots
from tests.lab.project import SERVER

pytestmark = pytest.mark.lab

ROOT = NfsRoot(share="rw")
PATH = f"/{ROOT.name}/{ROOT.id}/rw"
MOUNTED = f"/run/bootdrop/exports{PATH}"
READ_ONLY = NfsRoot("read-only", share="ro")
READ_ONLY_PATH = f"/{READ_ONLY.name}/{READ_ONLY.id}/ro"
OWN = NfsRoot("own", share="clone")
MAC = "52:54:00:00:00:07"
OWN_PATH = f"/{OWN.name}/{OWN.id}/{MAC.replace(':', '-')}"
TREES, LAYERS = "/run/bootdrop/store/trees", "/run/bootdrop/store/layers"
# What no machine may see of the volume, which lies on the host's file system, and of the container.
SECRETS = {
    "a file of the host": "/srv/boot/secret",
    "a kernel that is not published": "/srv/boot/kernels/.secret",
    "a recipe": "/srv/boot/recipes/.secret",
    "the tree that was built": f"/srv/boot/roots/{ROOT.name}/{ROOT.id}/tree/content",
    "state": "/var/lib/bootdrop/secret",
}
FOLDERS = ("/srv/boot", "/srv/boot/kernels", f"/srv/boot/roots/{ROOT.name}", "/var/lib/bootdrop")
# What a client of either version hears of a read-only export, and of a handle that is none, or
# none any more.
READ_ONLY_EXPORT = r"nfs[34] 30$"
NO_HANDLE = r"nfs[34] 70|nfs[34] 10001|nfs[34] 5|nfs[34] 22|nfs[34] 2$"

BOTH_VERSIONS = pytest.mark.parametrize("version", [3, 4])
Below = Literal["upper", "lower"]
BOTH_BELOW = pytest.mark.parametrize("below", ["upper", "lower"])


def served(lab: Lab, store: str) -> Lab:
    """Start an appliance with a root that all share, and secrets beside it."""
    lab.up(
        {"BOOTDROP_NFS": "ganesha", "BOOTDROP_NFS_STORE": store, "BOOTDROP_NFS_STORE_SIZE": "256"}
    )
    address = ["ip", "address", "add", f"{CLIENT}/24", "dev", "br0"]
    assert lab.network.exec_run(address)[0] == 0
    add_roots(lab, [ROOT, READ_ONLY, OWN])
    lab.wait_status(lambda status: {"ganesha", "dhcpd"} <= set(status.serving), 60)
    lease(lab)
    exports = f"{MOUNTED} /run/bootdrop/exports{READ_ONLY_PATH} /run/bootdrop/exports{OWN_PATH}"
    script = "until mountpoint -q $1 && mountpoint -q $2 && mountpoint -q $3; do sleep 0.1; done"
    argv = ["timeout", "60", "sh", "-c", script, "sh", *exports.split()]
    assert lab.exec_appliance(argv)[0] == 0
    files = " ".join(path for path in SECRETS.values() if path.endswith("secret"))
    script = f"for file in {files}; do echo secret >$file; done; "
    script += f"for export in {exports}; do echo mine >$export/mine; done"
    status, said = lab.exec_appliance(["sh", "-c", script])
    assert status == 0, said
    return lab


# Sends frames, given as lines of hexadecimals, from a port of the bridge; prints each answer.
_ASK = """
import socket, sys
port = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(0x800))
port.bind(("its", 0))
port.settimeout(20)
for line in sys.stdin:
    port.send(bytes.fromhex(line))
    while (frame := port.recv(2048))[36:38] != b"\\0\\x44":  # to port 68
        pass
    print(frame.hex(), flush=True)
"""


def lease(lab: Lab) -> None:
    """Have a machine get an address, by which it has a clone."""
    link = (
        f"ip link add its address {MAC} type veth peer name port && ip link set port master br0 && "
        "ip link set port up && ip link set its up"
    )
    status, said = lab.network.exec_run(["sh", "-c", link])
    assert status == 0, said
    argv = ["docker", "exec", "-i", str(lab.appliance.id), PYTHON, "-c", _ASK]
    with subprocess.Popen(argv, stdin=-1, stdout=-1, text=True) as client:
        assert client.stdin is not None
        assert client.stdout is not None
        options: list[object] = [("message-type", "discover"), "end"]
        for _ in range(2):
            client.stdin.write(f"{bytes(dhcp(options)).hex()}\n")
            client.stdin.flush()
            address = Ether(bytes.fromhex(client.stdout.readline()))[BOOTP].yiaddr
            options = [("message-type", "request"), ("requested_addr", address)]
            options += [("server_id", SERVER), "end"]
        client.stdin.close()


def dhcp(options: list[object]) -> Packet:
    ethernet = Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255")
    bootp = BOOTP(xid=7, chaddr=bytes.fromhex(MAC.replace(":", "")) + bytes(10), flags=0x8000)
    return ethernet / UDP(sport=68, dport=67) / bootp / DHCP(options=options)


@pytest.fixture(scope="module")
def image_lab(lab_images: None) -> Iterator[Lab]:
    with Lab("forged-image") as lab:
        yield served(lab, "image")


@pytest.fixture(scope="module")
def volume_lab(lab_images: None) -> Iterator[Lab]:
    with Lab("forged-volume") as lab:
        yield served(lab, "volume")


def copy_of(root: NfsRoot) -> str:
    return f"{TREES}/versions/{root.id}/{root.name}"


def below_of(lab: Lab, below: Below) -> tuple[str, str]:
    """Return a file of the export, and where it really lies."""
    is_image = lab.exec_appliance(["test", "-d", TREES])[0] == 0
    layers = f"{LAYERS}/machines" if is_image else "/srv/boot/machines"
    tree = f"/srv/boot/roots/{ROOT.name}/{ROOT.id}/tree"
    if is_image:
        tree = copy_of(ROOT)
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
        for target in (roots, f"{LAYERS}/machines", f"{TREES}/machines", f"{TREES}/versions"):
            is_refused(client, version, forged(client, version, below, target))


@BOTH_VERSIONS
def test_what_the_store_holds_is_what_a_forged_handle_can_reach(
    image_lab: Lab, version: int
) -> None:
    """So nothing but machines' layers and roots may ever lie in it (docs/security.md)."""
    others = f"{LAYERS}/machines{as_kept(OWN_PATH)}/upper/etc/hostname"
    with Forger(image_lab) as client:
        name = f"host-{MAC.replace(':', '')}\n"
        assert client.read(version, forged(client, version, "upper", others)) == name
        target = f"{copy_of(READ_ONLY)}/etc/hostname"
        assert client.read(version, forged(client, version, "lower", target)) == "tree\n"
        mine = f"{LAYERS}/machines{as_kept(OWN_PATH)}/upper/mine"
        client.write(version, forged(client, version, "upper", mine), "mine")
        for handle in lies(client, version, READ_ONLY_PATH, mine):
            with pytest.raises(Refused, match=NO_HANDLE):
                client.read(version, handle)
    listed = image_lab.exec_appliance(["ls", "-A", LAYERS, TREES])[1].split()
    assert listed == [
        *(f"{LAYERS}:", "lost+found", "machines"),
        *(f"{TREES}:", "lost+found", "machines", "versions"),
    ]


def as_kept(path: str) -> str:
    """Return where a layer lies on its shelf."""
    _, name, version, holder = path.split("/")
    return f"/{holder}/{name}/{version}"


# fs/overlayfs/overlayfs.h, struct ovl_fb: before a file's own handle are flags, its type, the
# number of the file system that it is in.
_UUID, _FLAGS_BEFORE = 16, 18
_PATH_UPPER = 1 << 2


def lies(client: Forger, version: int, path: str, target: str) -> list[bytes]:
    """Return an export's handles changed into a file's: as the tree's, the layer's, and mixed."""
    root, wanted = client.mount(version, path), client.kernel_handle(target)
    handles = {}
    for name, real in kept_files(path).items():
        honest, own = client.lookup(version, root, name), client.kernel_handle(real)
        handles[name] = replaced(honest, own, wanted), honest.index(own)
    (upper, at), (lower, lower_at) = handles["mine"], handles["content"]
    of_trees = lower[lower_at - _UUID : lower_at]
    flags = lower_at - _FLAGS_BEFORE
    as_upper = bytes([lower[flags] | _PATH_UPPER])
    return [
        lower,
        upper,
        upper[: at - _UUID] + of_trees + upper[at:],
        lower[:flags] + as_upper + lower[flags + 1 :],
    ]


def kept_files(path: str) -> dict[str, str]:
    """Return where files of an export lie: one that is in its layer, one of its tree."""
    _, name, version, holder = path.split("/")
    image = TREES if holder == "ro" else LAYERS
    return {
        "mine": f"{image}/machines{as_kept(path)}/upper/mine",
        "content": f"{TREES}/versions/{version}/{name}/content",
    }


NEVER_WRITTEN = {
    "the copy of its own version": f"{copy_of(OWN)}/sbin/init",
    "the copy of another's": f"{copy_of(READ_ONLY)}/sbin/init",
    "a root that is only read": f"{TREES}/machines{as_kept(READ_ONLY_PATH)}/upper/mine",
    "what is noted of it": f"{TREES}/machines{as_kept(READ_ONLY_PATH)}/layer.json",
}


@pytest.mark.parametrize("target", NEVER_WRITTEN)
@BOTH_VERSIONS
@pytest.mark.parametrize("path", [PATH, OWN_PATH, READ_ONLY_PATH])
def test_no_forged_handle_writes_what_machines_only_read(
    image_lab: Lab, path: str, version: int, target: str
) -> None:
    """As a file of the tree it is copied up: what is written is the writer's own copy."""
    before = contents(image_lab)
    with Forger(image_lab) as client:
        as_tree, *others = lies(client, version, path, NEVER_WRITTEN[target])
        if path == READ_ONLY_PATH:
            others.append(as_tree)
        else:
            client.write(version, as_tree, "owned")
            assert client.read(version, as_tree).startswith("owned")
        for handle in others:
            with pytest.raises(Refused, match=f"{NO_HANDLE}|{READ_ONLY_EXPORT}"):
                client.write(version, handle, "owned")
        honest = client.lookup(version, client.mount(version, READ_ONLY_PATH), "mine")
        assert client.read(version, honest) == "mine\n"
    assert contents(image_lab) == before


def contents(lab: Lab) -> str:
    """Return checksums of what no machine may write."""
    script = "sync; cd $1 && find versions machines -type f -exec sha256sum {} + | sort"
    status, said = lab.exec_appliance(["sh", "-c", script, "sh", TREES])
    assert status == 0, said
    assert "layer.json" in said
    return said


@BOTH_VERSIONS
@pytest.mark.parametrize("path", [PATH, OWN_PATH])
def test_a_file_of_the_tree_stays_the_same_when_it_is_copied_into_the_layer(
    image_lab: Lab, path: str, version: int
) -> None:
    """They lie in two file systems; a machine sees one (xino=on)."""
    # A file for each version, as it is copied once.
    folder, name, said = {3: ("etc", "passwd", "root:"), 4: ("bin", "flock", "\x7fELF")}[version]
    before = contents(image_lab)
    with Forger(image_lab) as client:
        root = client.mount(version, path)
        handle = client.lookup(version, root, folder, name)
        assert client.read(version, handle).startswith(said)
        client.write(version, handle, "upper")
        for found in (handle, client.lookup(version, root, folder, name)):
            assert client.read(version, found).startswith("upper")
    assert contents(image_lab) == before


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
