"""Publishes what was built: immutable copies of ramdisks and modules, and their retirement.

A copy is a folder that appears by one rename and goes as a whole: `roots/NAME/VERSION` for a root's
ramdisks, `roots/NAME/VERSION-LAYER` for its ext2 ramdisk with a layer of kernel modules in it,
`modules/LAYER` for the layer itself. VERSION is the ID of the root's tree and 8 digits of its
root.json's digest, as the same tree may be packed another way.
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import replace
from pathlib import Path, PurePosixPath
from typing import TypeVar

from pydantic import BaseModel

from appliance.catalog import initrd
from appliance.catalog.decompress import Compression, recognise
from appliance.catalog.model import (
    Initrd,
    ModulesLayer,
    PublishedRoot,
    Ramdisk,
    RamdiskFormat,
    RootCatalog,
)
from appliance.catalog.root import (
    LONGEST_MANIFEST,
    MANIFEST,
    BrokenBuild,
    BrokenRoot,
    BuiltLayer,
    BuiltRoot,
    LayerManifest,
    RootManifest,
    RootsScan,
    built_at,
    read_json,
)
from appliance.catalog.roots import LAYER, LAYER_MANIFEST, MODULES, variant_file
from appliance.copies import BLOCKED, REFUSALS, RETIRE_AFTER, require_room, share_file
from appliance.files import make_folder, open_file, read_file, replace_file
from appliance.store import safe_name

_LOG = logging.getLogger(__name__)

_MAKING = ".new-"  # folders of this prefix are half made, or half deleted
_ROOTS, _LAYERS = "roots", "modules"
_RETIRED = PurePosixPath(_ROOTS, "retired.json")  # {folder: seconds since the epoch}
_VARIANT = "ramdisk.ext2.gz"

_Model = TypeVar("_Model", bound=BaseModel)


class RootStore:
    """The folders published/roots/ and published/modules/, written by nobody else.

    `roots` is the builder's folder. What is not current any more stays `retire_after` seconds;
    `clock` gives seconds since the epoch. Making one only reads; open() comes before the first
    publish. publish and retire are called one at a time.
    """

    def __init__(
        self,
        published: Path,
        roots: Path,
        retire_after: float = RETIRE_AFTER,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._published = published
        self._roots = roots
        self._retire_after = retire_after
        self._clock = clock
        self.blocked: OSError | None = None  # why the last publish could copy nothing to the volume
        self._retired = self._load_retired()  # since when, by folder
        self._versions = {_folder(each): each for each in self._load_roots()}
        self._current = {
            each.manifest.name: each
            for folder, each in sorted(self._versions.items(), key=lambda one: one[1].built_at)
            if folder not in self._retired
        }
        self._variants = {
            folder: ramdisk
            for root in self._current.values()
            for layer in root.variants
            if (ramdisk := self._variant(folder := _variant_folder(root, layer)))
        }
        self._layers = {
            each.id: each
            for each in self._load_layers()
            if _layer_folder(each) not in self._retired
        }

    # Publishing

    def open(self) -> None:
        """Make the folders, and remove what a crash left half made. Raises OSError."""
        for name in (_ROOTS, _LAYERS):
            make_folder(self._published / name)
            for left_over in (self._published / name).glob(f"{_MAKING}*"):
                try:
                    shutil.rmtree(left_over)
                except OSError as error:  # a read-only volume; what is there serves all the same
                    _LOG.warning("%s cannot be removed: %s", left_over, error.strerror)

    def published(self) -> RootCatalog:
        """Return what can be booted from, newest first."""
        roots = sorted(self._current.values(), key=lambda one: (-one.built_at, one.manifest.name))
        layers = sorted(self._layers.values(), key=lambda one: (-one.built_at, one.id))
        return RootCatalog(
            tuple(map(self._published_root, roots)), tuple(map(_published_layer, layers))
        )

    def in_use(self) -> dict[str, list[str]]:
        """Return the IDs of every root that some machine may still load from."""
        ids: dict[str, set[str]] = {}
        for version in self._versions.values():
            ids.setdefault(version.manifest.name, set()).add(version.manifest.id)
        return {name: sorted(ids[name]) for name in sorted(ids)}

    def publish(self, scan: RootsScan) -> tuple[RootCatalog, tuple[BrokenBuild, ...]]:
        """Copy what is new in a scan; return all that can be booted, and what cannot with reasons.

        A root whose new version cannot be published keeps the one that it has.
        """
        self._forget_what_is_gone()
        self.blocked = None
        broken = list(scan.broken)
        for layer in scan.layers:
            with self._told(broken, f"modules of {layer.manifest.version}"):
                self._add_layer(layer)
                self._layers[layer.id] = layer
        for root in scan.roots:
            name = root.manifest.name
            with self._told(broken, name):
                self._add_root(root)
                self._current[name] = self._versions[_folder(root)] = root
            for layer_id in root.variants:
                with self._told(broken, name):
                    self._add_variant(root, layer_id)
        self._drop_what_left(scan)
        self._note_retired()
        return self.published(), tuple(broken)

    @contextmanager
    def _told(self, broken: list[BrokenBuild], name: str) -> Iterator[None]:
        """Add what hinders the publishing of one thing to what is broken."""
        try:
            yield
        except BrokenRoot as error:
            broken.append(BrokenBuild(name, str(error)))
        except OSError as error:
            why = REFUSALS.get(error.errno or 0, f"{error.filename}: {error.strerror}")
            if error.errno in BLOCKED:
                self.blocked = error
            broken.append(BrokenBuild(name, f"cannot be published: {why}"))

    def _forget_what_is_gone(self) -> None:
        """Drop copies of which somebody deleted something, so that they are made again."""
        self._versions = {
            folder: root
            for folder, root in self._versions.items()
            if self._is_whole(folder, _sizes(root), MANIFEST)
        }
        self._current = {
            name: root for name, root in self._current.items() if _folder(root) in self._versions
        }
        self._variants = {
            folder: ramdisk
            for folder, ramdisk in self._variants.items()
            if self._is_whole(folder, {}, _VARIANT)
        }
        self._layers = {
            id_: layer
            for id_, layer in self._layers.items()
            if self._is_whole(_layer_folder(layer), {}, LAYER, LAYER_MANIFEST)
        }

    def _drop_what_left(self, scan: RootsScan) -> None:
        # A root that is there and broken keeps the version that it has.
        known = {root.manifest.name for root in scan.roots} | {each.name for each in scan.broken}
        self._current = {name: each for name, each in self._current.items() if name in known}
        layers = {layer.id for layer in scan.layers}
        self._layers = {id_: each for id_, each in self._layers.items() if id_ in layers}
        wanted = {
            _variant_folder(root, layer)
            for root in self._current.values()
            for layer in root.variants
        }
        self._variants = {each: known for each, known in self._variants.items() if each in wanted}

    def _add_root(self, root: BuiltRoot) -> None:
        manifest = root.manifest
        source = PurePosixPath(manifest.name, manifest.id)
        target = _folder(root)
        if target in self._versions:
            return
        with self._new_folder(target) as folder:
            for format_, ramdisk in manifest.formats.ramdisks.items():
                copy = folder / ramdisk.file
                digest = self._share(source / ramdisk.file, copy)
                if copy.stat().st_size != ramdisk.bytes or digest != ramdisk.sha256:
                    raise BrokenRoot(
                        f"{source / ramdisk.file} is not what {MANIFEST} says: build it again"
                    )
                found = _identified(copy, format_, ramdisk.compression)
                if (found.ramdisk_size or 0) > ramdisk.uncompressed_kib:
                    raise BrokenRoot(f"{source / ramdisk.file} is larger than {MANIFEST} says")
            _write(folder / MANIFEST, root.text, root.built_at)

    def _add_variant(self, root: BuiltRoot, layer: str) -> None:
        target = _variant_folder(root, layer)
        if target not in self._variants:
            with self._new_folder(target) as folder:
                self._share(variant_file(root.manifest, layer), folder / _VARIANT)
                _identified(folder / _VARIANT, RamdiskFormat.EXT2, Compression.GZIP)
            if ramdisk := self._variant(target):
                self._variants[target] = ramdisk

    def _add_layer(self, layer: BuiltLayer) -> None:
        target = _layer_folder(layer)
        if not self._is_whole(target, {}, LAYER, LAYER_MANIFEST):
            with self._new_folder(target) as folder:
                self._share(PurePosixPath(MODULES, layer.id, LAYER), folder / LAYER)
                _identified(folder / LAYER, RamdiskFormat.CPIO, Compression.GZIP)
                _write(folder / LAYER_MANIFEST, layer.text, layer.built_at)

    def _share(self, source: PurePosixPath, target: Path) -> str:
        """Copy or link a file of the builder; return its SHA-256 in hex."""
        with open_file(self._roots, source) as file:
            return share_file(file.fileno(), target).hex()

    def _is_whole(self, folder: PurePosixPath, sizes: Mapping[str, int], *names: str) -> bool:
        """Tell whether all files of a copy are there, as long as they were."""
        try:
            files = {name: (self._published / folder / name).lstat() for name in (*sizes, *names)}
        except (FileNotFoundError, NotADirectoryError):
            return False
        return all(
            stat.S_ISREG(file.st_mode) and file.st_size == sizes.get(name, file.st_size)
            for name, file in files.items()
        )

    @contextmanager
    def _new_folder(self, target: PurePosixPath) -> Iterator[Path]:
        """Give a folder that gets the target's name, in place of what is there, once it is full."""
        base = self._published / target.parts[0]
        make_folder(base)
        require_room(base, 0)
        folder = Path(tempfile.mkdtemp(prefix=_MAKING, dir=base))
        try:
            yield folder
            folder.chmod(0o755)
            make_folder((self._published / target).parent)
            if os.path.lexists(self._published / target):
                self._delete(target)
                make_folder((self._published / target).parent)
            folder.rename(self._published / target)
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # gone by now, unless it failed

    # What is there already

    def _load_roots(self) -> Iterator[BuiltRoot]:
        """Read what is published; a copy that is not whole counts as not there."""
        for folder in self._folders(f"{_ROOTS}/*/*"):
            if (found := self._read(folder / MANIFEST, RootManifest)) is None:
                continue
            root = BuiltRoot(*found)
            if folder == _folder(root) and self._is_whole(folder, _sizes(root)):
                prefix = f"{folder.name}-"
                beside = (self._published / folder.parent).glob(f"{prefix}*/{_VARIANT}")
                layers = sorted(each.parent.name.removeprefix(prefix) for each in beside)
                yield replace(root, variants=tuple(layers))

    def _load_layers(self) -> Iterator[BuiltLayer]:
        for folder in self._folders(f"{_LAYERS}/*"):
            found = self._read(folder / LAYER_MANIFEST, LayerManifest)
            if found is not None and self._is_whole(folder, {}, LAYER):
                yield BuiltLayer(folder.name, *found)

    def _read(self, path: PurePosixPath, model: type[_Model]) -> tuple[_Model, bytes, float] | None:
        """Return a manifest, its text and its time; None where it says nothing of use."""
        try:
            with open_file(self._published, path) as file:
                text = file.read(LONGEST_MANIFEST)
                return read_json(model, text), text, built_at(os.fstat(file.fileno()))
        except (OSError, BrokenRoot):
            return None

    def _variant(self, folder: PurePosixPath) -> Ramdisk | None:
        try:
            with open_file(self._published, folder / _VARIANT) as file:
                found = initrd.identify(file)
        except OSError:
            return None
        if not isinstance(found, Initrd) or found.ramdisk_size is None:
            return None
        return Ramdisk(folder / _VARIANT, Compression.GZIP, found.ramdisk_size)

    def _published_root(self, root: BuiltRoot) -> PublishedRoot:
        manifest, folder = root.manifest, _folder(root)
        return PublishedRoot(
            name=manifest.name,
            id=manifest.id,
            key=safe_name(manifest.name),
            title=manifest.title,
            arch=manifest.arch,
            is_default=manifest.default,
            cmdline=manifest.cmdline,
            init=manifest.init,
            share=manifest.share,
            formats=manifest.formats.names,
            size=manifest.formats.size,
            built_at=root.built_at,
            ramdisks={
                format_: Ramdisk(folder / each.file, each.compression, each.uncompressed_kib)
                for format_, each in manifest.formats.ramdisks.items()
            },
            variants={
                layer: ramdisk
                for layer in root.variants
                if (ramdisk := self._variants.get(_variant_folder(root, layer)))
            },
        )

    # Retirement

    def _load_retired(self) -> dict[PurePosixPath, float]:
        text = read_file(self._published, _RETIRED, LONGEST_MANIFEST) or b"{}"
        try:
            return {PurePosixPath(key): float(since) for key, since in json.loads(text).items()}
        except (ValueError, TypeError, AttributeError) as error:
            _LOG.warning("%s is passed over: %s", self._published / _RETIRED, error)
            return {}

    def _folders(self, pattern: str) -> Iterator[PurePosixPath]:
        for folder in self._published.glob(pattern):
            if not folder.name.startswith(".") and not folder.is_symlink() and folder.is_dir():
                yield PurePosixPath(folder.relative_to(self._published))

    def _note_retired(self) -> None:
        """Note since when copies are not current; a new start reads it."""
        current = {_folder(each) for each in self._current.values()}
        current |= {_layer_folder(each) for each in self._layers.values()} | self._variants.keys()
        there = {*self._folders(f"{_ROOTS}/*/*"), *self._folders(f"{_LAYERS}/*")}
        before, now = self._retired, self._clock()
        # A clock that was ahead and was put right must not keep them for ever.
        self._retired = {each: min(before.get(each, now), now) for each in there - current}
        if self._retired != before:
            text = json.dumps({str(each): since for each, since in self._retired.items()})
            try:
                replace_file(self._published, _RETIRED, text.encode())
            except OSError as error:  # on a full volume copies stay longer, no more
                _LOG.warning("%s cannot be written: %s", self._published / _RETIRED, error)

    def retire(self, now: float) -> tuple[PurePosixPath, ...]:
        """Delete what is not current since `retire_after` seconds before `now`; return the folders.

        They are relative to published/. Raises OSError where the volume does not let it.
        """
        over = sorted(
            each for each, since in self._retired.items() if now - since >= self._retire_after
        )
        for folder in over:
            with suppress(FileNotFoundError):  # somebody was faster
                self._delete(folder)
            self._versions.pop(folder, None)
            del self._retired[folder]
        return tuple(over)

    def _delete(self, folder: PurePosixPath) -> None:
        """Take a copy away at once, then its files, and its name's folder after the last."""
        base = self._published / folder.parts[0]
        going = base / f"{_MAKING}{secrets.token_hex(8)}"
        os.rename(self._published / folder, going)
        if going.is_symlink() or not going.is_dir():
            going.unlink()
        else:
            shutil.rmtree(going)
        parent = (self._published / folder).parent
        if parent != base and not any(parent.iterdir()):
            parent.rmdir()


def _folder(root: BuiltRoot) -> PurePosixPath:
    digest = hashlib.sha256(root.text).hexdigest()[:8]
    return PurePosixPath(_ROOTS, safe_name(root.manifest.name), f"{root.manifest.id}-{digest}")


def _sizes(root: BuiltRoot) -> dict[str, int]:
    """Return the bytes of each file of a root's copy."""
    return {each.file: each.bytes for each in root.manifest.formats.ramdisks.values()}


def _variant_folder(root: BuiltRoot, layer: str) -> PurePosixPath:
    folder = _folder(root)
    return folder.with_name(f"{folder.name}-{layer}")


def _layer_folder(layer: BuiltLayer) -> PurePosixPath:
    return PurePosixPath(_LAYERS, layer.id)


def _published_layer(layer: BuiltLayer) -> ModulesLayer:
    return ModulesLayer(
        id=layer.id,
        version=layer.manifest.version,
        source=layer.manifest.source,
        path=_layer_folder(layer) / LAYER,
        built_at=layer.built_at,
    )


def _identified(copy: Path, format_: RamdiskFormat, compression: Compression) -> Initrd:
    """Tell what a copy is by its first bytes; raises BrokenRoot where it is something else."""
    with open(copy, "rb") as file:
        packed = recognise(file.read(16))
        file.seek(0)
        found = initrd.identify(file)
    if not isinstance(found, Initrd) or found.format is not format_ or packed is not compression:
        raise BrokenRoot(f"{copy.name} is no {format_} packed by {compression}: build it again")
    return found


def _write(path: Path, text: bytes, mtime: float) -> None:
    path.write_bytes(text)
    path.chmod(0o644)
    nanoseconds = round(mtime * 1000) * 1_000_000
    os.utime(path, ns=(nanoseconds, nanoseconds))
