from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from appliance.nfs.kernel_server import Place, Record, here, record_path, recorded, running
from appliance.paths import Paths


@pytest.fixture
def paths(tmp_path: Path) -> Paths:
    paths = replace(Paths(), state=tmp_path)
    record_path(paths).parent.mkdir()
    return paths


def test_threads_are_counted() -> None:
    assert running("rc 0 0 0\nth 8 0 0.000 0.000\nra 32 0 0\n") == 8
    assert running("rc 0 0 0\n") == 0


def test_a_record_is_understood(paths: Paths) -> None:
    # As config/etc/nfs/nfsd.sh writes it.
    boot_id = Path("/proc/sys/kernel/random/boot_id").read_text()
    inode = Path("/proc/self/ns/net").stat().st_ino
    record_path(paths).write_text(f"{boot_id}{inode}\n192.168.10.1:2049 starting\n")
    assert recorded(paths) == Record(here(), "192.168.10.1:2049", None)
    record_path(paths).write_text(f"{boot_id}{inode}\nino:71 8\n")
    assert recorded(paths) == Record(here(), "ino:71", 8)


@pytest.mark.parametrize(
    "text", ["", "one", "a b c", "boot 1", "\0\0", "boot -1 ino:1 8", "boot 1 ino:1 many"]
)
def test_what_is_no_record_is_none(paths: Paths, text: str) -> None:
    record_path(paths).write_text(text)
    assert recorded(paths) is None


def test_without_a_record_nothing_is_ours(paths: Paths) -> None:
    assert recorded(paths) is None


PLACE = Place("boot", 4026531833)
OURS = "LISTEN 0 64 192.168.10.1:2049 0.0.0.0:* ino:71 sk:1f <->\n"
ANEW = OURS.replace("ino:71", "ino:171")
EVERYWHERE = "LISTEN 0 64 0.0.0.0:2049 0.0.0.0:* ino:90\nLISTEN 0 64 [::]:2049 [::]:* ino:91\n"
STARTING, STARTED = Record(PLACE, "192.168.10.1:2049", None), Record(PLACE, "ino:71", 8)


@pytest.mark.parametrize(
    ("record", "threads", "sockets", "ours"),
    [
        (STARTED, 8, OURS, True),
        # Ours have ended with the container, and the host's own server was started.
        (STARTED, 8, EVERYWHERE, False),
        (STARTED, 8, ANEW, False),
        (STARTED, 8, "", False),
        # The host took over those that a killed container left.
        (STARTED, 16, OURS, False),
        (STARTED, 8, OURS + EVERYWHERE, False),
        # The container was killed while it started them.
        (STARTING, 3, OURS, True),
        (STARTING, 8, EVERYWHERE, False),
    ],
)
def test_what_the_host_started_later_is_not_ours(
    record: Record, threads: int, sockets: str, ours: bool
) -> None:
    assert record.tells_of(PLACE, threads, sockets) == ours


@pytest.mark.parametrize("place", [Place("another", 4026531833), Place("boot", 4026531834)])
def test_another_boot_or_network_is_another_place(place: Place) -> None:
    assert not STARTED.tells_of(place, 8, OURS)
