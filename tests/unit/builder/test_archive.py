from __future__ import annotations

import os
import stat
from pathlib import Path

import pytest

from rootfs_builder import entries
from rootfs_builder.entries import Entry, TreeError, merged, resolve, settle_times, walk
from tests.unit.builder.trees import cpio_of, read_cpio, tar_of, tree_of


def test_a_tree_is_walked_in_one_order_whatever_the_folder_says(tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", {"b/2": "", "b-c": "", "a": "", "b/1": "", "é": ""})
    assert [os.fsdecode(entry.path) for entry in walk(tree)] == [
        *("", "a", "b", "b/1", "b/2", "b-c", "é")
    ]


def test_a_tree_that_is_longer_than_any_machine_is_not_read(tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", {"etc/": "", "holes": ""})
    os.truncate(tree / "holes", 1 << 40)
    with pytest.raises(TreeError, match="holes: with it the files are longer than 256 GiB"):
        walk(tree)


def test_a_tree_of_more_names_than_memory_is_not_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(entries, "_MOST_ENTRIES", 3)
    assert len(walk(tree_of(tmp_path / "small", {"a": "", "b": ""}))) == 3
    with pytest.raises(TreeError, match="c: with it there are more than 3 files"):
        walk(tree_of(tmp_path / "large", {"a": "", "b": "", "c": ""}))


def test_a_cpio_holds_files_links_and_hard_links_once(tmp_path: Path) -> None:
    tree = tree_of(
        tmp_path / "tree", {"bin/bash": "ELF", "bin/sh": "-> bash", "etc/": "", "empty": ""}
    )
    os.link(tree / "bin/bash", tree / "bin/rbash")
    (tree / "bin/bash").chmod(0o4755)
    found = read_cpio(cpio_of(walk(tree)))
    assert list(found) == [".", "bin", "bin/bash", "bin/rbash", "bin/sh", "empty", "etc"]
    mode, inode, content = found["bin/bash"]
    assert (stat.S_IMODE(mode), content) == (0o4755, b"ELF")
    assert found["bin/rbash"] == (mode, inode, b"")
    assert found["bin/sh"][2] == b"bash"
    assert len({inode for _, inode, _ in found.values()}) == len(found) - 1


def test_a_hard_link_to_outside_of_the_tree_is_a_file_of_its_own(tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", {"file": "x"})
    os.link(tree / "file", tmp_path / "outside")
    assert [entry.links for entry in walk(tree)] == [1, 1]


def test_a_socket_is_left_out(tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", {})
    os.mknod(tree / "socket", stat.S_IFSOCK | 0o600)
    assert [entry.path for entry in walk(tree)] == [b""]


def test_a_tar_keeps_attributes_long_names_and_what_is_not_utf8(tmp_path: Path) -> None:
    capability = b"\1\0\0\2\0\4\0\0" + bytes(12)
    name = b"\xff" + b"n" * 150
    made = [
        Entry(b"", stat.S_IFDIR | 0o555, mtime=7),
        Entry(
            *(name, stat.S_IFREG | 0o755, 1, 2, 3),
            content=b"abc",
            xattrs=(("security.capability", capability),),
        ),
        Entry(b"z", stat.S_IFREG, same_as=name, size=3),
    ]
    root, file, link = tar_of(made).getmembers()
    assert (root.name, root.mode, root.mtime) == (".", 0o555, 7)
    assert (os.fsencode(file.name), file.uid, file.gid, file.size) == (b"./" + name, 1, 2, 3)
    kept = file.pax_headers["SCHILY.xattr.security.capability"]
    assert kept.encode("utf-8", "surrogateescape") == capability
    assert (link.type, os.fsencode(link.linkname)) == (b"1", b"./" + name)


def test_a_file_that_grows_while_it_is_read_is_an_error_of_one_line(tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", {"log": "one"})
    found = walk(tree)
    (tree / "log").write_text("one two")
    with pytest.raises(TreeError, match=r"log: it changed while it was read$"):
        cpio_of(found)


def test_a_file_that_no_cpio_can_hold_is_refused_with_the_way_out() -> None:
    with pytest.raises(TreeError, match=r"disk.img: 4096 MiB; .* leave cpio out"):
        cpio_of([Entry(b"disk.img", stat.S_IFREG, size=4 << 30)])


def test_what_a_tree_has_already_stays_when_more_is_laid_into_it() -> None:
    own, other = Entry(b"dev", stat.S_IFDIR | 0o700), Entry(b"dev", stat.S_IFDIR | 0o755)
    below, before = Entry(b"dev/null", stat.S_IFCHR), Entry(b"dev-x", stat.S_IFREG)
    assert merged([own, before], [below, other]) == [own, below, before]


@pytest.mark.parametrize(
    ("links", "path", "leads_to"),
    [
        ({"lib": "-> usr/lib"}, "lib/modules", "usr/lib/modules"),
        ({"lib": "-> /usr/lib"}, "lib/modules", "usr/lib/modules"),
        ({"lib": "-> ../../../etc"}, "lib/passwd", "etc/passwd"),
        ({"usr/": "", "lib": "-> usr/lib", "usr/lib": "-> lib64"}, "lib/x", "usr/lib64/x"),
        ({}, "../../etc/shadow", "etc/shadow"),
    ],
)
def test_a_path_in_a_tree_never_leads_out_of_it(
    tmp_path: Path, links: dict[str, str], path: str, leads_to: str
) -> None:
    tree = tree_of(tmp_path / "tree", links)
    assert resolve(tree, path) == tree / leads_to


def test_links_in_a_circle_are_told(tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", {"a": "-> b", "b": "-> a"})
    with pytest.raises(TreeError, match="links in a circle"):
        resolve(tree, "a/c")


def test_times_after_the_newest_package_are_settled_and_others_kept(tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", {"old": "", "new": "", "link": "-> nowhere"})
    os.utime(tree / "old", (100, 100))
    settle_times(tree, 1000)
    times = {os.fsdecode(entry.path): entry.mtime for entry in walk(tree)}
    assert times == {"": 1000, "old": 100, "new": 1000, "link": 1000}


def test_a_time_that_no_archive_can_name_is_the_last_one(tmp_path: Path) -> None:
    tree = tree_of(tmp_path / "tree", {"late": ""})
    os.utime(tree / "late", (2**33, 2**33))
    assert walk(tree)[1].mtime == entries.LATEST
