"""The sandbox's system call filter: what no installation needs, and what leads out of namespaces.

Capabilities and mounts hold already; but a user namespace of its own would give a scriptlet all
capabilities in there, and with them the parts of the kernel where most escapes were found.
`python3 -m rootfs_builder.seccomp FILE` writes the filter that setpriv loads.
"""

from __future__ import annotations

import errno
import platform
import struct
import sys
from pathlib import Path

# linux/bpf_common.h, linux/seccomp.h, linux/audit.h, linux/sched.h
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_ALLOW, _ERRNO = 0x7FFF0000, 0x00050000
_NR, _ARCH, _FIRST_ARGUMENT = 0, 4, 16  # offsets in struct seccomp_data
_X32 = 0x40000000
# CLONE_NEWNS; CLONE_NEWCGROUP, UTS, IPC, USER, PID, NET
_NAMESPACES = 0x00020000 | 0x7E000000

_AUDIT = {"x86_64": 0xC000003E, "aarch64": 0xC00000B7}
_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE3 = 435
# asm/unistd.h
_REFUSED = {
    "x86_64": {
        "ptrace": 101,
        "pivot_root": 155,
        "mount": 165,
        "umount2": 166,
        "add_key": 248,
        "request_key": 249,
        "keyctl": 250,
        "unshare": 272,
        "perf_event_open": 298,
        "open_by_handle_at": 304,
        "setns": 308,
        "bpf": 321,
        "userfaultfd": 323,
    },
    "aarch64": {
        "umount2": 39,
        "mount": 40,
        "pivot_root": 41,
        "unshare": 97,
        "ptrace": 117,
        "add_key": 217,
        "request_key": 218,
        "keyctl": 219,
        "perf_event_open": 241,
        "open_by_handle_at": 265,
        "setns": 268,
        "bpf": 280,
        "userfaultfd": 282,
    },
}
_REFUSED_EVERYWHERE = {
    "io_uring_setup": 425,
    "open_tree": 428,
    "move_mount": 429,
    "fsopen": 430,
    "fsconfig": 431,
    "fsmount": 432,
    "fspick": 433,
    "mount_setattr": 442,
}


def program(machine: str) -> bytes:
    """Return the filter as an array of struct sock_filter, for `machine` as uname names it."""
    refuse = _ERRNO | errno.EPERM
    # clone3's flags are in memory, where no filter sees them: libraries then use clone.
    code = [
        _instruction(_LOAD, _ARCH),
        _instruction(_EQUAL, _AUDIT[machine], 1, 0),
        _instruction(_RETURN, refuse),
        _instruction(_LOAD, _NR),
        _instruction(_ANY_BIT, _X32, 0, 1),
        _instruction(_RETURN, refuse),
        _instruction(_EQUAL, _CLONE3, 0, 1),
        _instruction(_RETURN, _ERRNO | errno.ENOSYS),
    ]
    for number in (_REFUSED[machine] | _REFUSED_EVERYWHERE).values():
        code += [_instruction(_EQUAL, number, 0, 1), _instruction(_RETURN, refuse)]
    code += [
        _instruction(_EQUAL, _CLONE[machine], 0, 3),
        _instruction(_LOAD, _FIRST_ARGUMENT),
        _instruction(_ANY_BIT, _NAMESPACES, 0, 1),
        _instruction(_RETURN, refuse),
        _instruction(_RETURN, _ALLOW),
    ]
    return b"".join(code)


def _instruction(code: int, value: int, if_true: int = 0, if_false: int = 0) -> bytes:
    return struct.pack("<HBBI", code, if_true, if_false, value)


if __name__ == "__main__":
    Path(sys.argv[1]).write_bytes(program(platform.machine()))
