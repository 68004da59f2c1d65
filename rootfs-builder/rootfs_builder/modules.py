"""Gives a root the modules of a kernel: a layer over a cpio, a variant of an ext2, nothing else.

The modules come from an archive that lies beside the kernel; neither a root nor its ID changes.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
import stat
import tarfile
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, replace
from pathlib import Path, PurePosixPath

from rootfs_builder import archive, pipes
from rootfs_builder.entries import Entry, TreeError, merged, resolve, settle_times, walk
from rootfs_builder.manifest import FormatManifest
from rootfs_builder.ramdisk import Progress, RamdiskError, RamdiskOptions, describe, make_ext2

LAYERS = ".modules"  # in roots/
LAYER = "modules.cpio.gz"
TREE = "tree"  # the same modules as files, for whoever lays them over a tree
_MANIFEST = "manifest.json"
_PLACE = "lib/modules"
_NAMES = re.compile(r"(?:modules-.+|.+\.modules)\.tar(?P<packed>\.gz|\.xz|\.zst|)")
_UNPACKERS = {"": ["cat"], ".gz": ["pigz", "-dc"], ".xz": ["xz", "-dc"], ".zst": ["zstd", "-dcq"]}
_VERSION = re.compile(r"[0-9][0-9A-Za-z._+~-]*")
_LARGEST = 4 << 30  # bytes unpacked: a distribution's have half of one
_MOST_FILES = 100_000


@dataclass(frozen=True)
class Layer:
    """A kernel's modules, ready for any root: what roots/.modules/KERNELID/manifest.json says.

    `version` is the kernel's own (uname -r), `sha256` the archive's, `bytes` the layer's length.
    """

    version: str
    source: str
    sha256: str
    bytes: int

    @property
    def id(self) -> str:
        """The name of its folder."""
        return self.sha256[:16]


def is_modules_archive(name: str) -> bool:
    """Tell from its name whether a file in kernels/ holds modules for a layer."""
    return _NAMES.fullmatch(name) is not None


def make_layer(source: Path, roots: Path) -> Layer:
    """Have roots/.modules/KERNELID for a modules archive; return it.

    One that is there already is not made again. Raises RamdiskError.
    """
    with _one_line(source):
        with source.open("rb") as stream:
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
        folder = roots / LAYERS / digest[:16]
        if folder.is_dir():
            return read_layer(folder)
        folder.parent.mkdir(exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".new.", dir=folder.parent) as name:
            ready = Path(name, "layer")
            ready.mkdir(mode=0o755)
            ready.chmod(0o755)
            version = _unpack(source, ready / TREE)
            _pack(ready / TREE, ready / LAYER)
            layer = Layer(version, source.name, digest, (ready / LAYER).stat().st_size)
            (ready / _MANIFEST).write_text(json.dumps(asdict(layer), indent=2) + "\n")
            ready.rename(folder)
        return layer


def read_layer(folder: Path) -> Layer:
    """Read a layer's manifest. Raises OSError, ValueError, KeyError."""
    told = json.loads((folder / _MANIFEST).read_text())
    return Layer(told["version"], told["source"], told["sha256"], told["bytes"])


def make_variant(
    root: Path, layer: Layer, options: RamdiskOptions, progress: Progress
) -> FormatManifest:
    """Write an ext2 ramdisk of roots/NAME/ID with a layer's modules in it; return what it is.

    It appears by rename, as roots/NAME/ID.modules/KERNELID.ext2.gz. Raises RamdiskError.
    """
    tree, layers = root / "tree", root.parent.parent / LAYERS
    file = root.with_name(f"{root.name}.modules") / f"{layer.id}.ext2.gz"
    with _one_line(file), tempfile.TemporaryDirectory(prefix=".new.", dir=layers) as name:
        made = Path(name, file.name)
        modules = walk(layers / layer.id / TREE)
        size = make_ext2(merged(walk(tree), moved(modules, tree)), made, options, progress)
        described = describe(made, size.kib, "gzip")
        file.parent.mkdir(exist_ok=True)
        made.rename(file)
        return described


def moved(modules: Sequence[Entry], tree: Path) -> Iterator[Entry]:
    """Yield a layer's entries where lib/modules lies in a tree: `lib` may be a link to usr/lib."""
    place = resolve(tree, _PLACE).relative_to(tree)
    for parent in list(place.parents)[:-1]:
        yield Entry(bytes(parent), stat.S_IFDIR | 0o755, mtime=modules[0].mtime)
    for entry in _below(modules):
        yield replace(entry, path=bytes(place) + entry.path.removeprefix(_PLACE.encode()))


def _below(modules: Sequence[Entry]) -> list[Entry]:
    """Return lib/modules and what is in it, without lib.

    The kernel that unpacks a folder `lib` over a link of that name removes the link, and with it
    the root's libraries (clean_path in init/initramfs.c).
    """
    return [entry for entry in modules if entry.path.startswith(_PLACE.encode())]


def _pack(modules: Path, file: Path) -> None:
    entries = _below(walk(modules))
    pipes.pack(
        ["pigz", "--no-name", "-9"], lambda stream: archive.write_cpio(entries, stream), file
    )
    file.chmod(0o644)


def _unpack(source: Path, tree: Path) -> str:
    """Unpack what lies in lib/modules of an archive, and run depmod; return the version.

    The archive is a stranger's: files alone are taken from it, by names that stay in the tree.
    """
    name = _NAMES.fullmatch(source.name)
    unpacker = _UNPACKERS[name["packed"] if name else ""]
    versions, newest, size, files = set[str](), 0, 0, 0
    with (
        pipes.reading(unpacker, source) as stream,
        tarfile.open(fileobj=stream, mode="r|") as members,
    ):
        for member in members:
            size, files = size + member.size, files + 1
            if size > _LARGEST or files > _MOST_FILES:
                raise RamdiskError(f"{source}: holds more than a kernel's modules can be")
            path = module_path(member.name)
            content = members.extractfile(member) if path and member.isreg() else None
            if path is None or content is None:
                continue
            versions.add(path.parts[0])
            newest = max(newest, min(int(member.mtime), 2**31))
            file = tree / _PLACE / path
            file.parent.mkdir(parents=True, exist_ok=True)
            with file.open("wb") as written:
                shutil.copyfileobj(content, written)
            file.chmod(0o644)
    if len(versions) != 1:
        found = " and ".join(sorted(versions)) or "none"
        raise RamdiskError(
            f"{source}: has lib/modules/VERSION of {found}; it must hold those of one kernel:"
            " pack what `make modules_install INSTALL_MOD_PATH=…` writes"
        )
    version = versions.pop()
    pipes.run(["depmod", "--basedir", tree, version])
    for folder in (tree, *(each for each in tree.rglob("*") if each.is_dir())):
        folder.chmod(0o755)
    settle_times(tree, newest)
    return version


def module_path(name: str) -> PurePosixPath | None:
    """Return VERSION/… of a member below lib/modules; None for others."""
    parts = PurePosixPath("/", name).parts[1:]
    for place in range(len(parts) - 3):
        if parts[place : place + 2] == ("lib", "modules"):
            rest = parts[place + 2 :]
            return (
                PurePosixPath(*rest) if _VERSION.fullmatch(rest[0]) and ".." not in rest else None
            )
    return None


@contextmanager
def _one_line(file: Path) -> Iterator[None]:
    """Turn what can go wrong with a file into RamdiskError."""
    try:
        yield
    except (TreeError, pipes.ToolFailed, tarfile.TarError, ValueError, KeyError) as error:
        raise RamdiskError(f"{file}: {error}") from None
    except OSError as error:
        raise RamdiskError(f"{error.filename or file}: {error.strerror}") from None
