"""The virtual server: its disk once for all tests, itself once for each file of tests."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.lab.lab import Lab
from tests.lab.project import Project
from tests.nfsd.machines import Machines
from tests.nfsd.server import Server, compose, make_disk


@pytest.fixture(scope="session")
def disk(lab_images: None, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the server's kernel, initrd and disk."""
    folder = tmp_path_factory.mktemp("server")
    make_disk(folder, Project())
    return folder


@pytest.fixture(scope="module")
def network(disk: Path, test_kernel_dir: Path) -> Iterator[Lab]:
    """The lab's network without the appliance's own container."""
    with Lab(f"{os.getpid()}-nfsd") as lab:
        lab.up_network({}, compose(disk, test_kernel_dir))
        yield lab


@pytest.fixture(scope="module")
def booted(network: Lab) -> Iterator[Server]:
    """The server, with the host's rpcbind."""
    with Server(network) as server:
        server.do("rpcbind -w")
        yield server


@pytest.fixture
def server(booted: Server) -> Iterator[Server]:
    """The server with no container, neither now nor later."""
    yield booted
    booted.run("/host/container kill")
    booted.run("rpc.nfsd 0; exportfs -f; umount /proc/fs/nfsd")
    booted.run("rm -rf /var/lib/bootdrop/* /srv/boot/machines /srv/boot/layers /srv/boot/apply")


@pytest.fixture
def machines(network: Lab, test_kernel: Path) -> Iterator[Machines]:
    """Machines whose root is on the server; off at the end."""
    with Machines(network, test_kernel.name) as machines:
        yield machines
