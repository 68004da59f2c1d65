"""Drops that go wrong: what is torn or no kernel is never fetched, the rest boots, all runs on."""

from __future__ import annotations

import hashlib
import os
import random
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemons.client import BASE_URL, Script, a_client, memory, pids, processes
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

_LENGTH = 12 << 20  # bytes of a kernel of the usual size


def sha256(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


@pytest.fixture(scope="session")
def kernel(test_kernel: Path) -> bytes:
    """A kernel of 12 MB: more than its header says may follow, as with signed ones."""
    whole = test_kernel.read_bytes()
    return whole + random.Random(0).randbytes(_LENGTH - len(whole))


def another(kernel: bytes, number: int) -> bytes:
    """A kernel with the same header and other contents."""
    mark = b"%016d" % number
    return kernel[:-16] + mark


@contextmanager
def fetched(lab: Lab) -> Iterator[set[str]]:
    """Fetch all that the menu names meanwhile; afterwards the set has the SHA-256 of each."""
    digests: set[str] = set()
    with a_client(lab) as client:
        script = Script(client, "fetch", BASE_URL)
        yield digests
        lines = [line.split() for line in script.finish()]
    assert [line for line in lines if len(line[0]) != 64] == [], "what the menu names is there"
    digests.update(digest for digest, _ in lines)


@pytest.fixture
def undisturbed(empty_lab: Lab) -> Iterator[None]:
    """No daemon ends and none grows, whatever the test does."""
    before = pids(empty_lab)
    size = memory(empty_lab)
    yield
    assert pids(empty_lab) == before
    empty_lab.wait_ready()
    grown = memory(empty_lab) - size
    assert grown < 60_000, f"{grown} kB more: {processes(empty_lab)}"


def lines_since(lab: Lab, since: float) -> list[str]:
    return [
        event.text for event in lab.events if event.time >= since and event.daemon == "bootdrop"
    ]


@pytest.mark.long
def test_of_a_thousand_cut_copies_none_is_offered_and_each_is_named(
    empty_lab: Lab, undisturbed: None, kernel: bytes, test_kernel: Path
) -> None:
    folder = empty_lab.boot / "kernels"
    need = test_kernel.stat().st_size
    chance = random.Random(1)
    since = time.time()
    with fetched(empty_lab) as digests:
        for number in range(1000):
            (folder / f"cut-{number}").write_bytes(kernel[: chance.randrange(need)])
            if number % 100 == 0:
                (folder / f"whole-{number}").write_bytes(another(kernel, number))
        status = empty_lab.wait_status(
            lambda status: (len(status.refused), len(status.kernels)) == (1000, 10), 30
        )
    assert digests == {sha256(another(kernel, number)) for number in range(0, 1000, 100)}
    assert {path for path, _ in status.refused} == {f"cut-{number}" for number in range(1000)}
    assert len(lines_since(empty_lab, since)) < 300
    _, said = empty_lab.exec_appliance(["bootdrop", "status"])
    assert len(said.splitlines()) < 70
    _, said = empty_lab.exec_appliance(["bootdrop", "kernels"])
    assert sum(line.startswith("  cut-") for line in said.splitlines()) == 1000
    print(f"{time.time() - since:.1f} s, {len(lines_since(empty_lab, since))} lines")


@pytest.mark.long
def test_five_hundred_kernels_at_once_are_all_offered_and_the_newest_boots(
    empty_lab: Lab, undisturbed: None, kernel: bytes, test_kernel: Path
) -> None:
    whole = test_kernel.read_bytes()
    folder = empty_lab.boot / "kernels"
    since = time.time()
    with fetched(empty_lab) as digests:
        for number in range(500):
            (folder / f"bzImage-{number}").write_bytes(another(whole + bytes(16), number))
        dropped = time.time()
        first = empty_lab.wait_status(lambda status: len(status.kernels) >= 1, 10)
        empty_lab.wait_status(lambda status: len(status.kernels) == 500, 60)
        took = time.time() - dropped
    assert digests == {sha256(another(whole + bytes(16), number)) for number in range(500)}
    print(
        f"first {first.time - since:.1f} s, all {took:.1f} s after the last was dropped,"
        f" {len(lines_since(empty_lab, since))} lines"
    )
    assert len(lines_since(empty_lab, since)) < 600
    empty_lab.feed.wait_event(lambda event: "menu of 500 entries" in event.text, 10, since)
    with empty_lab.machine("bios") as machine:
        machine.expect(r"BOOTDROP: rescue shell", 120)


def slowly(pieces: list[bytes], write: Callable[[bytes], None]) -> None:
    """Write piece by piece, as over a slow network."""
    pace = threading.Event()
    for piece in pieces:
        write(piece)
        pace.wait(0.15)


def kept_open(path: Path, pieces: list[bytes]) -> None:
    with path.open("wb", buffering=0) as file:
        slowly(pieces, file.write)


def closed_in_between(path: Path, pieces: list[bytes]) -> None:
    def append(piece: bytes) -> None:
        with path.open("ab") as file:
            file.write(piece)

    slowly(pieces, append)


def given_its_length_first(path: Path, pieces: list[bytes]) -> None:
    with path.open("wb") as file:
        file.truncate(sum(map(len, pieces)))
    at = 0

    def fill(piece: bytes) -> None:
        nonlocal at
        with path.open("rb+") as file:
            file.seek(at)
            file.write(piece)
        at += len(piece)

    slowly(pieces, fill)


def as_rsync_does(path: Path, pieces: list[bytes]) -> None:
    aside = path.with_name(f".{path.name}.Xy3kQ2")
    closed_in_between(aside, pieces)
    os.utime(aside, (1e9, 1e9))
    aside.rename(path)


def as_cp_p_does(path: Path, pieces: list[bytes]) -> None:
    kept_open(path, pieces)
    os.utime(path, (1e9, 1e9))


def from_beside_the_drop_folder(path: Path, pieces: list[bytes]) -> None:
    aside = path.parent.parent / f"upload-{path.name}"
    kept_open(aside, pieces)
    aside.rename(path)


def as_a_hard_link(path: Path, pieces: list[bytes]) -> None:
    """The file is written through a name that is outside of the drop folder."""
    aside = path.parent.parent / f"link-{path.name}"
    with aside.open("wb", buffering=0) as file:
        path.hardlink_to(aside)  # of what is opened later by its other name, inotify tells nothing
        slowly(pieces, file.write)
    aside.unlink()


@pytest.mark.parametrize(
    "way",
    [
        kept_open,
        closed_in_between,
        given_its_length_first,
        as_rsync_does,
        as_cp_p_does,
        from_beside_the_drop_folder,
        as_a_hard_link,
    ],
    ids=lambda way: way.__name__,
)
def test_a_kernel_that_comes_slowly_is_offered_when_it_is_whole(
    empty_lab: Lab, kernel: bytes, way: Callable[[Path, list[bytes]], None]
) -> None:
    pieces = [kernel[at : at + (1 << 20)] for at in range(0, len(kernel), 1 << 20)]
    # Whole as soon as what its header says is there, wherever more follows in one go.
    pieces = [*pieces[:2], b"".join(pieces[2:])] if way is closed_in_between else pieces
    with fetched(empty_lab) as digests:
        way(empty_lab.boot / "kernels" / "bzImage", pieces)
        empty_lab.wait_status(
            lambda status: status.kernels == ("bzImage",) and not status.pending, 10
        )
    assert digests == {sha256(kernel)}


def test_a_kernel_that_is_never_closed_is_never_offered(empty_lab: Lab, kernel: bytes) -> None:
    with (empty_lab.boot / "kernels" / "bzImage").open("wb") as file:
        file.write(kernel)
        file.flush()
        empty_lab.wait_status(lambda status: status.pending == ("bzImage",), 10)
        empty_lab.drop(Path(__file__), "notes")
        status = empty_lab.wait_status(lambda status: len(status.refused) == 1, 10)
        assert (status.kernels, status.pending) == ((), ("bzImage",))
    empty_lab.wait_status(lambda status: status.kernels == ("bzImage",), 5)


def truncated_in_place(path: Path, data: bytes) -> None:
    os.truncate(path, 0)
    path.write_bytes(data)


def replaced(path: Path, data: bytes) -> None:
    aside = path.with_name(f".{path.name}.new")
    aside.write_bytes(data)
    aside.rename(path)


def overwritten(path: Path, data: bytes) -> None:
    with path.open("rb+", buffering=0) as file:
        for at in range(0, len(data), 1 << 20):
            file.write(data[at : at + (1 << 20)])


def removed_and_made_again(path: Path, data: bytes) -> None:
    path.unlink()
    path.write_bytes(data)


@pytest.mark.long
def test_kernels_that_are_overwritten_while_they_are_fetched_are_whole(
    empty_lab: Lab, undisturbed: None, kernel: bytes
) -> None:
    folder = empty_lab.boot / "kernels"
    ways = (truncated_in_place, replaced, overwritten, removed_and_made_again)
    good = {sha256(another(kernel, number)) for number in range(40)}
    for name in range(4):
        (folder / f"bzImage-{name}").write_bytes(another(kernel, name))
    with fetched(empty_lab) as digests:
        for number in range(4, 40):
            ways[number % 4](folder / f"bzImage-{number % 4}", another(kernel, number))
        empty_lab.wait_status(
            lambda status: len(status.kernels) == 4 and not status.pending, 10, since=time.time()
        )
    assert digests <= good
    assert {sha256(another(kernel, number)) for number in range(36, 40)} <= digests


ODD_NAMES = (
    "with space",
    "'single' \"double\"",
    "-rf",
    "--help",
    "ünïcödé-核",
    "$(reboot);`x`&|<>",
    "${ip}",
    "%s%n%00",
    "#comment",
    "~tilde",
    "x" * 200,
    "a||b && c",
    "LABEL x",
)
BAD_NAMES = ("line\nbreak", "bell\a", "escape\x1b[2J", "tab\there", b"not-utf8-\xff\xfe")


def test_odd_names_are_offered_and_impossible_ones_are_named(
    empty_lab: Lab, undisturbed: None, kernel: bytes
) -> None:
    folder = empty_lab.boot / "kernels"
    with fetched(empty_lab) as digests:
        for number, name in enumerate(ODD_NAMES):
            (folder / name).write_bytes(another(kernel, number))
        for bad in BAD_NAMES:
            (folder / os.fsdecode(bad)).write_bytes(kernel)
        status = empty_lab.wait_status(
            lambda status: (
                (len(status.kernels), len(status.refused)) == (len(ODD_NAMES), len(BAD_NAMES))
            ),
            15,
        )
    assert set(status.kernels) == set(ODD_NAMES)
    assert all("control characters or not in UTF-8" in reason for _, reason in status.refused)
    assert all(path.isprintable() for path, _ in status.refused)
    assert digests == {sha256(another(kernel, number)) for number in range(len(ODD_NAMES))}


def test_special_files_and_links_are_refused_and_hold_nothing_up(
    empty_lab: Lab, undisturbed: None, kernel: bytes
) -> None:
    folder = empty_lab.boot / "kernels"
    os.mkfifo(folder / "fifo")
    with socket.socket(socket.AF_UNIX) as unix:
        unix.bind(os.path.relpath(folder / "socket"))
    (folder / "loop").symlink_to("loop")
    (folder / "a").symlink_to("b")
    (folder / "b").symlink_to("a")
    (folder / "out").symlink_to("/etc/passwd")
    (folder / "up").symlink_to("../published/boot.ipxe")
    (folder / "nowhere").symlink_to("missing")
    (folder / "folder-link").symlink_to(".")
    (folder / "bzImage").write_bytes(kernel)
    (folder / "good-link").symlink_to("bzImage")
    (folder / "vmlinuz").mkdir()
    (folder / "vmlinuz" / "bzImage").write_bytes(another(kernel, 1))
    empty_lab.appliance.exec_run(["true"])
    empty_lab.docker.containers.run(
        empty_lab.project.image("lab"),
        ["mknod", "/kernels/null", "c", "1", "3"],
        volumes={str(folder): {"bind": "/kernels", "mode": "rw"}},
        network_mode="none",
        remove=True,
    )
    with fetched(empty_lab) as digests:
        status = empty_lab.wait_status(
            lambda status: (len(status.kernels), len(status.refused)) == (3, 10), 15
        )
    assert digests == {sha256(kernel), sha256(another(kernel, 1))}
    reasons = dict(status.refused)
    assert {reasons[name] for name in ("out", "up")} == {
        "a link out of the drop folder: copy the file instead"
    }
    assert all("leads nowhere" in reasons[name] for name in ("loop", "a", "b", "nowhere"))
    kinds = {"fifo": "a fifo", "socket": "a socket", "null": "a character device"}
    assert {name: reasons[name] for name in kinds} == {
        name: f"{kind}, not a file" for name, kind in kinds.items()
    }


@pytest.mark.long
def test_a_source_tree_in_the_drop_folder_hides_no_kernel(
    empty_lab: Lab, undisturbed: None, kernel: bytes
) -> None:
    folder = empty_lab.boot / "kernels"
    since = time.time()
    for number in range(10_000):
        path = folder / "linux" / f"d{number % 100}" / f"file-{number}.c"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("int x;\n")
    deep = folder
    for _ in range(200):
        deep = deep / "deep"
    deep.mkdir(parents=True)
    (deep / "bzImage").write_bytes(kernel)
    (folder / ".git" / "objects").mkdir(parents=True)
    (folder / ".git" / "objects" / "bzImage").write_bytes(kernel)
    dropped = time.time()
    (folder / "linux" / "bzImage").write_bytes(kernel)
    status = empty_lab.wait_status(
        lambda status: (len(status.kernels), len(status.refused)) == (1, 10_001), 30
    )
    assert status.kernels == ("linux/bzImage",)
    took = status.time - dropped
    print(f"10,001 refused after {took:.1f} s")
    assert len(lines_since(empty_lab, since)) < 500
    shutil.rmtree(folder / "deep")
    print(f"{took:.1f} s, {len(lines_since(empty_lab, since))} lines")
