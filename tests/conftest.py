"""Fixtures of all tests: the images, the test kernels, and a lab for each test that asks."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from pathlib import Path

import docker
import docker.errors
import hypothesis
import pytest

from tests.lab.lab import Lab
from tests.lab.project import Project, end_on_sigterm


def pytest_configure() -> None:
    """A test run that is ended takes its containers with it, and no example is timed."""
    end_on_sigterm()
    # An example that takes 0.2 s is no fault: machines run beside it.
    slow = hypothesis.HealthCheck.too_slow
    hypothesis.settings.register_profile("bootdrop", deadline=None, suppress_health_check=[slow])
    hypothesis.settings.load_profile("bootdrop")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Leave out what takes minutes, unless -m names `long`, or `nfsd`.

    A `-m 'not long'` in addopts would be lost wherever a command line has a -m of its own.
    """
    named = config.getoption("markexpr")
    unnamed = [mark for mark in ("long", "nfsd") if mark not in named]
    left_out = [item for item in items if any(map(item.get_closest_marker, unnamed))]
    items[:] = [item for item in items if item not in left_out]
    config.hook.pytest_deselected(items=left_out)


@pytest.fixture(scope="session")
def test_kernel_dir() -> Path:
    """The folder with bzImage-V-labtest, bzImage-V-noroot, config-V-labtest, modules-…."""
    folder = Path(os.environ.get("TEST_KERNEL_DIR") or ".lab/testkernel").resolve()
    if not list(folder.glob("bzImage-*-labtest")):
        pytest.fail(
            f"{folder}: no bzImage-*-labtest; run `make test-kernel` or set TEST_KERNEL_DIR"
        )
    return folder


@pytest.fixture(scope="session")
def test_kernel(test_kernel_dir: Path) -> Path:
    """The test kernel with everything built in."""
    return max(test_kernel_dir.glob("bzImage-*-labtest"))


@pytest.fixture(scope="session")
def lab_images() -> None:
    """The images that a lab starts from; built by make, not by tests."""
    engine = docker.from_env()
    for image in map(Project().image, ("appliance", "lab")):
        try:
            engine.images.get(image)
        except docker.errors.ImageNotFound:
            pytest.fail(f"{image}: no such image; run `make build`")


@pytest.fixture
def lab(request: pytest.FixtureRequest, lab_images: None) -> Iterator[Lab]:
    """A lab of the test's own, still down: the test brings it up with its settings.

    Two runs of the tests side by side do not meet, as the name has the process's number.
    """
    words = re.sub(r"[^a-z0-9]+", "-", request.node.name.lower()).strip("-")
    with Lab(f"{os.getpid()}-{words[:40].strip('-')}") as lab:
        yield lab
