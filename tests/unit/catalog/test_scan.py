import gzip
import io
import os
import socket
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path, PurePosixPath

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from appliance.catalog.kernel import identify
from appliance.catalog.lease import Writers
from appliance.catalog.model import KernelImage, KernelSet, Refused, Scan
from appliance.catalog.openat import NotReadable, require_regular
from appliance.catalog.scan import Seen, scan
from tests.unit.catalog.kernels import (
    make_bzimage,
    make_cpio,
    make_ext2,
    make_image,
    packed_gzip,
)

V = "6.1.0-test"
KERNEL = make_bzimage(V)
LATER = 1e10  # seconds since the epoch: everything has been still for long


def image_of(data: bytes) -> KernelImage:
    image = identify(io.BytesIO(data), len(data))
    assert isinstance(image, KernelImage)
    return image


def kernel_set(name: str, **partners: str) -> KernelSet:
    paths = {role: PurePosixPath(path) for role, path in partners.items()}
    return KernelSet(name, image_of(KERNEL), PurePosixPath(name), **paths)


def refused(path: str, reason: str) -> Refused:
    return Refused(PurePosixPath(path), reason)


def drop(folder: Path, *names: str, data: bytes = KERNEL) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)


def look(folder: Path, seen: Seen | None = None) -> Scan:
    return scan(folder, seen=seen, clock=lambda: LATER)


@contextmanager
def reading_counted(folder: Path) -> Iterator[list[int]]:
    opened: list[int] = []

    def writers(fd: int) -> Writers:
        opened.append(fd)
        return Writers.NONE

    seen = Seen()
    scan(folder, writers=writers, seen=seen, clock=lambda: LATER)
    opened.clear()
    scan(folder, writers=writers, seen=seen, clock=lambda: LATER)
    yield opened


def test_a_missing_or_empty_drop_folder_is_empty(tmp_path: Path) -> None:
    assert (look(tmp_path / "missing"), look(tmp_path)) == (Scan(), Scan())


@pytest.mark.parametrize(
    ("kernel", "initrd"),
    [
        ("vmlinuz-6.1", "initrd.img-6.1"),
        ("vmlinuz-6.1", "initramfs-6.1.img"),
        ("vmlinuz-6.1", "initrd-6.1"),
        ("vmlinuz-6.1", "initrd-6.1.img"),
        ("mine", f"initrd-{V}.img"),
        ("mine", "mine.initrd"),
        ("mine", "mine.initrd.img"),
        ("os_images/fc6/vmlinuz", "os_images/fc6/initrd.img"),
        ("a/bzImage", "a/initrd"),
        ("linux", "initramfs.img"),
    ],
)
def test_an_initrd_is_found_by_version_or_name(tmp_path: Path, kernel: str, initrd: str) -> None:
    drop(tmp_path, kernel)
    drop(tmp_path, initrd, data=make_cpio())
    assert look(tmp_path) == Scan(sets=(kernel_set(kernel, initrd=initrd),))


def test_config_and_modules_belong_to_their_kernel(tmp_path: Path) -> None:
    drop(tmp_path, "a/one", "b/vmlinuz-6.1")
    drop(tmp_path, "a/one.config", f"b/config-{V}", data=b"CONFIG_A=y\n")
    drop(tmp_path, "a/one.modules.cpio.gz", data=gzip.compress(make_cpio()))
    drop(tmp_path, "b/modules-6.1.cpio", data=make_cpio())
    assert look(tmp_path) == Scan(
        sets=(
            kernel_set("a/one", config="a/one.config", modules="a/one.modules.cpio.gz"),
            kernel_set("b/vmlinuz-6.1", config=f"b/config-{V}", modules="b/modules-6.1.cpio"),
        )
    )


def test_the_name_is_a_closer_tie_than_the_version(tmp_path: Path) -> None:
    drop(tmp_path, "mine")
    drop(tmp_path, f"initrd-{V}.img", "mine.initrd", data=make_cpio())
    assert look(tmp_path) == Scan(
        sets=(kernel_set("mine", initrd="mine.initrd"),),
        refused=(
            refused(
                f"initrd-{V}.img",
                "an initrd without its kernel: name it initrd-VERSION.img or KERNEL.initrd",
            ),
        ),
    )


def test_two_kernels_in_a_folder_do_not_share_a_nameless_initrd(tmp_path: Path) -> None:
    drop(tmp_path, "vmlinuz", "linux")
    drop(tmp_path, "initrd.img", data=make_cpio())
    found = look(tmp_path)
    assert found.sets == (kernel_set("linux"), kernel_set("vmlinuz"))
    assert [one.path.name for one in found.refused] == ["initrd.img"]


def test_files_that_are_nobodys_business_are_passed_over(tmp_path: Path) -> None:
    drop(tmp_path, "README.md", ".hidden", ".git/config", "bzImage.part", "bzImage~", ".b.swp")
    assert look(tmp_path) == Scan()


def test_what_is_no_kernel_is_refused_with_its_reason(tmp_path: Path) -> None:
    drop(tmp_path, "notes", data=b"hello\n")
    drop(tmp_path, "vmlinuz")
    drop(tmp_path, "initrd", data=b"hello\n")
    drop(tmp_path, "vmlinuz.config", data=b"hello\n")
    drop(tmp_path, "vmlinuz.modules.cpio", data=make_ext2())
    assert look(tmp_path) == Scan(
        sets=(kernel_set("vmlinuz"),),
        refused=(
            refused(
                "initrd", "neither a cpio archive nor an ext2 file system, as an initrd must be"
            ),
            refused("notes", "a text file, not a kernel"),
            refused("vmlinuz.config", "not a kernel's config"),
            refused("vmlinuz.modules.cpio", "modules have to be a cpio archive"),
        ),
    )


@settings(max_examples=50)
@given(length=st.integers(0x268, len(KERNEL) - 1))
def test_a_kernel_cut_short_is_refused_with_the_bytes_that_it_lacks(
    tmp_path_factory: pytest.TempPathFactory, length: int
) -> None:
    folder = tmp_path_factory.mktemp("kernels")
    drop(folder, "bzImage", data=KERNEL[:length])
    assert look(folder) == Scan(
        refused=(
            refused(
                "bzImage",
                f"cut short: {length} of at least {len(KERNEL)} bytes are there; copy it again",
            ),
        )
    )


def test_what_is_no_file_is_refused_without_being_opened(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(str(tmp_path / "socket"))
    assert look(tmp_path) == Scan(
        refused=(refused("fifo", "a fifo, not a file"), refused("socket", "a socket, not a file"))
    )


@pytest.mark.parametrize(
    ("mode", "reason"),
    [
        (stat.S_IFBLK, "a block device, not a file"),
        (stat.S_IFCHR, "a character device, not a file"),
    ],
)
def test_devices_are_refused_before_they_are_opened(mode: int, reason: str) -> None:
    with pytest.raises(NotReadable, match=reason):
        require_regular(mode | 0o600)


def test_links_are_followed_inside_and_only_inside(tmp_path: Path) -> None:
    folder = tmp_path / "kernels"
    drop(folder, "real/bzImage-1")
    drop(tmp_path, "outside")
    os.mkfifo(folder / "real/fifo")
    for name, target in {
        "inside": "real/bzImage-1",
        "out": "../outside",
        "loop": "loop",
        "dangling": "nothing",
        "up": "..",
        "pipe": "real/fifo",
        "again": "real",
    }.items():
        (folder / name).symlink_to(target)
    assert look(folder) == Scan(
        sets=(kernel_set("inside"), kernel_set("real/bzImage-1")),
        refused=(
            refused("again", "a folder, not a file"),
            refused("dangling", "a link that leads nowhere: No such file or directory"),
            refused("loop", "a link that leads nowhere: Too many levels of symbolic links"),
            refused("out", "a link out of the drop folder: copy the file instead"),
            refused("pipe", "a fifo, not a file"),
            refused("real/fifo", "a fifo, not a file"),
            refused("up", "a link out of the drop folder: copy the file instead"),
        ),
    )


def test_names_that_a_menu_cannot_take_are_refused_by_an_escaped_name(tmp_path: Path) -> None:
    reason = "a name with control characters or not in UTF-8: rename it"
    for name in (b"a\nb", b"\xff\xfe", b"\x1b[31m", "\u202egnp".encode()):
        Path(os.fsdecode(bytes(tmp_path) + b"/" + name)).write_bytes(KERNEL)
    drop(tmp_path, "ü ok")
    assert look(tmp_path) == Scan(
        sets=(kernel_set("ü ok"),),
        refused=(
            refused("\\u202egnp", reason),
            refused("\\x1b[31m", reason),
            refused("\\xff\\xfe", reason),
            refused("a\\nb", reason),
        ),
    )


def test_too_long_a_path_is_refused(tmp_path: Path) -> None:
    name = "/".join(["x" * 100] * 3)
    drop(tmp_path, name)
    assert look(tmp_path).refused == (
        refused(name, "a name longer than 255 characters: rename it"),
    )


def test_folders_without_end_are_not_entered(tmp_path: Path) -> None:
    drop(tmp_path, "/".join("d" * 17) + "/bzImage")
    assert look(tmp_path) == Scan(
        refused=(refused("/".join("d" * 17), "more than 16 folders deep"),)
    )


def test_a_kernel_that_somebody_writes_to_is_pending_until_it_is_closed(tmp_path: Path) -> None:
    drop(tmp_path, "bzImage")
    with (tmp_path / "bzImage").open("ab"):
        assert look(tmp_path) == Scan(pending=(PurePosixPath("bzImage"),))
    assert look(tmp_path) == Scan(sets=(kernel_set("bzImage"),))


def test_a_kernel_is_found_at_once_after_it_is_closed(tmp_path: Path) -> None:
    drop(tmp_path, "bzImage")
    assert scan(tmp_path) == Scan(sets=(kernel_set("bzImage"),))


def test_without_leases_a_kernel_is_pending_until_it_is_still(tmp_path: Path) -> None:
    drop(tmp_path, "bzImage")
    now = (tmp_path / "bzImage").stat().st_ctime

    def at(seconds: float) -> Scan:
        return scan(tmp_path, writers=lambda _: Writers.UNKNOWN, clock=lambda: now + seconds)

    pending = Scan(pending=(PurePosixPath("bzImage"),))
    assert (at(0.0), at(0.9), at(1.1)) == (pending, pending, Scan(sets=(kernel_set("bzImage"),)))


def test_a_kernel_that_does_not_say_its_length_is_pending_until_it_is_still(
    tmp_path: Path,
) -> None:
    drop(tmp_path, "Image", data=make_image(V, efi_stub=False))
    now = (tmp_path / "Image").stat().st_ctime
    pending = Scan(pending=(PurePosixPath("Image"),))
    assert scan(tmp_path, clock=lambda: now + 0.5) == pending
    assert [one.name for one in scan(tmp_path, clock=lambda: now + 1.1).sets] == ["Image"]


def test_an_initrd_is_found_by_the_version_that_a_packed_kernel_has_inside(tmp_path: Path) -> None:
    drop(tmp_path, "Image.gz", data=packed_gzip(make_image(V)))
    drop(tmp_path, f"initrd.img-{V}", data=make_cpio())
    (found,) = look(tmp_path).sets
    assert (found.kernel, found.initrd) == (
        PurePosixPath("Image.gz"),
        PurePosixPath(f"initrd.img-{V}"),
    )


def test_a_kernel_waits_for_its_initrd_to_be_still(tmp_path: Path) -> None:
    drop(tmp_path, "bzImage")
    drop(tmp_path, "initrd", data=make_cpio())
    now = (tmp_path / "initrd").stat().st_ctime
    assert scan(tmp_path, clock=lambda: now + 0.5) == Scan(
        pending=(PurePosixPath("bzImage"), PurePosixPath("initrd"))
    )
    assert scan(tmp_path, clock=lambda: now + 1.1) == Scan(
        sets=(kernel_set("bzImage", initrd="initrd"),)
    )


def test_a_file_from_a_clock_that_is_ahead_is_whole_after_a_second_of_ours(tmp_path: Path) -> None:
    drop(tmp_path, "bzImage")
    drop(tmp_path, "initrd", data=make_cpio())
    seen = Seen()

    def complete(now: float) -> bool:
        return bool(scan(tmp_path, seen=seen, clock=lambda: now).sets)

    assert [complete(5.0), complete(5.9), complete(6.1)] == [False, False, True]


def test_an_initrd_whose_kernel_is_on_its_way_is_not_refused(tmp_path: Path) -> None:
    drop(tmp_path, "bzImage")
    drop(tmp_path, f"initrd-{V}.img", data=make_cpio())
    with (tmp_path / "bzImage").open("ab"):
        assert look(tmp_path) == Scan(pending=(PurePosixPath("bzImage"),))


def test_a_rescan_reads_nothing_of_files_that_did_not_change(tmp_path: Path) -> None:
    drop(tmp_path, *(f"bzImage-{n}" for n in range(5)), data=KERNEL[:-100])
    drop(tmp_path, "vmlinuz", "linux.config")
    with reading_counted(tmp_path) as opened:
        assert opened == []


def test_a_changed_file_is_read_again(tmp_path: Path) -> None:
    drop(tmp_path, "bzImage")
    seen = Seen()
    before = look(tmp_path, seen)
    drop(tmp_path, "bzImage", data=b"hello")
    assert (before, look(tmp_path, seen)) == (
        Scan(sets=(kernel_set("bzImage"),)),
        Scan(refused=(refused("bzImage", "a text file, not a kernel"),)),
    )


def test_what_changed_within_a_tick_of_the_clock_is_read_again(tmp_path: Path) -> None:
    drop(tmp_path, "bzImage")
    seen = Seen()
    scan(tmp_path, seen=seen, clock=(tmp_path / "bzImage").stat().st_ctime.__float__)
    assert seen.verdicts == {}


def test_a_scan_tells_when_a_pending_file_is_worth_a_look(tmp_path: Path) -> None:
    drop(tmp_path, "bzImage")
    drop(tmp_path, "initrd", data=make_cpio())
    now = (tmp_path / "initrd").stat().st_ctime
    found = scan(tmp_path, clock=lambda: now + 0.4)
    assert found.look_in == pytest.approx(0.6)
    assert look(tmp_path).look_in is None
    with open(tmp_path / "bzImage", "ab"):
        assert look(tmp_path).look_in == 2.0, "its end is told, by inotify"


def test_a_kernel_that_has_its_length_before_its_contents_is_pending_until_it_is_still(
    tmp_path: Path,
) -> None:
    kernel = make_bzimage(V, payload=os.urandom(1 << 20))
    path = tmp_path / "bzImage"
    with path.open("wb") as file:
        file.truncate(len(kernel))
        file.write(kernel[: 1 << 18])
    now = path.stat().st_ctime
    assert scan(tmp_path, clock=lambda: now + 0.1).pending == (PurePosixPath("bzImage"),)
    with path.open("rb+") as file:
        file.write(kernel)
    now = path.stat().st_ctime
    (found,) = scan(tmp_path, clock=lambda: now + 0.1).sets
    assert found.name == "bzImage"


def test_a_kernel_with_an_endless_tail_is_refused(tmp_path: Path) -> None:
    drop(tmp_path, "bzImage")
    os.truncate(tmp_path / "bzImage", (1 << 30) + 1)
    assert look(tmp_path).refused == (refused("bzImage", "longer than 1 GiB, as no kernel is"),)


def test_a_tar_of_modules_beside_its_kernel_is_for_the_root_builder(tmp_path: Path) -> None:
    drop(tmp_path, "vmlinuz")
    drop(tmp_path, f"modules-{V}.tar.gz", data=packed_gzip(b"a tar"))
    assert look(tmp_path) == Scan(sets=(kernel_set("vmlinuz"),))


def test_a_tar_of_modules_that_is_none_is_refused(tmp_path: Path) -> None:
    drop(tmp_path, "vmlinuz")
    drop(tmp_path, "vmlinuz.modules.tar", data=b"hello")
    assert look(tmp_path) == Scan(
        sets=(kernel_set("vmlinuz"),),
        refused=(refused("vmlinuz.modules.tar", "not a tar archive, packed or not"),),
    )


def test_a_kernel_does_not_wait_for_the_tar_of_its_modules(tmp_path: Path) -> None:
    drop(tmp_path, "vmlinuz")
    drop(tmp_path, f"modules-{V}.tar.gz", data=packed_gzip(b"a tar"))
    with (tmp_path / f"modules-{V}.tar.gz").open("rb+"):
        found = look(tmp_path)
    assert found.sets == (kernel_set("vmlinuz"),)
    assert found.pending == (PurePosixPath(f"modules-{V}.tar.gz"),)
