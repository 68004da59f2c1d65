"""Ramdisks out of the builder's own image, opened again by the tools that know their formats."""

from __future__ import annotations

import re
from itertools import count

import pytest

from tests.builder.workbench import ScriptFailed, Workbench

pytestmark = pytest.mark.lab

FORMATS = ("ext2", "cpio", "squashfs")
FOLDERS = (f"/tmp/out/{number}" for number in count())

# A tree with one of each kind of thing; $1 is where, $2 the order in which it is made.
TREE = """
mkdir -p $1 && cd $1 && chmod 555 .
mkdir -p usr/bin usr/lib etc dev var/empty tmp && ln -s usr/bin bin && ln -s usr/lib lib
chmod 1777 tmp && chmod 711 var/empty && chown 12:34 var/empty
for name in $(seq 60 | sort $2); do echo "file $name" > etc/conf-$name; done
cp -L /usr/bin/bash usr/bin/bash && ln usr/bin/bash usr/bin/rbash && ln -s bash usr/bin/sh
head -c 5000000 /dev/zero > usr/lib/zeros && : > etc/empty
cp usr/bin/bash usr/bin/ping && python3 - usr/bin/ping <<'PYTHON'
import os, struct, sys
os.setxattr(sys.argv[1], "security.capability", struct.pack("<5I", 0x02000001, 1 << 13, 0, 0, 0))
PYTHON
ln -s "$(printf 'x%.0s' $(seq 200))" etc/long
mknod dev/loop0 b 7 0 && mkfifo dev/initctl && chmod 4755 usr/bin/bash
find . -exec touch -h -d @1000000000 {} +
"""


@pytest.fixture(scope="module")
def tree(workbench: Workbench) -> str:
    workbench.run("bash", "-euc", TREE, "bash", "/tmp/tree", "-n")
    return "/tmp/tree"


def listing(workbench: Workbench, folder: str) -> str:
    """Return all that a folder holds, apart from what mke2fs brings."""
    return workbench.sh(
        f"cd {folder}; find . -path ./lost+found -prune -o"
        " \\( -type d -printf '%p %y %m %U:%G %TY\\n' \\) -o"
        " -printf '%p %y %m %U:%G %n %s %l %TY\\n' | sort;"
        " find . -type f ! -path './lost+found*' -exec sha256sum {} + | sort -k 2"
    )


def test_the_same_tree_gives_the_same_bytes_on_any_day(workbench: Workbench, tree: str) -> None:
    # The other is made in another order and on another file system, and was read since.
    other = "/dev/shm/tree"
    workbench.run("bash", "-euc", TREE, "bash", other, "-r")
    workbench.sh(f"find {other} -exec touch -a -h -d @1500000000 {{}} +")
    assert listing(workbench, other) == listing(workbench, tree)
    one = workbench.make(tree, next(FOLDERS), *FORMATS)
    workbench.sh("now=$(date +%s); until [ $(date +%s) != $now ]; do :; done")
    assert workbench.make(other, next(FOLDERS), *FORMATS, umask=0o077) == one
    assert [one[each].compression for each in FORMATS] == ["gzip", "zstd", "zstd"]


def test_an_ext2_holds_the_tree_as_it_is_and_the_free_space_that_was_asked_for(
    workbench: Workbench, tree: str
) -> None:
    folder = next(FOLDERS)
    made = workbench.make(tree, folder, "ext2", headroom_kib=20000)["ext2"]
    assert made.file == "ramdisk.ext2.gz"
    workbench.sh(f"cd {folder}; pigz -dk {made.file}; e2fsck -fn ramdisk.ext2")
    assert workbench.sh(f"stat -c %s {folder}/ramdisk.ext2").strip() == str(
        made.uncompressed_kib * 1024
    )
    workbench.sh(f"mkdir {folder}/x; debugfs -R 'rdump / {folder}/x' {folder}/ramdisk.ext2")
    superblock = workbench.sh(f"dumpe2fs -h {folder}/ramdisk.ext2")
    free = int(re.findall(r"Free blocks: +(\d+)", superblock)[0]) * 4
    assert 20000 <= free <= 30000  # mke2fs makes a hole of the zeros
    assert int(re.findall(r"Free inodes: +(\d+)", superblock)[0]) >= 20000 // 16
    for name in ("usr/bin/bash", "etc/conf-7", "usr/lib/zeros"):
        workbench.sh(f"cmp {tree}/{name} {folder}/x/{name}")

    def debugfs(command: str) -> str:
        return workbench.sh(f"debugfs -R '{command}' {folder}/ramdisk.ext2 2>/dev/null")

    assert "Mode:  0555" in debugfs("stat /")
    assert "Mode:  04755" in debugfs("stat /usr/bin/bash")
    assert "Links: 2" in debugfs("stat /usr/bin/rbash")
    assert "security.capability (20)" in debugfs("ea_list /usr/bin/ping")
    # In a block of its own: the kernel's ext2 reads no attributes inside of inodes.
    assert "File ACL: 0" not in debugfs("stat /usr/bin/ping")
    assert "User:    12   Group:    34" in debugfs("stat /var/empty")
    assert "Device major/minor number: 07:00" in debugfs("stat /dev/loop0")
    assert "x" * 200 in debugfs("cat /etc/long")


def test_a_cpio_holds_the_tree_and_what_a_boot_needs(workbench: Workbench, tree: str) -> None:
    folder = next(FOLDERS)
    made = workbench.make(tree, folder, "cpio")["cpio"]
    workbench.sh(
        f"mkdir {folder}/x; cd {folder}/x; zstd -dcq ../{made.file} > ../ramdisk.cpio;"
        " cpio --quiet -id < ../ramdisk.cpio"
    )
    size = int(workbench.sh(f"stat -c %s {folder}/ramdisk.cpio"))
    assert made.uncompressed_kib == -(-size // 1024)
    listed = workbench.sh(f"cpio --quiet -itv < {folder}/ramdisk.cpio")
    assert re.match(r"dr-xr-xr-x .* \.\n", listed)  # the kernel takes it over, GNU cpio does not
    workbench.sh(f"chmod 555 {folder}/x")
    notes = workbench.sh(f"cat {folder}/x/.bootdrop-init; rm {folder}/x/.bootdrop-init")
    capability = "0100000200200000000000000000000000000000"
    assert notes == (
        f"init {b'/sbin/init'.hex()}\n"
        f"xattr {b'/usr/bin/ping'.hex()} {b'security.capability'.hex()} {capability}\n"
    )
    workbench.sh(f"cd {folder}/x; cmp init /usr/lib/rootfs-builder/init; rm init")
    workbench.sh(f"cd {folder}/x; test -c dev/console -a -c dev/null; rm dev/console dev/null")
    workbench.sh(f"cd {folder}/x; rmdir proc sys run")
    workbench.sh(f"cd {folder}/x; find . -exec touch -h -d @1000000000 {{}} +")
    assert listing(workbench, f"{folder}/x") == listing(workbench, tree)


def test_a_trees_own_init_stays(workbench: Workbench, tree: str) -> None:
    workbench.sh(f"cp -a {tree} /tmp/own; echo '#!/bin/sh' > /tmp/own/init")
    folder = next(FOLDERS)
    workbench.make("/tmp/own", folder, "cpio", compression="gzip")
    names = workbench.sh(f"pigz -dc {folder}/ramdisk.cpio.gz | cpio --quiet -it").splitlines()
    assert "init" in names
    assert ".bootdrop-init" not in names
    assert workbench.sh(
        f"pigz -dc {folder}/ramdisk.cpio.gz | cpio --quiet -i --to-stdout init"
    ).startswith("#!/bin/sh")


def test_a_squashfs_holds_the_tree_with_its_file_capabilities(
    workbench: Workbench, tree: str
) -> None:
    folder = next(FOLDERS)
    made = workbench.make(tree, folder, "squashfs")["squashfs"]
    workbench.sh(f"cd {folder}; unsquashfs -q -n -d x {made.file}")
    assert listing(workbench, f"{folder}/x") == listing(workbench, tree)
    assert "security.capability" in workbench.python(
        "import os, sys; print(os.listxattr(sys.argv[1]))", f"{folder}/x/usr/bin/ping"
    )


@pytest.mark.parametrize(
    "filling",
    [
        ":",
        "seq -f '%.200f' 3000 | xargs touch",
        "head -c 30M /dev/urandom > file",
    ],
    ids=["an empty tree", "a folder of long names", "a file with indirect blocks of two kinds"],
)
def test_an_ext2_has_room_for_any_tree(workbench: Workbench, filling: str) -> None:
    folder = next(FOLDERS)
    workbench.sh(f"mkdir -p {folder}-tree; cd {folder}-tree; {filling}")
    workbench.make(f"{folder}-tree", folder, "ext2", headroom_kib=0, level=1)
    workbench.sh(f"cd {folder}; pigz -d ramdisk.ext2.gz; e2fsck -fn ramdisk.ext2")
    workbench.sh(f"rm -r {folder} {folder}-tree")


def test_a_tree_may_be_as_deep_as_a_path_is_long_and_no_deeper(workbench: Workbench) -> None:
    dig = (
        "import os, sys; os.mkdir(sys.argv[1]); os.chdir(sys.argv[1])\n"
        "for _ in range(int(sys.argv[2])): os.mkdir('a'); os.chdir('a')"
    )
    workbench.python(dig, "/tmp/deep", "1500")
    workbench.make("/tmp/deep", next(FOLDERS), *FORMATS)
    workbench.python(dig, "/memory/deeper", "2500")
    with pytest.raises(ScriptFailed, match=r"\nRamdiskError: …[/a]{100}: File name too long\n$"):
        workbench.make("/memory/deeper", next(FOLDERS), *FORMATS)


def test_a_full_disk_is_one_line_and_leaves_no_image(workbench: Workbench, tree: str) -> None:
    # /dev/shm has 64 MiB.
    workbench.sh("rm -rf /dev/shm/*; head -c 65300K /dev/zero > /dev/shm/ballast")
    for each in FORMATS:
        with pytest.raises(ScriptFailed, match=r"\nRamdiskError: .*: the disk is full \("):
            workbench.make(tree, f"/dev/shm/{each}", each)
        assert ".image" not in workbench.sh(f"ls -A /dev/shm/{each}")
