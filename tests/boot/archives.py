"""Small initrds that tests make themselves."""

from __future__ import annotations

import gzip
from collections.abc import Mapping

_NEWC = "070701" + "{:08x}" * 13  # Documentation/driver-api/early-userspace/buffer-format.rst
_EXECUTABLE_FILE = 0o100755


def cpio(files: Mapping[str, str | bytes]) -> bytes:
    """Return a newc archive of executable files."""
    parts = []
    for inode, (name, content) in enumerate([*files.items(), ("TRAILER!!!", "")], 1):
        encoded = name.encode() + b"\0"
        data = content if isinstance(content, bytes) else content.encode()
        fields = (inode, _EXECUTABLE_FILE, 0, 0, 1, 0, len(data), 0, 0, 0, 0, len(encoded), 0)
        head = _NEWC.format(*fields).encode() + encoded
        parts += [_aligned(head), _aligned(data)]
    return b"".join(parts)


def initrd_that_says(words: str, busybox_initrd: bytes) -> bytes:
    """Return an initrd like a distribution's: gzip, over what `busybox_initrd` has."""
    script = f"#!/bin/sh\n/bin/mount -t devtmpfs dev /dev\necho '{words}'\nexec /bin/sh\n"
    return busybox_initrd + gzip.compress(cpio({"init": script}))


def _aligned(data: bytes) -> bytes:
    return data + bytes(-len(data) % 4)
