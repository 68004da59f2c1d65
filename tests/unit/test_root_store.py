from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path, PurePosixPath

import pytest

from appliance.catalog.decompress import Compression
from appliance.catalog.model import PublishedRoot, Ramdisk, RamdiskFormat, RootCatalog
from appliance.catalog.root import BrokenBuild, built_at
from appliance.catalog.roots import SeenRoots, scan_roots
from appliance.root_store import RootStore
from tests.unit.built_roots import ID, LAYER, add_layer, add_root, add_variant, make_current

LATER = 1e10  # seconds since the epoch
OTHER = "ffeeddccbbaa0099"


class Lab:
    """A builder's folder, its store and a clock that stands until it is set."""

    def __init__(self, folder: Path) -> None:
        self.roots, self.published = folder / "roots", folder / "published"
        self.now = LATER
        self.start()

    def start(self) -> None:
        self.store = RootStore(self.published, self.roots, clock=lambda: self.now)
        self.store.open()

    def publish(self) -> tuple[RootCatalog, tuple[BrokenBuild, ...]]:
        return self.store.publish(scan_roots(self.roots, SeenRoots()))

    def catalog(self) -> RootCatalog:
        catalog, broken = self.publish()
        assert broken == ()
        return catalog

    def only(self) -> PublishedRoot:
        (root,) = self.catalog().roots
        return root

    def broken(self) -> str:
        (broken,) = self.publish()[1]
        return broken.reason

    def folders(self) -> set[str]:
        every = [*self.published.glob("roots/*/*"), *self.published.glob("modules/*")]
        return {str(path.relative_to(self.published)) for path in every}

    def version(self, name: str = "fedora", root_id: str = ID) -> str:
        """Return the name of a version's published folder."""
        text = (self.roots / name / root_id / "root.json").read_bytes()
        return f"{root_id}-{hashlib.sha256(text).hexdigest()[:8]}"


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_a_roots_ramdisks_are_published_for_all_to_read(lab: Lab) -> None:
    described = add_root(lab.roots, "my root", default=True, cmdline="quiet")
    root = lab.only()
    folder = PurePosixPath("roots", root.key, lab.version("my root"))
    assert root == PublishedRoot(
        name="my root",
        id=ID,
        key=root.key,
        title="The root my root",
        arch=root.arch,
        is_default=True,
        cmdline="quiet",
        init="/sbin/init",
        share=None,
        formats=("ext2", "cpio", "nfs"),
        size=sum(each.get("bytes", 0) for each in described["formats"].values()),
        built_at=built_at((lab.roots / "my root" / ID / "root.json").stat()),
        ramdisks={
            RamdiskFormat.EXT2: Ramdisk(folder / "ramdisk.ext2.gz", Compression.GZIP, 4096),
            RamdiskFormat.CPIO: Ramdisk(folder / "ramdisk.cpio.zst", Compression.ZSTD, 8000),
        },
        variants={},
    )
    for ramdisk in root.ramdisks.values():
        copy = lab.published / ramdisk.path
        assert copy.read_bytes() == (lab.roots / "my root" / ID / copy.name).read_bytes()
        assert copy.stat().st_mode & 0o777 == 0o644
    assert (lab.published / folder).stat().st_mode & 0o777 == 0o755


def test_a_ramdisk_that_only_root_may_read_is_copied_for_all(lab: Lab) -> None:
    add_root(lab.roots)
    (lab.roots / "fedora" / ID / "ramdisk.cpio.zst").chmod(0o600)
    copy = lab.published / lab.only().ramdisks[RamdiskFormat.CPIO].path
    assert copy.stat().st_mode & 0o777 == 0o644


def test_what_the_builder_deletes_stays_published_as_long_as_it_is_offered(lab: Lab) -> None:
    add_root(lab.roots)
    root = lab.only()
    before = (lab.published / root.ramdisks[RamdiskFormat.EXT2].path).read_bytes()
    shutil.rmtree(lab.roots / "fedora" / ID)
    _, broken = lab.publish()
    assert [each.name for each in broken] == ["fedora"]
    assert lab.store.published().roots == (root,)
    assert (lab.published / root.ramdisks[RamdiskFormat.EXT2].path).read_bytes() == before


@pytest.mark.parametrize("change", [b"", b"x", b"longer" * 1000])
def test_a_ramdisk_that_is_not_what_root_json_says_is_not_published(
    lab: Lab, change: bytes
) -> None:
    add_root(lab.roots)
    (lab.roots / "fedora" / ID / "ramdisk.cpio.zst").write_bytes(change)
    assert lab.broken() == (
        f"fedora/{ID}/ramdisk.cpio.zst is not what root.json says: build it again"
    )
    assert lab.folders() == set()


def test_a_ramdisk_of_another_kind_than_its_name_is_not_published(lab: Lab) -> None:
    described = add_root(lab.roots)
    folder = lab.roots / "fedora" / ID
    other = (folder / "ramdisk.ext2.gz").read_bytes()
    (folder / "ramdisk.cpio.zst").write_bytes(other)
    described["formats"]["cpio"] |= {
        "bytes": len(other),
        "sha256": hashlib.sha256(other).hexdigest(),
        "compression": "gzip",
    }
    (folder / "root.json").write_text(json.dumps(described))
    assert lab.broken() == "ramdisk.cpio.zst is no cpio packed by gzip: build it again"


@pytest.mark.parametrize("target", ["/etc/passwd", "ramdisk.ext2.gz"])
def test_a_ramdisk_that_is_a_link_is_not_followed(lab: Lab, target: str) -> None:
    add_root(lab.roots)
    cpio = lab.roots / "fedora" / ID / "ramdisk.cpio.zst"
    cpio.unlink()
    cpio.symlink_to(target)
    assert "cannot be published" in lab.broken()
    assert lab.folders() == set()


def test_after_a_failed_build_the_last_good_root_is_offered_even_after_a_restart(lab: Lab) -> None:
    add_root(lab.roots)
    good = lab.only()
    add_root(lab.roots, root_id=OTHER, content=b"other")
    (lab.roots / "fedora" / OTHER / "ramdisk.ext2.gz").write_bytes(b"torn")
    assert len(lab.publish()[1]) == 1
    lab.start()
    assert lab.store.published().roots == (good,)
    lab.publish()
    assert lab.store.published().roots == (good,)


def test_a_new_version_takes_the_olds_place_which_goes_after_its_time(lab: Lab) -> None:
    add_root(lab.roots)
    old = lab.only()
    lab.now = LATER + 1000
    add_root(lab.roots, root_id=OTHER, content=b"other")
    assert lab.only().id == OTHER
    assert lab.store.in_use() == {"fedora": [ID, OTHER]}
    assert lab.store.retire(LATER + 1899) == ()
    lab.start()  # since when it is retired outlives the appliance
    lab.publish()
    folder = old.ramdisks[RamdiskFormat.EXT2].path.parent
    assert lab.store.retire(LATER + 1900) == (folder,)
    assert lab.folders() == {f"roots/fedora/{lab.version(root_id=OTHER)}"}
    assert lab.store.in_use() == {"fedora": [OTHER]}


def test_what_was_retired_by_a_clock_that_was_ahead_goes_all_the_same(lab: Lab) -> None:
    add_root(lab.roots)
    old = lab.only()
    add_root(lab.roots, root_id=OTHER, content=b"other")
    lab.now = 2 * LATER
    lab.only()
    lab.now = LATER
    lab.start()
    lab.only()
    assert lab.store.retire(LATER + 899) == ()
    assert lab.store.retire(LATER + 900) == (old.ramdisks[RamdiskFormat.EXT2].path.parent,)


def test_a_tree_that_is_packed_another_way_is_another_version(lab: Lab) -> None:
    add_root(lab.roots)
    first = lab.only()
    before = lab.version()
    shutil.rmtree(lab.roots / "fedora")
    add_root(lab.roots, content=b"with more room", cmdline="quiet")
    second = lab.only()
    assert (first.id, first.cmdline, second.id, second.cmdline) == (ID, "", ID, "quiet")
    assert lab.folders() == {f"roots/fedora/{before}", f"roots/fedora/{lab.version()}"}
    assert lab.store.in_use() == {"fedora": [ID]}


def test_a_version_that_comes_back_is_current_again(lab: Lab) -> None:
    add_root(lab.roots)
    lab.only()
    add_root(lab.roots, root_id=OTHER, content=b"other")
    lab.only()
    make_current(lab.roots, "fedora", ID)
    assert lab.only().id == ID
    assert lab.store.retire(LATER + 9999) == (
        PurePosixPath("roots", "fedora", lab.version(root_id=OTHER)),
    )
    lab.start()
    assert [root.id for root in lab.store.published().roots] == [ID]


def test_a_removed_root_leaves_nothing_after_its_time(lab: Lab) -> None:
    add_root(lab.roots)
    add_layer(lab.roots)
    add_variant(lab.roots)
    lab.only()
    version = f"roots/fedora/{lab.version()}"
    assert lab.folders() == {f"modules/{LAYER}", version, f"{version}-{LAYER}"}
    shutil.rmtree(lab.roots)
    assert lab.catalog() == RootCatalog()
    lab.store.retire(LATER + 900)
    assert lab.folders() == set()
    assert not (lab.published / "roots" / "fedora").exists()


def test_layers_and_variants_are_published_and_known_after_a_restart(lab: Lab) -> None:
    add_root(lab.roots)
    add_layer(lab.roots, "6.1.192", "fc6/modules-6.1.192.tar.xz")
    add_variant(lab.roots)
    catalog = lab.catalog()
    (layer,) = catalog.layers
    assert (layer.version, layer.source) == ("6.1.192", "fc6/modules-6.1.192.tar.xz")
    assert layer.path == PurePosixPath("modules", LAYER, "modules.cpio.gz")
    variant = PurePosixPath("roots", "fedora", f"{lab.version()}-{LAYER}", "ramdisk.ext2.gz")
    assert catalog.roots[0].variants == {LAYER: Ramdisk(variant, Compression.GZIP, 6000)}
    lab.start()
    assert lab.store.published() == catalog


def test_a_variant_that_is_none_leaves_the_root_as_it_is(lab: Lab) -> None:
    add_root(lab.roots)
    add_variant(lab.roots)
    (lab.roots / "fedora" / f"{ID}.modules" / f"{LAYER}.ext2.gz").write_bytes(b"nothing")
    catalog, broken = lab.publish()
    assert len(broken) == 1
    assert catalog.roots[0].variants == {}


def test_what_somebody_deleted_from_published_is_made_again(lab: Lab) -> None:
    add_root(lab.roots)
    root = lab.only()
    shutil.rmtree(lab.published / "roots")
    assert lab.only() == root
    copy = lab.published / root.ramdisks[RamdiskFormat.CPIO].path
    copy.unlink()
    assert lab.only() == root
    assert copy.exists()


def test_what_was_deleted_and_cannot_be_made_again_is_not_offered(lab: Lab) -> None:
    add_root(lab.roots)
    add_layer(lab.roots)
    lab.catalog()
    shutil.rmtree(lab.published / "roots")
    shutil.rmtree(lab.published / "modules")
    (lab.roots / "fedora" / ID / "ramdisk.ext2.gz").write_bytes(b"torn")
    (lab.roots / ".modules" / LAYER / "modules.cpio.gz").write_bytes(b"torn")
    catalog, broken = lab.publish()
    assert catalog == RootCatalog()
    assert len(broken) == 2


def test_left_overs_of_a_crash_are_removed_at_the_start(lab: Lab) -> None:
    left_over = lab.published / "roots" / ".new-crashed"
    left_over.mkdir()
    (left_over / "ramdisk.ext2.gz").write_bytes(b"half")
    lab.start()
    assert not left_over.exists()


def test_links_in_published_lead_nothing_that_is_written_elsewhere(
    lab: Lab, tmp_path: Path
) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (lab.published / "roots" / "fedora").symlink_to(elsewhere)
    add_root(lab.roots)
    root = lab.only()
    assert list(elsewhere.iterdir()) == []
    folder = (lab.published / root.ramdisks[RamdiskFormat.CPIO].path).parent
    shutil.rmtree(folder)
    folder.symlink_to(elsewhere)
    (elsewhere / "kept").write_bytes(b"kept")
    lab.only()
    assert [path.name for path in elsewhere.iterdir()] == ["kept"]


def test_a_broken_note_of_what_is_retired_is_passed_over(lab: Lab) -> None:
    add_root(lab.roots)
    root = lab.only()
    (lab.published / "roots" / "retired.json").write_text("[1]")
    lab.start()
    assert lab.store.published().roots == (root,)
