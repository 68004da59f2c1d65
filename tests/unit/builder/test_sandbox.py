from __future__ import annotations

import errno
import struct
from pathlib import Path

import pytest

from rootfs_builder import seccomp
from rootfs_builder.sandbox import CAPABILITIES, Bind, Sandbox

ALLOWED, REFUSED = 0x7FFF0000, 0x00050000 | errno.EPERM


def decide(machine: str, audit: int, number: int, argument: int = 0) -> int:
    """Run a filter as the kernel does, for one call."""
    data = {0: number, 4: audit, 16: argument}
    program = seccomp.program(machine)
    at, loaded = 0, 0
    while True:
        code, if_true, if_false, value = struct.unpack_from("<HBBI", program, at * 8)
        at += 1
        if code == 0x20:
            loaded = data[value]
        elif code == 0x06:
            return int(value)
        else:
            holds = loaded == value if code == 0x15 else bool(loaded & value)
            at += if_true if holds else if_false


@pytest.mark.parametrize(
    ("call", "argument", "decided"),
    [
        (0, 0, ALLOWED),  # read
        (165, 0, REFUSED),  # mount
        (272, 0, REFUSED),  # unshare
        (308, 0, REFUSED),  # setns
        (442, 0, REFUSED),  # mount_setattr
        (56, 0x01200011, ALLOWED),  # clone, as fork calls it
        (56, 0x003D0F00, ALLOWED),  # clone, as a thread is made
        (56, 0x10000011, REFUSED),  # clone with CLONE_NEWUSER
        (56, 0x00020011, REFUSED),  # clone with CLONE_NEWNS
        (435, 0, 0x00050000 | errno.ENOSYS),  # clone3
        (0x40000000, 0, REFUSED),  # x32's read
    ],
)
def test_the_filter_refuses_namespaces_and_mounts(call: int, argument: int, decided: int) -> None:
    assert decide("x86_64", 0xC000003E, call, argument) == decided


def test_the_filter_refuses_calls_of_another_architecture() -> None:
    assert decide("x86_64", 0x40000003, 3) == REFUSED
    assert decide("aarch64", 0xC00000B7, 63) == ALLOWED
    assert decide("aarch64", 0xC00000B7, 40) == REFUSED


def test_a_sandbox_has_no_network_unless_it_downloads() -> None:
    assert "--net" in Sandbox(Path("/t")).command(["true"])
    assert "--net" not in Sandbox(Path("/t"), network=True).command(["true"])


def test_the_command_comes_as_arguments_and_names_are_quoted() -> None:
    argv = Sandbox(Path("/roots/a b'c/tree"), (Bind(Path("/x $y"), "/files"),)).command(
        ["chroot", "/tree", "sh", "-c", "echo $0"]
    )
    script = argv[argv.index("-euc") + 1]
    assert argv[-5:] == ["chroot", "/tree", "sh", "-c", "echo $0"]
    assert """mount --bind '/roots/a b'"'"'c/tree' tree""" in script
    assert "mount --bind '/x $y' files" in script
    assert "mount -o remount,bind,ro,nosuid,nodev files" in script


def test_what_installs_can_neither_mount_nor_make_devices() -> None:
    assert not {"sys_admin", "mknod", "net_admin", "sys_ptrace", "sys_module"} & set(CAPABILITIES)
