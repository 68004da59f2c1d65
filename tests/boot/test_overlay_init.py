"""A root that is mounted read-only becomes writable in the machine's memory, without an initramfs.

It is the rescue shell's ext2 ramdisk, with overlay-init as it comes in the image.
"""

from __future__ import annotations

import gzip
import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.machine import Machine

pytestmark = pytest.mark.lab

SETTINGS = {
    "BOOTDROP_RAMDISK": "ext2",
    "BOOTDROP_MENU_TIMEOUT": "1",
    "BOOTDROP_NFS": "off",  # the NFS server is the test's own
}
BOOT = 90  # seconds
ID = "00112233445566aa"

# debugfs(8) puts the programs into the image, as nothing may be mounted here.
_ADD = """
set -e
cd /tmp
zcat /usr/lib/bootdrop/rescue/x86_64/rescue.ext2.gz >image
programs=/usr/lib/bootdrop/overlay-init/x86_64
debugfs -w -f - image <<COMMANDS
mkdir .bootdrop
mkdir .bootdrop/memory
write $programs/busybox .bootdrop/busybox
write $programs/overlay-init .bootdrop/overlay-init
sif .bootdrop/busybox mode 0100755
sif .bootdrop/overlay-init mode 0100755
COMMANDS
mv image /srv/boot/roots/.image
"""


@pytest.fixture
def root(empty_lab: Lab) -> Iterator[Path]:
    """The folder of a root that does not exist yet; gone at the end."""
    folder = empty_lab.boot / "roots" / "shared"
    yield folder
    shutil.rmtree(folder)


def build(lab: Lab, root: Path, cmdline: str) -> None:
    """Leave a root with overlay-init as the builder does."""
    status, said = lab.exec_appliance(["sh", "-c", _ADD])
    assert status == 0, said
    image = lab.boot / "roots" / ".image"
    packed = gzip.compress(image.read_bytes(), 1)
    ramdisk = {
        "file": "ramdisk.ext2.gz",
        "bytes": len(packed),
        "sha256": hashlib.sha256(packed).hexdigest(),
        "uncompressed_kib": image.stat().st_size // 1024,
        "compression": "gzip",
    }
    image.unlink()
    (root / ID).mkdir(parents=True)
    (root / ID / "ramdisk.ext2.gz").write_bytes(packed)
    described = {
        "name": root.name,
        "id": ID,
        "arch": "x86_64",
        "init": "/.bootdrop/overlay-init",
        "cmdline": f"ro {cmdline}",
        "formats": {"ext2": ramdisk},
    }
    (root / ID / "root.json").write_text(json.dumps(described))
    (root / ".current").symlink_to(ID)
    os.rename(root / ".current", root / "current")


def boot(lab: Lab, root: Path, kernel: Path, cmdline: str) -> Machine:
    """Have the root in the menu; return a machine that will boot it."""
    build(lab, root, cmdline)
    lab.drop(kernel, "bzImage")
    version = kernel.name.removeprefix("bzImage-")
    lab.wait_status(lambda status: status.default == f"bzImage ({version}), shared", 20)
    return lab.machine("bios")


def answer(machine: Machine, command: str) -> str:
    """Type a command in the machine's shell; return the line that it prints last."""
    machine.send(f'printf "(%s)\\n" "$({command})"\n')
    return machine.expect(r"\n\((.*)\)", BOOT).match[1]


def test_a_read_only_root_is_written_to_in_memory(
    empty_lab: Lab, root: Path, test_kernel: Path
) -> None:
    with boot(empty_lab, root, test_kernel, "bootdrop.init=/init single") as machine:
        machine.expect(r"VFS: Mounted root \(ext2 filesystem\) readonly", BOOT)
        machine.expect(r"BOOTDROP: changes of this root are kept in memory; init /init", BOOT)
        machine.expect(r"BOOTDROP: rescue shell", BOOT)
        assert answer(machine, "grep -c '^overlay / overlay rw,' /proc/mounts") == "1"
        assert answer(machine, "echo new >/etc/motd && cat /etc/motd") == "new"
        # A folder of the lower tree is renamed, not copied: that needs attributes in memory.
        assert answer(machine, "mv /etc /moved && ls -d /moved/motd /etc 2>&1 | wc -l") == "2"
        assert answer(machine, "grep -c ' /dev devtmpfs ' /proc/mounts") == "1"
        assert answer(machine, "ls /.bootdrop | xargs") == "busybox memory overlay-init"
        assert answer(machine, "tr '\\0' ' ' </proc/1/cmdline") == "/bin/sh /init single "


def test_a_kernel_without_overlayfs_says_so_and_goes_on(
    empty_lab: Lab, root: Path, test_kernel: Path
) -> None:
    line = "bootdrop.init=/init initcall_blacklist=ovl_init"
    with boot(empty_lab, root, test_kernel, line) as machine:
        machine.expect(
            r"BOOTDROP: this root is read-only, its changes cannot be kept in memory:"
            r" the kernel lacks CONFIG_OVERLAY_FS",
            BOOT,
        )
        machine.expect(r"BOOTDROP: init /init", BOOT)
        machine.expect(r"BOOTDROP: rescue shell", BOOT)
        assert answer(machine, "grep -c /.bootdrop /proc/mounts") == "0"


def test_a_root_without_the_named_init_gets_another(
    empty_lab: Lab, root: Path, test_kernel: Path
) -> None:
    with boot(empty_lab, root, test_kernel, "bootdrop.init=/opt/none") as machine:
        machine.expect(r"BOOTDROP: /opt/none is no program of this root; /sbin/init is", BOOT)
        machine.expect(r"BOOTDROP: rescue shell", BOOT)
