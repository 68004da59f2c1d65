from __future__ import annotations

import stat
from pathlib import Path

import pytest

from rootfs_builder import modules
from rootfs_builder.entries import Entry
from tests.unit.builder.trees import tree_of

LAYER = [Entry(path, stat.S_IFDIR | 0o755, mtime=5) for path in (b"", b"lib", b"lib/modules")] + [
    Entry(b"lib/modules/6.1/dummy.ko", stat.S_IFREG | 0o644)
]


@pytest.mark.parametrize(
    ("name", "is_one"),
    [
        ("modules-6.1.192-labtest.tar.zst", True),
        ("modules-6.1.tar", True),
        ("bzImage.modules.tar.xz", True),
        ("modules-6.1.cpio.gz", False),
        ("modules-6.1.tar.bz2", False),
        ("bzImage", False),
    ],
)
def test_a_modules_archive_is_known_by_its_name(name: str, is_one: bool) -> None:
    assert modules.is_modules_archive(name) == is_one


@pytest.mark.parametrize("link", ["usr/lib", "/usr/lib"])
def test_modules_go_where_a_trees_lib_leads(tmp_path: Path, link: str) -> None:
    tree = tree_of(tmp_path / "tree", {"lib": f"-> {link}", "usr/lib/": ""})
    assert sorted(entry.path for entry in modules.moved(LAYER, tree)) == [
        b"usr",
        b"usr/lib",
        b"usr/lib/modules",
        b"usr/lib/modules/6.1/dummy.ko",
    ]


def test_a_tree_without_lib_gets_one(tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", {})
    assert [entry.path for entry in modules.moved(LAYER, tree)] == [
        b"lib",
        b"lib/modules",
        b"lib/modules/6.1/dummy.ko",
    ]


@pytest.mark.parametrize(
    ("member", "path"),
    [
        ("lib/modules/6.1/kernel/dummy.ko", "6.1/kernel/dummy.ko"),
        ("./usr/lib/modules/6.1/modules.order", "6.1/modules.order"),
        ("/lib/modules/6.1/x.ko", "6.1/x.ko"),
        ("lib/modules/6.1/../../../etc/passwd", None),
        ("lib/modules/../6.1/x.ko", None),
        ("lib/modules/6.1", None),
        ("etc/passwd", None),
    ],
)
def test_of_an_archive_only_what_lies_in_lib_modules_is_taken(
    member: str, path: str | None
) -> None:
    taken = modules.module_path(member)
    assert (str(taken) if taken else None) == path
