"""Requests that go wrong: nothing is given away, nothing grows, and good clients are served."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from docker.models.containers import Container

from tests.daemons.client import Script, a_client, memory, pids, processes, run
from tests.lab.lab import Lab
from tests.lab.project import SERVER

pytestmark = pytest.mark.lab

PORT = "8069"
HANGS_UP_AFTER = 10.0  # seconds, at the soonest: client_header_timeout in nginx.conf
# Waits, in the appliance, until all but the first of in.tftpd's processes have ended.
_TRANSFERS_END = """
import os, select, sys
mains, left = int(sys.argv[1]), []
for pid in filter(str.isdigit, os.listdir("/proc")):
    try:
        words = open(f"/proc/{pid}/cmdline").read().split("\\0")
    except OSError:
        continue
    if words[0] == "in.tftpd" and int(pid) != mains:
        left.append(os.pidfd_open(int(pid)))
for process in left:
    if not select.select([process], [], [], 90)[0]:
        sys.exit("still there")
print(len(left), "ended")
"""


@pytest.fixture(scope="module")
def client(shared_lab: Lab) -> Iterator[Container]:
    with a_client(shared_lab) as client:
        yield client


@pytest.fixture
def unmoved(shared_lab: Lab) -> Iterator[None]:
    """No daemon ends, none grows, and all serve, whatever the test does."""
    shared_lab.wait_ready()
    before, size = pids(shared_lab), memory(shared_lab)
    yield
    assert pids(shared_lab) == before
    shared_lab.wait_ready()
    grown = memory(shared_lab) - size
    assert grown < 20_000, f"{grown} kB more: {processes(shared_lab)}"


@pytest.fixture
def leaks(shared_lab: Lab) -> Iterator[bytes]:
    """What must not be given: a file beside published/, and links in it that lead out."""
    secret = shared_lab.boot / "kernels" / "secret"
    secret.write_bytes(b"root: the user's own\n")
    published = shared_lab.boot / "published"
    (published / "leak").symlink_to("/etc/passwd")
    (published / "leak-folder").symlink_to("/srv/boot/kernels")
    (published / "leak-relative").symlink_to("../kernels/secret")
    (published / "kernels" / ".new-x").mkdir()
    (published / "kernels" / ".new-x" / "kernel").write_bytes(b"root: half a kernel\n")
    yield secret.read_bytes()
    for link in ("leak", "leak-folder", "leak-relative"):
        (published / link).unlink()
    (published / "kernels" / ".new-x" / "kernel").unlink()
    (published / "kernels" / ".new-x").rmdir()
    secret.unlink()


def test_http_gives_nothing_but_what_is_published(
    shared_lab: Lab, client: Container, leaks: bytes, unmoved: None
) -> None:
    answers = [line.split() for line in run(client, "http_tricks", SERVER, PORT)]
    assert len(answers) > 200
    given = [line for line in answers if line[0] == "200"]
    # The front page is the one thing that some of these may get.
    front = (shared_lab.boot / "published" / "help.txt").read_bytes()
    assert [line for line in given if line[2] != hashlib.sha256(front).hexdigest()] == []
    refusals = {"301", "400", "403", "404", "405", "413", "414", "0"}
    assert {line[0] for line in answers} <= {"200", *refusals}


def test_tftp_gives_nothing_but_what_is_published_and_takes_nothing(
    shared_lab: Lab, client: Container, leaks: bytes, unmoved: None
) -> None:
    before = sorted(path.name for path in (shared_lab.boot / "published").iterdir())
    answers = [line.split() for line in run(client, "tftp", SERVER, "tricks")]
    assert [line for line in answers if line[0] not in ("5", "0")] == []
    assert sorted(path.name for path in (shared_lab.boot / "published").iterdir()) == before
    assert all(event.text.isprintable() for event in shared_lab.events)


@pytest.mark.parametrize("kind", ["silent", "deaf"])
def test_a_thousand_slow_connections_keep_nobody_from_being_served(  # noqa: PLR0913, PLR0917
    empty_lab: Lab,
    drop: Callable[..., None],
    test_kernel: Path,
    client: Container,
    unmoved: None,
    kind: str,
) -> None:
    drop(test_kernel, "bzImage")
    (kernel,) = (empty_lab.boot / "published" / "kernels" / "bzImage").glob("*/kernel")
    path = str(kernel.relative_to(empty_lab.boot / "published"))
    opened, *served = run(client, "http_slow", SERVER, PORT, path, "1000", kind)
    assert opened == "open 1000"
    if kind == "silent":
        assert served.pop() == "still open 0"
    digest = hashlib.sha256(test_kernel.read_bytes()).hexdigest()
    times = [float(line.split()[0]) for line in served]
    assert [line.split()[1] for line in served] == 10 * [digest]
    print(f"{kind}: served after at most {max(times):.2f} s")
    # Before nginx hung up on the first of the slow ones: nobody had to wait for that.
    assert max(times) < HANGS_UP_AFTER, times


@pytest.mark.long
def test_five_hundred_transfers_that_nobody_takes_end_and_good_ones_work(
    shared_lab: Lab, client: Container, unmoved: None
) -> None:
    loader = shared_lab.boot / "published" / "undionly.kpxe"
    digest = hashlib.sha256(loader.read_bytes()).hexdigest()
    half = Script(client, "tftp", SERVER, "half", "undionly.kpxe", "500")
    half.wait_line("answered 500", 60)
    assert run(client, "tftp", SERVER, "get", "undionly.kpxe") == [digest]
    (daemon, _), *transfers = processes(shared_lab)["in.tftpd"]
    assert len(transfers) > 400
    print(f"{sum(kb for _, kb in transfers)} kB")
    status, said = shared_lab.exec_appliance(["python3", "-c", _TRANSFERS_END, str(daemon)])
    assert status == 0, said
    half.finish()
    assert len(processes(shared_lab)["in.tftpd"]) == 1


@pytest.mark.long
def test_random_packets_to_in_tftpd_end_nothing(
    shared_lab: Lab, client: Container, unmoved: None
) -> None:
    loader = shared_lab.boot / "published" / "undionly.kpxe"
    digest = hashlib.sha256(loader.read_bytes()).hexdigest()
    since = time.time()
    run(client, "tftp", SERVER, "storm", "5000", timeout=240)
    print(f"{sum(event.time >= since for event in shared_lab.events)} events")
    assert run(client, "tftp", SERVER, "get", "undionly.kpxe") == [digest]
    daemon = processes(shared_lab)["in.tftpd"][0][0]
    status, said = shared_lab.exec_appliance(["python3", "-c", _TRANSFERS_END, str(daemon)])
    assert status == 0, said
