"""Roots boot to their own init, with their kernel's modules, as initramfs and as ext2 ramdisk.

The trees are small and made here; the ramdisks come from the builder's image.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.builder.workbench import Workbench
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

BOOT = 90  # seconds
ROOT = "/tmp/roots/small/0123456789abcdef"

# As most distributions have it: lib is a link. What its init says is the tests' evidence.
TREE = """
mkdir -p $1/tree && cd $1/tree && tar -xf /usr/share/rootfs-builder/busybox.tar
mkdir -p usr/lib cap && ln -s usr/lib lib && cp bin/busybox cap/chown && rm sbin/init
python3 - cap/chown <<'PYTHON'
import os, struct, sys
os.setxattr(sys.argv[1], "security.capability", struct.pack("<5I", 0x02000001, 1, 0, 0, 0))
PYTHON
echo 'user:x:1000:1000::/:/bin/sh' >> etc/passwd
cat > sbin/init <<'INIT'
#!/bin/sh
mount -t proc proc /proc 2>/dev/null
echo "ROOT: init $$ on $(grep ' / ' /proc/mounts | tail -n 1 | cut -d ' ' -f 3)"
modprobe dummy && grep -q '^dummy ' /proc/modules && echo 'ROOT: dummy is loaded'
touch /tmp/file && chown 0:0 /tmp/file
su user -c '/cap/chown 7 /tmp/file' && echo "ROOT: file of $(stat -c %u /tmp/file)"
ls -A / | grep bootdrop
echo 'ROOT: end'
exec sh
INIT
chmod 755 sbin/init
"""
MAKE = """
import sys
from pathlib import Path
from rootfs_builder.modules import make_layer, make_variant
from rootfs_builder.ramdisk import Format, RamdiskOptions, make
root, archive = map(Path, sys.argv[1:])
options = RamdiskOptions(headroom_kib=4096)
make(root / "tree", root, [Format.CPIO], options, lambda *_: None)
layer = make_layer(archive, root.parent.parent)
make_variant(root, layer, options, lambda *_: None)
"""


@pytest.fixture(scope="module")
def workbench() -> Iterator[Workbench]:
    with Workbench() as workbench:
        yield workbench


@pytest.fixture(scope="module")
def ramdisks(
    workbench: Workbench, test_kernel_dir: Path, tmp_path_factory: pytest.TempPathFactory
) -> Path:
    """A folder with `cpio`, a root and its modules as one initrd, and `ext2`."""
    modules = max(test_kernel_dir.glob("modules-*-labtest.tar.zst"))
    workbench.put(modules, "/tmp")
    workbench.run("bash", "-euc", TREE, "bash", ROOT)
    workbench.python(MAKE, ROOT, f"/tmp/{modules.name}")
    # As the loaders do: one archive after the other.
    workbench.sh(f"cat {ROOT}/ramdisk.cpio.zst /tmp/roots/.modules/*/modules.cpio.gz > /tmp/cpio")
    workbench.sh(f"cp {ROOT}.modules/*.ext2.gz /tmp/ext2")
    folder = tmp_path_factory.mktemp("ramdisks")
    for name in ("cpio", "ext2"):
        workbench.get(f"/tmp/{name}", folder / name)
    return folder


def drop(lab: Lab, kernel: Path, initrd: Path) -> None:
    """Drop a kernel with its initrd; wait until they are in the menu together."""
    lab.drop(initrd, "bzImage.initrd")
    lab.drop(kernel, "bzImage")
    lab.wait_status(lambda status: status.kernels == ("bzImage",) and not status.pending, 20)


@pytest.mark.parametrize(("kind", "mounted"), [("cpio", "(rootfs|tmpfs)"), ("ext2", "ext2")])
def test_a_root_boots_to_its_own_init_and_loads_a_module_from_its_layer(
    empty_lab: Lab, ramdisks: Path, test_kernel: Path, kind: str, mounted: str
) -> None:
    drop(empty_lab, test_kernel, ramdisks / kind)
    with empty_lab.machine("bios") as machine:
        machine.expect(rf"ROOT: init 1 on {mounted}", BOOT)
        machine.expect(r"ROOT: dummy is loaded", BOOT)
        machine.expect(r"ROOT: end", BOOT)
    # By a file capability, which /init has set; the test kernel's ext2 has none
    # (CONFIG_EXT2_FS_SECURITY).
    assert ("ROOT: file of 7" in machine.console) == (kind == "cpio")
    assert "bootdrop-init" not in machine.console


def test_a_root_without_init_says_so_and_gives_a_shell(
    empty_lab: Lab, workbench: Workbench, test_kernel: Path, tmp_path: Path
) -> None:
    workbench.sh(
        "mkdir /tmp/bare; cd /tmp/bare; tar -xf /usr/share/rootfs-builder/busybox.tar;"
        " rm -rf sbin/init linuxrc"
    )
    workbench.make("/tmp/bare", "/tmp/bare-made", "cpio", init="/opt/none")
    initrd = workbench.get("/tmp/bare-made/ramdisk.cpio.zst", tmp_path / "initrd")
    drop(empty_lab, test_kernel, initrd)
    with empty_lab.machine("bios") as machine:
        machine.expect(r"BOOTDROP: the recipe's init /opt/none does not work", BOOT)
        machine.expect(r"BOOTDROP: no init in this root: install one .*init=PATH", BOOT)
        machine.expect(r"BOOTDROP: a shell instead: /bin/sh", BOOT)
        machine.send("echo $((6 * 7)) $$\n")
        machine.expect(r"\n42 \d+", 20)
        machine.send("exit\n")
        machine.wait_off(30)
