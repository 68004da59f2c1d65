"""What is killed comes back, machines boot all the same, and nothing half made is left."""

from __future__ import annotations

import hashlib
import random
import shutil
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemons.client import BASE_URL, a_client, processes, run
from tests.lab.feed import Event
from tests.lab.lab import Lab
from tests.lab.project import SERVER

pytestmark = pytest.mark.lab

DAEMONS = {  # by its program's name: a word of its command line
    "nginx": "nginx",
    "tftpd": "in.tftpd",
    "neopxe": "appliance.neopxe",
    "radvd": "radvd",
    "rarpd": "rarpd",
    "dhcpd": "dhcpd",
}
SETTINGS = {
    "BOOTDROP_RARP_HOSTS": "52:54:00:12:34:56=192.168.10.5",
    "BOOTDROP_PROMPT_TIMEOUT": "1",  # UEFI asks port 4011 where there is a prompt
}
# By daemon: what a machine has just asked for when it is killed.
MOMENTS: dict[str, Callable[[Event], bool]] = {
    "nginx": lambda event: event.daemon == "nginx" and "boot.ipxe" in event.text,
    "tftpd": lambda event: event.daemon == "dhcpd" and event.text.startswith("DHCPREQUEST"),
    "neopxe": lambda event: event.daemon == "dhcpd" and event.text.startswith("DHCPREQUEST"),
    "radvd": lambda event: event.daemon == "dhcpd" and event.text.startswith("DHCPDISCOVER"),
    "dhcpd": lambda event: event.daemon == "dhcpd" and event.text.startswith("DHCPDISCOVER"),
}


def kill(lab: Lab, daemon: str) -> float:
    """Kill a daemon's first process; return when."""
    pid = processes(lab)[DAEMONS[daemon]][0][0]
    killed = time.time()
    status, said = lab.exec_appliance(["sh", "-c", f"kill -KILL {pid}"])
    assert status == 0, said
    return killed


def wait_serving(lab: Lab, daemon: str, since: float) -> float:
    """Wait until a daemon that was killed serves; return the seconds from then on."""
    serving = lab.feed.wait_event(
        lambda event: (event.daemon, event.text) == (daemon, "serving"), 10, since
    )
    return serving.time - since


@pytest.mark.parametrize("daemon", DAEMONS)
def test_a_daemon_that_is_killed_is_back_and_serves(shared_lab: Lab, daemon: str) -> None:
    shared_lab.wait_ready()
    took = wait_serving(shared_lab, daemon, kill(shared_lab, daemon))
    print(f"{daemon}: serves after {took:.2f} s")
    assert shared_lab.wait_ready(10).reasons == ()


@pytest.mark.long
@pytest.mark.parametrize("daemon", MOMENTS)
def test_a_machine_boots_though_a_daemon_is_killed_meanwhile(
    empty_lab: Lab, drop: Callable[..., None], test_kernel: Path, daemon: str
) -> None:
    drop(test_kernel, "bzImage")
    empty_lab.wait_ready()
    # UEFI's own PXE goes through all of them, 4011 and TFTP included.
    with empty_lab.machine("uefi") as machine:
        empty_lab.feed.wait_event(MOMENTS[daemon], 60, machine.powered_on)
        took = wait_serving(empty_lab, daemon, kill(empty_lab, daemon))
        seen = machine.expect(r"BOOTDROP: rescue shell", 120)
        print(f"{daemon}: serves after {took:.2f} s, shell {seen.seconds:.1f} s after power-on")


@pytest.mark.long
def test_twenty_kills_of_the_container_leave_one_menu_and_nothing_half_made(
    empty_lab: Lab, test_kernel: Path
) -> None:
    chance = random.Random(2)
    whole = test_kernel.read_bytes()
    good: dict[str, str] = {}
    written = {hashlib.sha256(whole).hexdigest()}
    pace = threading.Event()
    kernels = empty_lab.boot / "kernels"
    published = empty_lab.boot / "published"
    for life in range(20):
        for number in range(15):
            data = whole + b"%016d" % (life * 100 + number)
            name = f"bzImage-{chance.randrange(40)}"
            (kernels / name).write_bytes(data)
            good[name] = hashlib.sha256(data).hexdigest()
            written.add(good[name])
            pace.wait(chance.uniform(0, 0.1))
        pace.wait(chance.uniform(0, 1.5))
        empty_lab.kill_appliance()
    empty_lab.wait_ready(30, since=time.time())
    empty_lab.wait_status(
        lambda status: set(status.kernels) == set(good) and not status.pending, 30
    )
    menu = (published / "boot.ipxe").read_text()
    with a_client(empty_lab) as client:
        digests = [line.split()[0] for line in run(client, "fetch", BASE_URL)]
    assert sorted(digests) == sorted(good.values())
    assert [path for path in published.rglob(".*") if path.name.startswith(".new")] == []
    assert [str(path) for path in published.rglob("*.new")] == []
    # Versions that were replaced stay a while: they are whole, too.
    copies = list(published.glob("kernels/*/*/kernel"))
    assert len(copies) >= len(good)
    assert {hashlib.sha256(copy.read_bytes()).hexdigest() for copy in copies} <= written
    empty_lab.kill_appliance()
    empty_lab.wait_ready(30, since=time.time())
    assert (published / "boot.ipxe").read_text() == menu


@pytest.mark.parametrize("what", ["its contents", "the folder itself"])
def test_published_files_that_somebody_deletes_come_back_by_themselves(
    empty_lab: Lab, drop: Callable[..., None], test_kernel: Path, what: str
) -> None:
    drop(test_kernel, "bzImage")
    empty_lab.wait_ready()
    published = empty_lab.boot / "published"
    before = {
        path.relative_to(published): path.read_bytes()
        for path in published.rglob("*")
        if path.is_file() and path.suffix != ".json" and path.name != "config"
    }
    since = time.time()
    # Moved away first, as a look that was due anyway would make it again under our hands.
    aside = empty_lab.boot / "aside"
    aside.mkdir()
    for path in [published] if what == "the folder itself" else list(published.iterdir()):
        path.rename(aside / path.name)
    shutil.rmtree(aside)
    empty_lab.feed.wait_event(lambda event: "menu of " in event.text, 10, since)
    # A look may have come between two of them; one that begins now sees that all are gone.
    drop(test_kernel, "another")
    empty_lab.remove("another")
    empty_lab.wait_status(lambda status: status.kernels == ("bzImage",), 10)
    empty_lab.wait_ready(10, since=time.time() - 0.1)
    assert {path: (published / path).read_bytes() for path in before} == before
    loader = hashlib.sha256((published / "undionly.kpxe").read_bytes()).hexdigest()
    with a_client(empty_lab) as client:
        assert run(client, "tftp", SERVER, "get", "undionly.kpxe") == [loader]
        (line,) = run(client, "fetch", BASE_URL)
    assert line.split()[0] == hashlib.sha256(test_kernel.read_bytes()).hexdigest()
