from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from rootfs_builder.manifest import (
    FormatManifest,
    Manifest,
    ManifestError,
    Package,
    from_json,
    installed,
    to_json,
    tree_id,
)
from tests.unit.builder.trees import tree_of

FILES = {"bin/sh": "x", "etc/motd": "hello", "lib": "-> usr/lib"}
STATUS = """\
Package: bash
Status: install ok installed
Architecture: amd64
Version: 5.2.37-2
Description: GNU Bourne Again SHell
 Package: not a field

Package: gone
Status: deinstall ok config-files
Architecture: amd64
Version: 1

Package: adduser
Status: install ok installed
Architecture: all
Version: 3.152
"""


def test_an_id_is_of_what_a_tree_holds_not_of_when_and_where(tmp_path: Path) -> None:
    one = tree_of(tmp_path / "one", FILES)
    other = tree_of(tmp_path / "other", dict(reversed(FILES.items())))
    for file in other.rglob("*"):
        os.utime(file, (1, 1), follow_symlinks=False)
    assert tree_id(one) == tree_id(other)
    assert len(tree_id(one)) == 16


@pytest.mark.parametrize(
    "change",
    [
        lambda tree: (tree / "etc/motd").write_text("hallo"),
        lambda tree: (tree / "etc/motd").chmod(0o600),
        lambda tree: (tree / "etc").chmod(0o700),
        lambda tree: (tree / "etc/new").mkdir(),
        lambda tree: (tree / "etc/motd").rename(tree / "etc/issue"),
        lambda tree: os.link(tree / "etc/motd", tree / "etc/motd2"),
        lambda tree: ((tree / "lib").unlink(), (tree / "lib").symlink_to("usr/lib64")),
        lambda tree: os.setxattr(tree / "bin/sh", "user.note", b"1"),
    ],
    ids=["contents", "mode", "folder", "name", "rename", "hard link", "link", "xattr"],
)
def test_an_id_changes_with_whatever_changes_in_a_tree(
    tmp_path: Path, change: Callable[[Path], object]
) -> None:
    tree = tree_of(tmp_path / "tree", FILES)
    before = tree_id(tree)
    change(tree)
    assert tree_id(tree) != before


def test_packages_of_a_debian_tree_are_read_from_its_own_database(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path / "tree",
        {
            "var/lib/dpkg/status": STATUS,
            "usr/share/doc/bash/copyright": "License: GPL-3+\n text\n\nLicense: GFDL or MIT\n",
        },
    )
    assert installed(tree) == (
        Package("adduser", "3.152", "all"),
        Package("bash", "5.2.37-2", "amd64", "(GFDL or MIT) AND GPL-3+"),
    )


def test_a_tree_without_a_package_database_has_no_packages(tmp_path: Path) -> None:
    assert installed(tree_of(tmp_path / "tree", FILES)) == ()


def test_a_database_that_is_a_link_to_outside_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "status").write_text(STATUS)
    tree = tree_of(tmp_path / "tree", {"var/lib/dpkg/status": f"-> {tmp_path}/status"})
    assert installed(tree) == ()


def test_a_manifest_survives_its_json_with_keys_that_nobody_knows_yet() -> None:
    manifest = Manifest(
        name="debian",
        id="0123456789abcdef",
        title="Debian",
        source="debootstrap",
        release="trixie",
        share="ro",
        recipe={"packages": ["bash"]},
        packages=(Package("bash", "5.2", "amd64", "GPL-3+"),),
        files=3,
        bytes=10,
        formats={
            "ext2": FormatManifest("ramdisk.ext2.gz", 1, "ab", 4096, "gzip"),
            "nfs": FormatManifest("tree"),
        },
        seconds={"install": 12.3},
    )
    text = to_json(manifest)
    assert '"from": "debootstrap"' in text
    assert '"nfs": {\n      "file": "tree"\n    }' in text
    later = text.replace('"name": "debian"', '"colour": "red",\n  "name": "debian"')
    assert from_json(later) == manifest


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"name": 1, "formats": 7}'])
def test_what_is_no_manifest_is_told_in_one_line(text: str) -> None:
    with pytest.raises(ManifestError, match=r"^root\.json: not what a builder writes \(.*\)$"):
        from_json(text)
