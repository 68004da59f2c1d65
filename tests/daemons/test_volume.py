"""A volume that is full or read-only: one line says what to do, and what was there still boots."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.daemons.client import BASE_URL, a_client, pids, run
from tests.lab.feed import Status
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

# A volume of 48 MB that both containers have; the test's kernels are there for `cp`.
COMPOSE = """
services:
  lab:
    volumes: ["boot:/srv/boot", "{kernels}:/testkernel:ro"]
  appliance:
    volumes: ["boot:/srv/boot"]
volumes:
  boot:
    driver_opts: {{type: tmpfs, device: tmpfs, o: size=48m}}
"""
FULL = "/srv/boot/published (boot/published on the host): no space is left on the volume: "
READ_ONLY = "/srv/boot/published (boot/published on the host): the volume is read-only: "


@pytest.fixture
def small(lab: Lab, test_kernel_dir: Path) -> Lab:
    lab.up(compose=COMPOSE.format(kernels=test_kernel_dir))
    lab.wait_ready()
    lab.network.exec_run(["mkdir", "/srv/boot/kernels"])
    return lab


def user(lab: Lab, script: str) -> None:
    """Do what a user does on the volume."""
    status, said = lab.network.exec_run(["sh", "-ec", f"cd /srv/boot/kernels; {script}"])
    assert status == 0, said.decode()


@contextmanager
def an_admin(lab: Lab) -> Iterator[Callable[[str], None]]:
    """Give what remounts the volume, `ro` or `rw`; the engine starts nothing on a read-only one."""
    container = lab.docker.containers.run(
        lab.project.image("lab"),
        ["sleep", "infinity"],
        volumes={f"{lab.project.name}_boot": {"bind": "/boot", "mode": "rw"}},
        network_mode="none",
        cap_add=["SYS_ADMIN"],
        init=True,
        detach=True,
    )

    def remount(how: str) -> None:
        status, said = container.exec_run(["mount", "-o", f"remount,{how}", "/boot"])
        assert status == 0, said.decode()

    try:
        yield remount
    finally:
        container.remove(force=True)


def is_full(status: Status) -> bool:
    return any(FULL in reason for reason in status.reasons)


def fetch(lab: Lab) -> list[str]:
    with a_client(lab) as client:
        return sorted(line.split()[0] for line in run(client, "fetch", BASE_URL))


def test_a_full_volume_is_said_and_what_fits_later_is_published_then(
    small: Lab, test_kernel: Path
) -> None:
    # Each is followed by zeros, up to 12 MB; its copy makes it 24.
    zeros = f"head -c {(12 << 20) - test_kernel.stat().st_size} /dev/zero"
    make = f"{{ cat /testkernel/{test_kernel.name}; {zeros}; echo $name; }} >$name"
    user(small, f"name=one; {make}")
    small.wait_status(lambda status: status.kernels == ("one",), 10)
    (digest,) = fetch(small)
    user(small, f"name=two; {make}")
    status = small.wait_status(is_full, 10)
    assert status.kernels == ("one",)
    assert len(status.reasons) == 1
    assert dict(status.refused)["two"] == (
        "cannot be published: no space is left on the volume: delete something"
    )
    assert fetch(small) == [digest]
    assert len([line for line in small.logs().splitlines() if FULL in line]) == 1
    _, said = small.exec_appliance(["bootdrop", "status"])
    assert f"  ! {FULL}delete something" in said.splitlines()
    user(small, "head -c 4M /dev/urandom > ../filler; rm two; cat /dev/zero > ../more || true")
    user(small, "rm ../filler ../more")
    user(small, f"cp /testkernel/{test_kernel.name} three")
    status = small.wait_status(lambda status: set(status.kernels) == {"one", "three"}, 15)
    small.wait_ready(10, since=status.time)
    assert hashlib.sha256(test_kernel.read_bytes()).hexdigest() in fetch(small)


def test_a_volume_without_a_byte_left_keeps_the_menu_and_recovers_by_itself(
    small: Lab, test_kernel: Path
) -> None:
    user(small, f"cp /testkernel/{test_kernel.name} one")
    small.wait_status(lambda status: status.kernels == ("one",), 10)
    before = fetch(small)
    user(small, f"cp /testkernel/{test_kernel.name} two; cat /dev/zero > ../filler || true")
    small.kill_appliance()
    killed = time.time()
    status = small.wait_status(lambda status: "one" in status.kernels, 20, since=killed)
    small.wait_status(lambda status: "nginx" in status.serving, 10, since=killed)
    assert set(fetch(small)) >= set(before)
    user(small, "rm ../filler")
    small.wait_status(lambda status: set(status.kernels) == {"one", "two"}, 15)
    small.wait_ready(10, since=status.time)


def test_a_volume_that_becomes_read_only_serves_on_and_recovers(
    small: Lab, test_kernel: Path
) -> None:
    user(small, f"cp /testkernel/{test_kernel.name} one")
    small.wait_status(lambda status: status.kernels == ("one",), 10)
    before = fetch(small)
    with an_admin(small) as remount:
        remount("ro")
        # Nothing can change on it, so only the next start looks at once.
        small.exec_appliance(["sh", "-c", f"kill -KILL {pids(small)['cli serve']}"])
        status = small.wait_status(
            lambda status: any(READ_ONLY in reason for reason in status.reasons), 20
        )
        assert len(status.reasons) == 1
        assert status.kernels == ("one",)
        assert fetch(small) == before
        assert len([line for line in small.logs().splitlines() if READ_ONLY in line]) == 1
        remount("rw")
        small.wait_ready(10, since=status.time)
