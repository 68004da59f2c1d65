"""Lines of rpc.mountd as nfs-utils 2.8.3 has them, of Ganesha as 6.5 printed them."""

from __future__ import annotations

from ipaddress import IPv4Address
from pathlib import PurePosixPath

import pytest

from appliance.nfs.mount_log import (
    Attached,
    Detached,
    Happening,
    Mounted,
    Refused,
    Unmounted,
    of_ganesha,
    of_mountd,
)

MACHINE = IPv4Address("192.168.10.5")
LAYER = PurePosixPath("/fedora/0011223344556677/52-54-00-12-34-56")
GANESHA = (
    "26/11/2026 17:47:15 : epoch 6b0870a3 : 4057aa0bd912 : nfs-ganesha-15[svc_5] "
    "{function} :{component} :INFO :{text}"
)


@pytest.mark.parametrize(
    ("line", "happening"),
    [
        (
            f"rpc.mountd: authenticated mount request from {MACHINE}:848 for {LAYER} ({LAYER})",
            Mounted(MACHINE, LAYER, "3"),
        ),
        (
            f"authenticated mount request from {MACHINE}:848 for {LAYER}/usr ({LAYER})",
            Mounted(MACHINE, LAYER, "3"),
        ),
        (
            f"rpc.mountd[17]: authenticated unmount request from {MACHINE}:7 for {LAYER} ({LAYER})",
            Unmounted(MACHINE, LAYER),
        ),
        (f"rpc.mountd: granted access to {LAYER} for {MACHINE}", Mounted(MACHINE, LAYER)),
        (
            f"rpc.mountd: refused mount request from {MACHINE} for /x (/): no export entry",
            Refused(MACHINE, "/x"),
        ),
        (
            f"rpc.mountd: refused mount request from {MACHINE} for /x (/x): illegal port 4711",
            Refused(MACHINE, "/x"),
        ),
        (f'rpc.mountd: Bad path in mount request from {MACHINE}: "x"', Refused(MACHINE, "x")),
        (f"rpc.mountd: denied access to {LAYER} for {MACHINE}", Refused(MACHINE, str(LAYER))),
        (f"rpc.mountd: denied access to {MACHINE}", Refused(MACHINE, "")),
        (
            f'rpc.mountd: v4.2 client attached: 0x6f3a0d0b64f1e3d2 from "{MACHINE}:725"',
            Attached(MACHINE, "4.2"),
        ),
        (
            f'rpc.mountd: v4.2 client detached: 0x6f3a0d0b64f1e3d2 from "{MACHINE}:725"',
            Detached(MACHINE),
        ),
        ("rpc.mountd: Version 2.8.3 starting", None),
        (f"granted access to {LAYER} for 192.168.10.0/24", None),
        ("authenticated mount request from 999.1.1.1:1 for /x (/x)", None),
    ],
)
def test_a_line_of_mountd_is_read(line: str, happening: Happening | None) -> None:
    assert of_mountd(line) == happening


def test_a_path_that_a_stranger_chose_cannot_make_a_line_of_another_machine() -> None:
    path = f"/x ({LAYER}): no export entry for 192.168.10.66 (/x"
    line = f"rpc.mountd: refused mount request from {MACHINE} for {path} (/): no export entry"
    assert of_mountd(line) == Refused(MACHINE, path)
    forged = f"/x authenticated mount request from 192.168.10.66:1 for {LAYER} ({LAYER})"
    line = f"refused mount request from {MACHINE} for {forged} (/): no export entry"
    assert of_mountd(line) == Refused(MACHINE, forged)


def test_no_more_of_a_path_is_kept_than_a_line_takes() -> None:
    line = f"refused mount request from {MACHINE} for /{'x' * 5000} (/): no export entry"
    assert of_mountd(line) == Refused(MACHINE, "/" + "x" * 199)


@pytest.mark.parametrize(
    ("function", "component", "text", "happening"),
    [
        (
            "mnt_Mnt",
            "NFS3",
            f"MOUNT: Export entry {LAYER} does not allow access for client ::ffff:{MACHINE}",
            Refused(MACHINE, str(LAYER)),
        ),
        (
            "mnt_Mnt",
            "EXPORT",
            f"MOUNT: Export entry / does not support NFS v3 for client ::ffff:{MACHINE}",
            Refused(MACHINE, ""),
        ),
        (
            "nfs4_export_check_access",
            "NFS4",
            f"Access not allowed on Export_Id 12 {LAYER} for client ::ffff:{MACHINE}",
            Refused(MACHINE, str(LAYER)),
        ),
        (
            "nfs_rpc_process_request",
            "DISP",
            f"Client ::ffff:{MACHINE} is not allowed to access Export_Id 12 {LAYER}, "
            "vers=3, proc=1",
            Refused(MACHINE, str(LAYER)),
        ),
        ("rpc", "TIRPC", "svc_vc_wait: 0x7f23 fd 15 recv errno 104 (will set dead)", None),
    ],
)
def test_a_line_of_ganesha_is_read(
    function: str, component: str, text: str, happening: Happening | None
) -> None:
    line = GANESHA.format(function=function, component=component, text=text)
    assert of_ganesha(line) == happening
    # Where the daemon's file took the label away.
    assert of_ganesha(text) == happening
    assert of_ganesha(f"refused: {text}") == happening
