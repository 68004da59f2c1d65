"""A roots/ folder as the builder leaves it; each argument says what a test is about."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

from appliance.catalog.decompress import Compression
from tests.unit.catalog.kernels import COMPRESS, make_cpio, make_ext2, packed_gzip

ID = "00112233445566aa"
LAYER = "1111222233334444"


def entry(file: str, data: bytes, kib: int, compression: str) -> dict[str, Any]:
    """What root.json says of a ramdisk."""
    return {
        "file": file,
        "bytes": len(data),
        "sha256": hashlib.sha256(data).hexdigest(),
        "uncompressed_kib": kib,
        "compression": compression,
    }


def add_root(
    roots: Path,
    name: str = "fedora",
    root_id: str = ID,
    content: bytes = b"hello",
    **changed: Any,  # noqa: ANN401
) -> dict[str, Any]:
    """Build a root with a ramdisk of each form and make it the current one; return root.json."""
    ext2 = packed_gzip(make_ext2(blocks=4096) + content)
    cpio = COMPRESS[Compression.ZSTD](make_cpio(content))
    described: dict[str, Any] = {
        "name": name,
        "id": root_id,
        "title": f"The root {name}",
        "from": "dnf",
        "release": "42",
        "arch": "x86_64",
        "default": False,
        "cmdline": "",
        "init": "/sbin/init",
        "recipe": {"from": "dnf"},
        "packages": [{"name": "bash", "version": "5.2", "arch": "x86_64", "licence": "GPL"}],
        "formats": {
            "ext2": entry("ramdisk.ext2.gz", ext2, 4096, "gzip"),
            "cpio": entry("ramdisk.cpio.zst", cpio, 8000, "zstd"),
            "nfs": {"file": "tree"},
        },
        "seconds": {"install": 1.5},
    } | changed
    folder = roots / name / root_id
    folder.mkdir(parents=True)
    (folder / "ramdisk.ext2.gz").write_bytes(ext2)
    (folder / "ramdisk.cpio.zst").write_bytes(cpio)
    (folder / "root.json").write_text(json.dumps(described))
    make_current(roots, name, root_id)
    return described


def make_current(roots: Path, name: str, target: str) -> None:
    """Switch `current` as the builder does."""
    aside = roots / name / ".current.new"
    aside.unlink(missing_ok=True)
    aside.symlink_to(target)
    os.rename(aside, roots / name / "current")


def add_status(roots: Path, name: str, **said: Any) -> None:  # noqa: ANN401
    """Say how a build goes."""
    (roots / name).mkdir(parents=True, exist_ok=True)
    aside = roots / name / ".status.json.new"
    aside.write_text(json.dumps(said))
    os.rename(aside, roots / name / "status.json")


def add_layer(roots: Path, version: str = "6.1.192", source: str = "modules-6.1.tar.xz") -> None:
    """Make a layer of modules."""
    folder = roots / ".modules" / LAYER
    folder.mkdir(parents=True)
    (folder / "modules.cpio.gz").write_bytes(packed_gzip(make_cpio(b"modules")))
    (folder / "manifest.json").write_text(json.dumps({"version": version, "source": source}))


def add_variant(roots: Path, name: str = "fedora", root_id: str = ID) -> None:
    """Make an ext2 ramdisk with the layer in it."""
    folder = roots / name / f"{root_id}.modules"
    folder.mkdir()
    (folder / f"{LAYER}.ext2.gz").write_bytes(packed_gzip(make_ext2(blocks=6000)))
