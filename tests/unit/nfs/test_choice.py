from __future__ import annotations

from ipaddress import IPv4Network
from pathlib import Path

import pytest

from appliance.nfs.choice import (
    Choice,
    Seen,
    Wanted,
    decide,
    foreign,
    host_export,
    host_folder,
)
from appliance.nfs.export import fsid
from tests.unit.builders import a_root

NOBODY = Seen(threads=0, ours=False, elsewhere=None, no_nfsd=None)
NO_NFSD = Seen(0, ours=False, elsewhere=None, no_nfsd="mount: unknown filesystem type 'nfsd'.")
HOST_SERVES = Seen(8, ours=False, elsewhere=None, no_nfsd=None)
OURS_RUNS = Seen(8, ours=True, elsewhere=None, no_nfsd=None)
GANESHA_OF_HOST = Seen(0, ours=False, elsewhere="TCP port 2049 is taken", no_nfsd=None)


def off(by: str) -> Choice:
    return Choice(None, f"the host serves NFS itself ({by}); ours stays off", by_host=True)


NO = "the kernel's nfsd cannot be had: mount: unknown filesystem type 'nfsd'."


@pytest.mark.parametrize(
    ("wanted", "seen", "choice"),
    [
        ("auto", NOBODY, Choice("kernel", "the kernel has nfsd, and nobody else uses it")),
        ("auto", OURS_RUNS, Choice("kernel", "the kernel has nfsd, and nobody else uses it")),
        ("auto", NO_NFSD, Choice("ganesha", NO)),
        ("kernel", NO_NFSD, Choice(None, f"{NO}; BOOTDROP_NFS=auto takes Ganesha then")),
        ("ganesha", NOBODY, Choice("ganesha", "BOOTDROP_NFS is ganesha")),
        ("off", NOBODY, Choice(None, "BOOTDROP_NFS is off")),
        *(
            (wanted, HOST_SERVES, off("8 threads of the kernel's nfsd"))
            for wanted in ("auto", "kernel", "ganesha")
        ),
        ("ganesha", GANESHA_OF_HOST, off("TCP port 2049 is taken")),
    ],
)
def test_what_the_host_has_decides(wanted: Wanted, seen: Seen, choice: Choice) -> None:
    assert decide(wanted, seen) == choice


OURS = 'LISTEN 0 4096 0.0.0.0:20048 0.0.0.0:* users:(("rpc.mountd",pid=9,fd=4)) ino:1 sk:1'
THEIRS = "LISTEN 0 4096 0.0.0.0:20048 0.0.0.0:* ino:1 sk:1 cgroup:unreachable:1"
KERNEL = "LISTEN 0 64 192.168.10.1:2049 0.0.0.0:* ino:2 sk:2"
MOUNTD = "   program vers proto   port  service\n    100005    3   tcp  20048  mountd\n"


@pytest.mark.parametrize(
    ("sockets", "registered", "kernel_serves", "who"),
    [
        ([], "", False, None),
        ([OURS, KERNEL], MOUNTD, True, None),
        # A mountd that was killed stays registered.
        ([KERNEL], MOUNTD, True, None),
        (
            [THEIRS, KERNEL],
            MOUNTD,
            True,
            "its mountd is registered with rpcbind, on TCP port 20048",
        ),
        (
            [KERNEL],
            "",
            False,
            "TCP port 2049 is taken; `ss -lntp sport = :2049` there says by whom",
        ),
        (
            ["LISTEN 0 64 0.0.0.0:2050 0.0.0.0:* ino:2"],
            "100003 4 tcp 2050 nfs\n",
            False,
            "its server is registered with rpcbind, on TCP port 2050",
        ),
        # One of NFSv4 alone registers nothing; the record of ours may be from before it.
        (
            ["LISTEN 0 64 [::]:2049 [::]:* ino:3 sk:3", "LISTEN 0 64 0.0.0.0:2049 0.0.0.0:* ino:2"],
            "",
            True,
            "the kernel's server listens on every address, as ours never does",
        ),
        (["garbage", "LISTEN 0 1 * *"], "100003 4 udp 2049\nx y z\n", False, None),
    ],
)
def test_a_server_outside_of_the_container_is_found(
    sockets: list[str], registered: str, kernel_serves: bool, who: str | None
) -> None:
    assert foreign("\n".join(sockets), registered, kernel_serves=kernel_serves) == who


MOUNTS = (
    "1 0 8:1 / / rw - ext4 /dev/sda1 rw\n"
    "2 1 8:1 /home/lab/bootdrop/boot /srv/boot rw,relatime - ext4 /dev/sda1 rw\n"
)


def test_the_volume_is_found_on_the_host() -> None:
    assert host_folder(MOUNTS, Path("/srv/boot")) == "/home/lab/bootdrop/boot"
    assert host_folder(MOUNTS, Path("/elsewhere")) == "…/boot"


def test_the_host_may_export_versions_read_only() -> None:
    root = a_root("my root")
    line = host_export("/home/lab/boot", IPv4Network("192.168.10.0/24"), root)
    assert line == (
        f'"/home/lab/boot/roots/my root/{root.id}/tree" '
        "192.168.10.0/24(ro,async,no_root_squash,no_subtree_check,"
        f"fsid={fsid(root.key, root.id, 'host')})"
    )
