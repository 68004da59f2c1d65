"""What package managers print, and what a user reads; the outputs are recorded ones."""

from __future__ import annotations

import time

import pytest

from rootfs_builder.managers import manager_for
from rootfs_builder.managers.base import Manager, Progress
from rootfs_builder.recipe import Recipe

REPOSITORIES = [
    {"url": "http://repository/good/", "gpgkey": "good.asc", "priority": 10},
    {"url": "http://repository/own/", "unsigned": True},
]


def manager(source: str, **more: object) -> Manager:
    fields = {"from": source, "release": "43", "repositories": REPOSITORIES, "packages": "bash"}
    return manager_for(Recipe.model_validate(fields | more))


DNF = manager("dnf")
ZYPPER = manager("zypper")


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            "Errors during downloading metadata for repository 'repository-1':\n"
            "  - Curl error (7): Could not connect to server for"
            " http://a/repodata/repomd.xml [Failed to connect]\nError: Failed to download",
            "http://a/repodata/repomd.xml: Could not connect to server; check the address, its"
            " server, and the way from here to it",
        ),
        (
            "  - Status code: 404 for http://a/repodata/repomd.xml (IP: 172.19.0.2)",
            "http://a/repodata/repomd.xml: the server answers 404; check the address in"
            " `repositories:`",
        ),
        (
            "No match for argument: nosuch\nError: Unable to find a match: nosuch",
            "no repository has nosuch; check the spelling in `packages:`",
        ),
        (
            "  - nothing provides lib.so.7 needed by orphan-1-1.noarch from repository-2",
            "orphan-1-1.noarch needs lib.so.7, which no repository has",
        ),
        (
            "  - package foreign-1-1.aarch64 from repository-2 does not have a compatible"
            " architecture",
            "foreign-1-1.aarch64 is for another architecture",
        ),
        ("something\nnobody foresaw\n\n", "nobody foresaw"),
        ("", "it said nothing"),
    ],
)
def test_dnfs_complaints_become_one_line(output: str, said: str) -> None:
    assert DNF.explain(output) == said


@pytest.mark.parametrize(
    ("output", "said"),
    [
        (
            "- Download (curl) error for 'http://a/content':\n"
            "   Error code: Connection failed\n   Error message: Could not resolve host: a\n",
            "http://a/content: Could not resolve host: a; check the address, its server, and the"
            " way from here to it",
        ),
        (
            "No provider of 'nosuch' found.\n'nosuch' not found in package names. Trying",
            "no repository has nosuch; check the spelling in `packages:`",
        ),
        (
            "Problem: 1: nothing provides 'x >= 7' needed by the to be installed orphan-1-1.noarch",
            "orphan-1-1.noarch needs x >= 7, which no repository has",
        ),
        (
            "File /usr/x\n  from install of\n     left-1-1.noarch (repository-2)\n"
            "  conflicts with file from install of\n     right-1-1.noarch (repository-2)\n",
            "left-1-1.noarch and right-1-1.noarch both hold /usr/x; leave one of them out",
        ),
    ],
)
def test_zyppers_complaints_become_one_line(output: str, said: str) -> None:
    assert ZYPPER.explain(output) == said


@pytest.mark.parametrize("one", [DNF, ZYPPER])
def test_a_scriptlet_that_fails_is_a_failure_whatever_the_status(one: Manager) -> None:
    line = "warning: %post(failing-1-1.noarch) scriptlet failed, exit status 1"
    said = one.failure(f"Installing\n{line}\nComplete!")
    assert said == line
    assert one.explain(said).startswith("the %post scriptlet of failing-1-1.noarch failed")
    assert one.failure("Installing\nComplete!") is None


def test_progress_is_read_from_the_managers_lines() -> None:
    assert DNF.progress("(3/19): filesystem.rpm    713 kB/s | 7.8 kB     00:00") == Progress(3, 19)
    assert DNF.progress("  Installing       : bash-5.2.x86_64        11/19 ") == Progress(11, 19)
    assert DNF.progress("Running transaction") is None
    assert ZYPPER.progress("(16/19) Installing: bash-5.2.x86_64 [..done]") == Progress(16, 19)
    retrieving = "Retrieving: bash-5.2.x86_64 (repository-1) (1/4),   7.8 KiB"
    assert ZYPPER.progress(retrieving) == Progress(1, 4)


@pytest.mark.parametrize("one", [DNF, ZYPPER])
def test_a_number_without_end_is_no_progress(one: Manager) -> None:
    assert one.progress(f"({'9' * 5000}/{'9' * 5000}): x") is None


@pytest.mark.parametrize(
    ("one", "line"),
    [
        (DNF, "cannot install the best candidate for the job\n"),
        (ZYPPER, "Download (curl) error for 'x'\n"),
    ],
)
def test_what_a_scriptlet_prints_is_explained_in_no_time(one: Manager, line: str) -> None:
    begun = time.process_time()
    one.explain(line * 50_000)
    assert time.process_time() - begun < 10


def test_keys_are_checked_unless_a_repository_is_said_to_be_unsigned() -> None:
    signed, unsigned = DNF.configuration()["dnf.conf"].split("\n[repository-")[1:]
    assert "gpgcheck=1\ngpgkey=file:///config/keys/1.asc\n" in signed and "priority=10" in signed
    assert "gpgcheck=0\n" in unsigned
    files = ZYPPER.configuration()
    assert "gpgcheck=1\nrepo_gpgcheck=1\npkg_gpgcheck=1\n" in files["repos/1.repo"]
    assert "gpgcheck=0\nrepo_gpgcheck=0\npkg_gpgcheck=0\n" in files["repos/2.repo"]


@pytest.mark.parametrize("source", ["dnf", "zypper"])
def test_what_is_installed_was_downloaded_before(source: str) -> None:
    one = manager(source)
    assert any("only" in word for word in one.download()[-1])
    assert {"--cacheonly", "--no-refresh"} & set(one.install()[-1])


def test_a_file_that_rpm_misses_is_named_but_not_documentation() -> None:
    output = "S.5....T.  c /etc/passwd\nmissing   d /usr/share/doc/x\nmissing     /usr/bin/x\n"
    assert DNF.missing(output) == "/usr/bin/x"
    assert DNF.missing("missing     /proc\nmissing   c /etc/x\n") is None


def test_debootstrap_installs_from_the_file_that_it_packed() -> None:
    one = manager("debootstrap", repositories=[], packages="vim less", release="trixie")
    assert one.download()[-1][-2:] == ["trixie", "/tree/debs"]
    assert "--unpack-tarball=/cache/packages.tar" in one.install()[0]
    assert "--include=vim,less" in one.install()[0]


def test_debootstrap_takes_nothing_that_nobody_signed() -> None:
    one = manager("debootstrap", repositories=[], release="noble")
    assert "--force-check-gpg" in one.download()[-1]
    said = one.explain(
        "W: Cannot check Release signature; keyring file not available /usr/share/keyrings/x.gpg\n"
        "E: Keyring-based check was requested; aborting accordingly\n"
    )
    assert said.startswith("the key of this release is not in the image; name its file")
