import json
import os
import resource
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from appliance.catalog.model import (
    Arch,
    Catalog,
    Initrd,
    KernelConfig,
    PublishedKernel,
    RamdiskFormat,
    Refused,
    Scan,
)
from appliance.catalog.openat import open_inside
from appliance.catalog.scan import scan
from appliance.store import Store, safe_name
from tests.unit.catalog.kernels import make_bzimage, make_cpio

LATER = 1e10  # seconds since the epoch


class Lab:
    """A drop folder, its store and a clock that stands until it is set."""

    def __init__(self, root: Path, keep: int = 0) -> None:
        self.kernels = root / "kernels"
        self.published = root / "published"
        self.keep = keep
        self.now = LATER
        self.kernels.mkdir(exist_ok=True)
        self.start()

    def start(self) -> None:
        self.store = Store(self.published, self.kernels, self.keep, clock=lambda: self.now)
        self.store.open()

    def drop(self, name: str, data: bytes) -> None:
        path = self.kernels / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)

    def scan(self) -> Scan:
        return scan(self.kernels, clock=lambda: LATER)

    def publish(self) -> Catalog:
        return self.store.publish(self.scan())

    def only(self) -> PublishedKernel:
        (kernel,) = self.publish().kernels
        return kernel

    def read(self, path: PurePosixPath | None) -> bytes:
        assert path is not None
        return (self.published / path).read_bytes()

    def folders(self) -> set[str]:
        root = self.published / "kernels"
        return {str(path.relative_to(root)) for path in root.glob("*/*")}


@pytest.fixture
def lab(tmp_path: Path) -> Lab:
    return Lab(tmp_path)


def test_a_set_is_published_whole_and_readable_by_all(lab: Lab) -> None:
    lab.drop("fc6/vmlinuz", make_bzimage("6.1"))
    lab.drop("fc6/initrd.img", make_cpio())
    lab.drop("fc6/vmlinuz.modules.cpio", make_cpio(b"modules"))
    kernel = lab.only()
    folder = PurePosixPath("kernels", safe_name("fc6/vmlinuz"), kernel.id)
    ctimes = [path.stat().st_ctime_ns for path in (lab.kernels / "fc6").iterdir()]
    assert kernel == PublishedKernel(
        name="fc6/vmlinuz",
        id=kernel.id,
        version="6.1",
        arch=Arch.X86_64,
        efi_stub=True,
        kernel=folder / "kernel",
        initrd=folder / "initrd",
        initrd_format=Initrd(RamdiskFormat.CPIO, nfs_mount=False, nfs_module=False),
        modules=folder / "modules",
        config=None,
        dropped_at=max(ctimes) / 1e9,
        config_awaited=True,
    )
    assert [lab.read(path) for path in (kernel.kernel, kernel.initrd, kernel.modules)] == [
        make_bzimage("6.1"),
        make_cpio(),
        make_cpio(b"modules"),
    ]
    modes = {path.name: path.stat().st_mode & 0o777 for path in (lab.published / folder).iterdir()}
    assert modes == dict.fromkeys(("kernel", "initrd", "modules", "manifest.json"), 0o644)
    for path in (lab.published / folder, (lab.published / folder).parent):
        assert path.stat().st_mode & 0o777 == 0o755


def test_the_newest_kernel_comes_first(lab: Lab) -> None:
    for name in ("b", "a"):
        lab.drop(name, make_bzimage(name))
    catalog = lab.publish()
    times = {one.name: (lab.kernels / one.name).stat().st_ctime for one in catalog.kernels}
    order = sorted(times, key=lambda name: (-times[name], name))
    assert [one.name for one in catalog.kernels] == order


def test_an_initrd_that_arrives_later_makes_a_new_version(lab: Lab) -> None:
    lab.drop("vmlinuz", make_bzimage())
    alone = lab.only()
    lab.drop("initrd", make_cpio())
    together = lab.only()
    assert together.id != alone.id
    assert lab.read(together.initrd) == make_cpio()
    assert lab.read(alone.kernel) == make_bzimage()  # a client may be in the middle of it


def test_the_same_contents_are_the_same_version(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage())
    before = lab.only()
    inode = (lab.published / before.kernel).stat().st_ino
    (lab.kernels / "bzImage").unlink()
    lab.drop("bzImage", make_bzimage())
    after = lab.only()
    assert after == replace(before, dropped_at=after.dropped_at)
    assert (lab.published / after.kernel).stat().st_ino == inode


def test_what_did_not_change_is_not_read_again_after_a_restart(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage())
    found = lab.scan()
    before = lab.store.publish(found)
    lab.start()
    # Changed behind the fingerprint's back: the store would notice if it read the file.
    path = lab.kernels / "bzImage"
    manifest = next(lab.published.rglob("manifest.json"))
    path.write_bytes(make_bzimage("6.2.0-test"))
    status = path.stat()
    raw = json.loads(manifest.read_text())
    raw["sources"]["kernel"]["fingerprint"] |= {
        "mtime_ns": status.st_mtime_ns,
        "ctime_ns": status.st_ctime_ns,
        "inode": status.st_ino,
    }
    manifest.write_text(json.dumps(raw))
    lab.start()
    assert lab.store.publish(found) == before


def test_a_file_as_young_as_the_clocks_tick_is_read_again(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage())
    lab.now = (lab.kernels / "bzImage").stat().st_ctime
    lab.only()
    manifest = next(lab.published.rglob("manifest.json"))
    assert json.loads(manifest.read_text())["sources"]["kernel"]["fingerprint"]["inode"] == 0
    lab.now = LATER
    lab.only()
    inode = (lab.kernels / "bzImage").stat().st_ino
    assert json.loads(manifest.read_text())["sources"]["kernel"]["fingerprint"]["inode"] == inode


def test_a_removed_kernel_leaves_the_catalog(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage())
    lab.only()
    (lab.kernels / "bzImage").unlink()
    assert lab.publish() == Catalog()


def test_a_kernel_that_is_overwritten_by_a_broken_one_keeps_its_last_good_version(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage())
    good = lab.only()
    lab.drop("bzImage", make_bzimage()[:-100])
    catalog = lab.publish()
    assert catalog.kernels == (good,)
    assert [one.path for one in catalog.refused] == [PurePosixPath("bzImage")]
    lab.start()
    assert lab.publish().kernels == (good,)


def replaced(path: Path) -> None:
    new = path.with_name("new")
    new.write_bytes(make_bzimage("6.2.0-test"))
    os.replace(new, path)


def rewritten(path: Path) -> None:
    path.write_bytes(make_bzimage("6.2.0-test"))


def turned_into_a_fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


@pytest.mark.parametrize("change", [replaced, rewritten, Path.unlink])
def test_a_kernel_that_changed_since_the_scan_is_pending(
    lab: Lab, change: Callable[[Path], None]
) -> None:
    lab.drop("bzImage", make_bzimage("6.1.0-test"))
    found = lab.scan()
    change(lab.kernels / "bzImage")
    assert lab.store.publish(found) == Catalog(pending=(PurePosixPath("bzImage"),))
    assert lab.folders() == set()


def test_a_kernel_that_became_a_fifo_since_the_scan_is_refused(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage())
    found = lab.scan()
    turned_into_a_fifo(lab.kernels / "bzImage")
    assert lab.store.publish(found) == Catalog(
        refused=(Refused(PurePosixPath("bzImage"), "a fifo, not a file"),)
    )


def test_a_kernel_that_somebody_opened_for_writing_is_pending(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage())
    found = lab.scan()
    with (lab.kernels / "bzImage").open("rb+"):
        assert lab.store.publish(found) == Catalog(pending=(PurePosixPath("bzImage"),))
    assert [one.name for one in lab.store.publish(found).kernels] == ["bzImage"]


def test_whoever_overwrites_a_kernel_all_the_time_never_gets_a_mixture_published(lab: Lab) -> None:
    versions = [make_bzimage("6.1.0-test", payload=bytes([n]) * 2_000_000) for n in range(2)]
    lab.drop("bzImage", versions[0])
    done = threading.Event()

    def overwrite() -> None:
        turn = 0
        while not done.is_set():
            with (lab.kernels / "bzImage").open("rb+") as file:
                file.write(versions[turn % 2])
            turn += 1

    writer = threading.Thread(target=overwrite)
    writer.start()
    try:
        for _ in range(60):
            lab.publish()
    finally:
        done.set()
        writer.join()
    published = [path.read_bytes() for path in lab.published.rglob("kernel")]
    assert all(data in versions for data in published)


def test_left_overs_of_a_crash_are_removed_at_the_start(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage())
    kernel = lab.only()
    left_over = lab.published / "kernels" / ".new-crashed"
    left_over.mkdir()
    (left_over / "kernel").write_bytes(b"half")
    lab.start()
    assert not left_over.exists()
    assert lab.only() == kernel


@pytest.mark.parametrize(
    "text", ["", "{", "[]", "null", '{"name": 1}', '{"name": "x"}', "[" * 100_000, "\udcff"]
)
def test_a_version_with_a_broken_manifest_is_made_again(lab: Lab, text: str) -> None:
    lab.drop("bzImage", make_bzimage())
    kernel = lab.only()
    path = lab.published / kernel.kernel.parent / "manifest.json"
    path.write_bytes(text.encode("utf-8", "surrogateescape"))
    (lab.published / kernel.kernel).write_bytes(b"lost")
    lab.start()
    assert lab.only() == kernel
    assert lab.read(kernel.kernel) == make_bzimage()


def test_a_published_kernel_that_lost_bytes_is_made_again(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage())
    kernel = lab.only()
    os.truncate(lab.published / kernel.kernel, 100)
    lab.start()
    assert lab.only() == kernel
    assert lab.read(kernel.kernel) == make_bzimage()


def test_a_replaced_version_goes_after_its_time(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage("6.1"))
    old = lab.only()
    lab.now = LATER + 1000
    lab.drop("bzImage", make_bzimage("6.2"))
    new = lab.only()
    assert lab.store.retire(LATER + 1899) == ()
    lab.start()  # since when it is retired outlives the appliance
    lab.publish()
    assert lab.store.retire(LATER + 1900) == (old.kernel.parent,)
    assert lab.folders() == {f"bzImage/{new.id}"}


def test_the_newest_replaced_versions_stay_while_their_name_does(tmp_path: Path) -> None:
    lab = Lab(tmp_path, keep=2)
    ids = []
    for n in range(5):
        lab.now = LATER + n
        lab.drop("bzImage", make_bzimage(f"6.{n}"))
        ids.append(lab.only().id)
    lab.store.retire(LATER + 2000)
    assert lab.folders() == {f"bzImage/{one}" for one in ids[2:]}
    (lab.kernels / "bzImage").unlink()
    lab.now = LATER + 3000
    lab.publish()
    lab.store.retire(LATER + 3899)
    assert lab.folders() == {f"bzImage/{ids[4]}"}
    lab.store.retire(LATER + 3900)
    assert list((lab.published / "kernels").glob("[!r]*")) == []


def test_nothing_is_retired_before_the_drop_folder_was_looked_at(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage())
    lab.only()
    (lab.kernels / "bzImage").unlink()
    lab.publish()
    lab.start()
    assert lab.store.retire(LATER + 9999) == ()


def test_an_old_version_that_comes_back_is_current_again(lab: Lab) -> None:
    for version in ("6.1", "6.2", "6.1"):
        lab.drop("bzImage", make_bzimage(version))
        kernel = lab.only()
    lab.store.retire(LATER + 9999)
    assert lab.folders() == {f"bzImage/{kernel.id}"}


_PUBLISH_WITH_LITTLE_ROOM = """
import resource, sys
from pathlib import Path
from appliance.catalog.scan import scan
from appliance.store import Store
kernels, published = map(Path, sys.argv[1:3])
found = scan(kernels, clock=lambda: 1e10)
store = Store(published, kernels, 0)
store.open()
resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), resource.RLIM_INFINITY))
catalog = store.publish(found)
print([(one.name, one.version) for one in catalog.kernels], [one.reason for one in catalog.refused])
"""


def test_without_room_the_older_version_stays(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage("6.1"))
    old = lab.only()
    lab.drop("bzImage", make_bzimage("6.2", payload=bytes(100_000)))
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] == resource.RLIM_INFINITY
    argv = [sys.executable, "-c", _PUBLISH_WITH_LITTLE_ROOM]
    argv += [str(lab.kernels), str(lab.published), "50000"]
    result = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert result.stdout == (
        "[('bzImage', '6.1')] ['cannot be published: larger than a file may be on the volume']\n"
    )
    assert lab.folders() == {f"bzImage/{old.id}"}
    assert list((lab.published / "kernels").glob(".new-*")) == []


def with_config(kernel: PublishedKernel, *options: tuple[str, str]) -> PublishedKernel:
    return replace(kernel, config=KernelConfig(frozenset(options)), config_awaited=False)


def test_the_config_inside_a_kernel_is_known_after_it_was_read(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage(config="CONFIG_A=y\n"))
    before = lab.only()
    assert lab.store.read_configs()
    known = with_config(before, ("CONFIG_A", "y"))
    assert lab.only() == known
    assert not lab.store.read_configs()
    lab.start()
    assert lab.only() == known


def test_a_version_that_goes_while_its_config_is_looked_for_does_no_harm(
    lab: Lab, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab.drop("bzImage", make_bzimage("6.1"))
    lab.only()
    # It was there a moment ago: publish and retire run beside this.
    monkeypatch.setattr(Path, "exists", lambda _: True)
    assert not lab.store.read_configs()


def test_a_config_that_comes_later_takes_the_place_of_the_one_inside(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage(config="CONFIG_A=y\n"))
    before = lab.only()
    assert lab.store.read_configs()
    lab.drop("bzImage.config", b"CONFIG_B=m\n")
    lab.publish()
    assert lab.store.read_configs()
    assert lab.only() == with_config(before, ("CONFIG_B", "m"))
    assert not lab.store.read_configs()


def test_what_lies_beside_one_name_of_a_kernel_says_nothing_of_another(lab: Lab) -> None:
    image = make_bzimage(config="CONFIG_A=y\n")
    lab.drop("one", image)
    lab.drop("one.config", b"CONFIG_B=m\n")
    lab.publish()
    assert lab.store.read_configs()
    lab.drop("two", image)
    lab.publish()
    assert lab.store.read_configs()
    configs = {each.name: each.config for each in lab.publish().kernels}
    assert configs == {
        "one": KernelConfig(frozenset({("CONFIG_B", "m")})),
        "two": KernelConfig(frozenset({("CONFIG_A", "y")})),
    }


def test_the_config_beside_a_kernel_without_one_is_taken_even_later(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage())
    before = lab.only()
    assert before.config_awaited
    assert lab.store.read_configs()
    assert lab.only() == replace(before, config_awaited=False)
    assert not lab.store.read_configs()
    assert lab.read(before.kernel.parent / "config") == b""
    lab.start()
    assert lab.only() == replace(before, config_awaited=False)
    lab.drop("bzImage.config", b"CONFIG_B=m\n")
    assert lab.only() == before
    assert lab.store.read_configs()
    assert lab.only() == with_config(before, ("CONFIG_B", "m"))


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("bzImage-6.1.0", "bzImage-6.1.0"),
        ("fc6/vmlinuz", "fc6-vmlinuz~"),
        ("../../etc", "etc~"),
        (".hidden", "hidden~"),
        ("ü", "kernel~"),
        ("x" * 61, "x" * 60 + "~"),
    ],
)
def test_a_safe_name_says_when_it_is_not_the_name(name: str, safe: str) -> None:
    prefix, mark, digest = safe_name(name).partition("~")
    assert (prefix + mark, len(digest)) == (safe, 8 if mark else 0)


def test_a_path_out_of_the_drop_folder_is_not_opened_through_a_linked_folder(
    tmp_path: Path,
) -> None:
    lab = Lab(tmp_path)
    (tmp_path / "secret").mkdir()
    (tmp_path / "secret" / "key").write_bytes(b"secret")
    (lab.kernels / "folder").symlink_to(tmp_path / "secret")
    with (
        pytest.raises(Exception, match="a link out of the drop folder"),
        open_inside(lab.kernels, PurePosixPath("folder/key")),
    ):
        raise AssertionError("it was opened")


def test_a_version_that_comes_back_is_current_for_the_next_start_too(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage("6.1"))
    first = lab.only()
    lab.drop("bzImage", make_bzimage("6.2"))
    lab.only()
    lab.drop("bzImage", make_bzimage("6.1"))
    assert lab.only().id == first.id
    lab.start()
    assert [kernel.id for kernel in lab.store.published()] == [first.id]


def test_what_somebody_deleted_from_published_is_made_again(lab: Lab) -> None:
    lab.drop("bzImage", make_bzimage("6.1"))
    kernel = lab.only()
    shutil.rmtree(lab.published / "kernels")
    assert lab.only().id == kernel.id
    assert lab.read(kernel.kernel) == make_bzimage("6.1")


def test_a_retired_version_that_somebody_deleted_is_forgotten(lab: Lab) -> None:
    lab.keep = 0
    lab.start()
    lab.drop("bzImage", make_bzimage("6.1"))
    first = lab.only()
    lab.drop("bzImage", make_bzimage("6.2"))
    lab.only()
    shutil.rmtree((lab.published / first.kernel).parent)
    assert lab.store.retire(lab.now + 1000) == (PurePosixPath(first.kernel.parent),)
