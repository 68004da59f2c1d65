"""What is installed in a tree, by its own database; reading it is no change to the tree."""

from __future__ import annotations

import pytest

from tests.builder.workbench import ScriptFailed, Workbench

pytestmark = pytest.mark.lab

TREE = """
mkdir -p $1$2 && rpm --root $1 --define "_dbpath $2" --initdb
python3 - $1$2/rpmdb.sqlite <<'PYTHON'
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1])
connection.execute("PRAGMA journal_mode=DELETE")  # as the builder leaves a tree
connection.close()
PYTHON
"""
READ = """
import sys
from pathlib import Path
from rootfs_builder.manifest import ManifestError, installed, tree_id
tree = Path(sys.argv[1])
before = tree_id(tree)
try:
    print(installed(tree))
except ManifestError as error:
    sys.exit(f"ManifestError: {error}")
assert tree_id(tree) == before
"""


@pytest.mark.parametrize("folder", ["/var/lib/rpm", "/usr/lib/sysimage/rpm"])
def test_reading_rpms_database_changes_nothing_in_the_tree(
    workbench: Workbench, folder: str
) -> None:
    tree = f"/tmp/rpm{folder.replace('/', '-')}"
    workbench.run("bash", "-euc", TREE, "bash", tree, folder)
    assert workbench.python(READ, tree) == "()\n"


def test_a_broken_database_is_told_in_one_line(workbench: Workbench) -> None:
    workbench.sh(
        "mkdir -p /tmp/broken/var/lib/rpm; echo junk > /tmp/broken/var/lib/rpm/rpmdb.sqlite"
    )
    with pytest.raises(
        ScriptFailed, match=r"\nManifestError: /tmp/broken: its package database: rpm: .+\n$"
    ):
        workbench.python(READ, "/tmp/broken")


def test_the_builders_own_packages_are_those_that_dpkg_lists(workbench: Workbench) -> None:
    listed = workbench.sh("dpkg-query -W -f '${Package} ${Version} ${Architecture}\\n' | sort")
    said = workbench.python(
        "from pathlib import Path; from rootfs_builder.manifest import installed\n"
        "for each in installed(Path('/')): print(each.name, each.version, each.arch)"
    )
    assert sorted(said.splitlines()) == sorted(listed.splitlines())
