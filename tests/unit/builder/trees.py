"""Trees that tests make, and archives as they come out."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Mapping
from pathlib import Path

from rootfs_builder import archive
from rootfs_builder.entries import Entry


def tree_of(root: Path, files: Mapping[str, str | bytes]) -> Path:
    """Make a tree: contents by name; a name that ends with / is a folder, `-> x` a link."""
    root.mkdir()
    for name, content in files.items():
        path = root / name
        if name.endswith("/"):
            path.mkdir(parents=True, exist_ok=True)
            continue
        path.parent.mkdir(parents=True, exist_ok=True)
        if isinstance(content, str) and content.startswith("-> "):
            path.symlink_to(content.removeprefix("-> "))
        else:
            path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return root


def nest(folder: Path, depth: int) -> None:
    """Make folders in each other, whose path may be longer than the system takes."""
    inside = os.open(folder, os.O_RDONLY)
    for _ in range(depth):
        os.mkdir("d", dir_fd=inside)
        below = os.open("d", os.O_RDONLY, dir_fd=inside)
        os.close(inside)
        inside = below
    os.close(inside)


def cpio_of(entries: list[Entry]) -> bytes:
    stream = io.BytesIO()
    archive.write_cpio(entries, stream)
    return stream.getvalue()


def tar_of(entries: list[Entry]) -> tarfile.TarFile:
    stream = io.BytesIO()
    archive.write_tar(entries, stream)
    stream.seek(0)
    return tarfile.open(fileobj=stream)


def read_cpio(data: bytes) -> dict[str, tuple[int, int, bytes]]:
    """Read a newc archive as the kernel does: mode, inode and contents by name."""
    found, position = {}, 0
    while True:
        assert data[position : position + 6] == b"070701"
        fields = [int(data[position + 6 + 8 * n : position + 14 + 8 * n], 16) for n in range(13)]
        start = position + 110
        name = data[start : start + fields[11] - 1].decode()
        start += fields[11]
        start += -start % 4
        if name == "TRAILER!!!":
            return found
        found[name] = (fields[1], fields[0], data[start : start + fields[6]])
        position = start + fields[6]
        position += -position % 4
