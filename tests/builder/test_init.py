"""/init of cpio roots, in a chroot: what it finds, sets and says. tests/boot starts it for real."""

from __future__ import annotations

from itertools import count

import pytest

from tests.builder.workbench import Workbench

pytestmark = pytest.mark.lab

NUMBERS = count()
CAPABILITY = "0100000200200000000000000000000000000000"
TREE = """
mkdir -p $1 && cd $1 && tar -xf /usr/share/rootfs-builder/busybox.tar && rm -rf sbin/init linuxrc
cp bin/busybox bin/ping-own
python3 - bin/ping-own <<'PYTHON'
import os, sys
os.setxattr(sys.argv[1], "security.capability", bytes.fromhex("%s"))
PYTHON
"""


def unpacked(workbench: Workbench, changes: str = ":", init: str = "/sbin/init") -> str:
    """Make a root's cpio and unpack it on a tmpfs, as the kernel does; return where."""
    tree = f"/tmp/init-{next(NUMBERS)}"
    workbench.run("bash", "-euc", TREE % CAPABILITY, "bash", tree)
    workbench.sh(f"cd {tree}; {changes}")
    workbench.make(tree, f"{tree}-made", "cpio", init=init)
    root = "/memory/root"
    # Without a console, which would be this host's.
    workbench.sh(
        f"rm -rf {root}; mkdir {root}; cd {root};"
        f" zstd -dcq {tree}-made/ramdisk.cpio.zst | cpio --quiet -id; rm dev/console"
    )
    return root


def program(path: str, says: str) -> str:
    folder = path.rpartition("/")[0]
    script = f"printf '#!/bin/sh\\necho {says}\\n' > {path}"
    return f"mkdir -p {folder}; {script}; chmod +x {path}"


def test_file_capabilities_are_set_and_the_list_of_them_removed(workbench: Workbench) -> None:
    root = unpacked(workbench, program("sbin/init", "the own init"))
    assert workbench.sh(f"chroot {root} /init").splitlines() == [
        "BOOTDROP: init /sbin/init",
        "the own init",
    ]
    assert workbench.python(
        "import os, sys; print(os.getxattr(sys.argv[1], 'security.capability').hex())",
        f"{root}/bin/ping-own",
    ).startswith(CAPABILITY)
    assert "bootdrop" not in workbench.sh(f"ls -A {root}")


@pytest.mark.parametrize(
    ("init", "line", "found"),
    [
        ("/sbin/init", "quiet", "/usr/lib/systemd/systemd"),
        ("/opt/recipe", "quiet", "/opt/recipe"),
        ("/opt/recipe", "init=/opt/first init=/opt/line quiet", "/opt/line"),
    ],
    ids=["systemd where nothing is named", "the recipe's", "the command line's, the last one"],
)
def test_the_init_that_is_named_comes_first(
    workbench: Workbench, init: str, line: str, found: str
) -> None:
    paths = ("usr/lib/systemd/systemd", "opt/recipe", "opt/line")
    changes = "; ".join(program(path, "started") for path in paths)
    root = unpacked(workbench, f"{changes}; echo '{line}' > proc/cmdline", init)
    assert workbench.sh(f"chroot {root} /init").splitlines()[-2:] == [
        f"BOOTDROP: init {found}",
        "started",
    ]


def test_an_init_whose_loader_is_missing_is_told_and_another_found(workbench: Workbench) -> None:
    root = unpacked(
        workbench, f"cp /usr/bin/bash sbin/init; {program('etc/init', 'the other one')}"
    )
    said = workbench.sh(f"chroot {root} /init").splitlines()
    assert (
        "BOOTDROP: /sbin/init cannot be started: No such file or directory (its loader" in said[1]
    )
    assert said[-2:] == ["BOOTDROP: init /etc/init", "the other one"]


def test_without_any_init_there_is_a_shell_and_the_reason(workbench: Workbench) -> None:
    root = unpacked(workbench)
    said = workbench.sh(
        "sed '/^42$/q' < <(echo 'echo $((6 * 7))' | " + f"chroot {root} /init 2>/dev/null)"
    ).splitlines()
    assert said[0] == "BOOTDROP: the recipe's init /sbin/init does not work; trying others"
    assert said[1].startswith("BOOTDROP: no init in this root: install one ")
    assert said[2:] == [
        "BOOTDROP: a shell instead: /bin/sh; when it ends, the machine powers off",
        "42",
    ]


def test_without_a_shell_the_reason_stays_on_the_console(workbench: Workbench) -> None:
    root = unpacked(workbench, "rm -r bin usr sbin")
    said = workbench.sh(f"sed '/no shell/q' < <(chroot {root} /init 2>/dev/null)")
    assert said.endswith("BOOTDROP: there is no shell either\n")
