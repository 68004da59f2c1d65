"""What the menu and DHCP say of roots over NFS."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from tests.boot.nfs import BOOT, direct, hardware, holder, machines
from tests.lab.lab import Lab
from tests.lab.nfs_root import NfsRoot, add_roots
from tests.lab.project import SERVER

pytestmark = pytest.mark.lab

SETTINGS = {"BOOTDROP_MENU_TIMEOUT": "3", "BOOTDROP_NFS_DEFAULT_PATH": "true"}


def test_a_kernel_that_cannot_says_what_it_lacks_before_anybody_boots(
    nfs_lab: Lab, test_kernel_dir: Path
) -> None:
    lab = nfs_lab
    add_roots(lab, [NfsRoot()])
    kernel = max(test_kernel_dir.glob("bzImage-*-noroot"))
    lab.drop(kernel, "mine")
    script = lab.boot / "published" / "boot.ipxe"
    lab.wait_status(
        lambda status: "mine" in status.kernels and "acks ROOT_NFS" in script.read_text(), 30
    )
    _, said = lab.exec_appliance(["bootdrop", "kernels"])
    lacking = set(re.findall(r"CONFIG_(\w+)=y", said.partition("mine: no, it lacks ")[2]))
    assert lacking == {"IP_PNP", "IP_PNP_DHCP", "ROOT_NFS"}
    assert "scripts/config -e IP_PNP -e IP_PNP_DHCP -e ROOT_NFS && make olddefconfig" in said
    with lab.machine(hardware(1)) as machine:
        machine.expect(r"mine .*, small over NFS: lacks ROOT_NFS, IP_PNP and 1 more", BOOT)
        # By default it boots what works, and can be asked.
        machine.expect(r"BOOTDROP: rescue shell", BOOT)
        machine.send("zcat /proc/config.gz | grep -E '^CONFIG_(IP_PNP|NFS_|ROOT_)'; echo 'E''ND'\n")
        has = set(re.findall(r"CONFIG_(\w+)=y", machine.expect(r"(?s:.*)\nEND", 30).match[0]))
    assert has >= {"NFS_FS", "NFS_V3"}
    assert not lacking & has


def test_a_kernel_finds_its_root_by_dhcp_alone_and_by_the_path_that_kernels_take(
    nfs_lab: Lab, test_kernel: Path
) -> None:
    lab, root = nfs_lab, NfsRoot("my small root")
    add_roots(lab, [root])
    lab.drop(test_kernel, "bzImage")
    lab.wait_status(lambda status: status.default.endswith(", my small root over NFS"), 60)
    ordered = [
        direct(lab, test_kernel, "root=/dev/nfs rw ip=dhcp", 1),
        direct(lab, test_kernel, "root=/dev/nfs rw nfsroot=/tftpboot/%s,vers=3,tcp ip=dhcp", 2),
    ]
    with machines(lab, ordered) as (by_dhcp, by_itself):
        seen = by_dhcp.booted(BOOT)
        assert seen.source.startswith(f"{SERVER}:/my")
        assert seen.source.endswith(f"/{root.id}/{holder(ordered[0])}")
        assert re.fullmatch(rf"{SERVER}:/tftpboot/192\.168\.10\.\d+", by_itself.booted(BOOT).source)
        by_itself.run("write /mark 'who is this'")
        assert by_dhcp.run("echo /mark*") == "/mark*"
