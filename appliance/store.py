"""Publishes what was dropped: immutable copies under published/, and their retirement."""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import math
import os
import re
import secrets
import shutil
import stat
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

from appliance.catalog import initrd, initrd_contents, kernel
from appliance.catalog.decompress import Corrupt
from appliance.catalog.lease import Writers, read_lease
from appliance.catalog.manifest import COPIED, BrokenManifest, Manifest, Source, from_json, to_json
from appliance.catalog.model import (
    Catalog,
    Initrd,
    KernelImage,
    KernelSet,
    PublishedKernel,
    RamdiskFormat,
    Refused,
    Scan,
)
from appliance.catalog.openat import Fingerprint, NotReadable, open_inside, resolve
from appliance.catalog.pairing import Role
from appliance.configurations import MAKING, Configurations, write_text
from appliance.copies import BLOCKED, REFUSALS, RETIRE_AFTER, copy_file, require_room, unpack_file
from appliance.files import make_folder, read_file

_LOG = logging.getLogger(__name__)

_MANIFEST = "manifest.json"
_RETIRED = "retired.json"  # {"SAFE/ID": seconds since the epoch when it was replaced}


class Changing(Exception):
    """A file is not what the scan saw: it is being replaced, and looked at again soon."""


@dataclass(frozen=True)
class _Version:
    """A version that is published."""

    key: str  # its folder under published/kernels/: "SAFE/ID"
    manifest: Manifest


def safe_name(name: str) -> str:
    """Reduce a kernel's name to what every path, URL and menu takes.

    At most 60 of [A-Za-z0-9._-], a letter or digit first, then `~` and 8 hex digits of the name's
    SHA-256 where that is not the name itself: different names stay different.
    """
    reduced = re.sub(r"[^A-Za-z0-9._-]", "-", name).lstrip("._-")[:60] or "kernel"
    if reduced == name:
        return name
    return f"{reduced}~{hashlib.sha256(os.fsencode(name)).hexdigest()[:8]}"


def _paths(kernel_set: KernelSet) -> dict[Role, PurePosixPath]:
    paths = {
        Role.KERNEL: kernel_set.kernel,
        Role.INITRD: kernel_set.initrd,
        Role.MODULES: kernel_set.modules,
    }
    return {role: path for role in COPIED if (path := paths[role]) is not None}


def _is_whole(folder: Path, manifest: Manifest) -> bool:
    """Tell whether all files of a version are there, as long as they were."""
    try:
        files = [(folder / role).lstat() for role in manifest.sizes]
        return stat.S_ISREG((folder / _MANIFEST).lstat().st_mode) and all(
            stat.S_ISREG(file.st_mode) and file.st_size == size
            for file, size in zip(files, manifest.sizes.values(), strict=True)
        )
    except (FileNotFoundError, NotADirectoryError):
        return False


class Store:
    """The folder published/kernels/, written by nobody else.

    `published` and `kernels` (the drop folder) are folders; `keep` replaced versions of every name
    stay to fall back on, others `retire_after` seconds; `clock` gives seconds since the epoch.
    Making one only reads; open() comes before the first publish. publish and retire are called
    one at a time; read_configs may run beside them in a thread.
    """

    def __init__(
        self,
        published: Path,
        kernels: Path,
        keep: int,
        retire_after: float = RETIRE_AFTER,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._published = published
        self._root = published / "kernels"
        self._kernels = kernels
        self._keep = keep
        self._retire_after = retire_after
        self._clock = clock
        self.blocked: str | None = None  # why the volume took no copy, as the last publish saw it
        self._configurations = Configurations(self._root, kernels)
        # Names in the drop folder, with the config beside them; None until a scan told.
        self._dropped: dict[str, PurePosixPath | None] | None = None
        self._versions = {version.key: version for version in self._load()}
        retired = self._load_retired()
        self._retired = {key: retired[key] for key in self._versions if key in retired}
        self._current: dict[str, _Version] = {}
        for version in sorted(self._versions.values(), key=lambda one: one.manifest.dropped_at):
            if version.key not in self._retired:
                self._current[version.manifest.name] = version

    # Publishing

    def open(self) -> None:
        """Make the folder, and remove what a crash left half made. Raises OSError."""
        make_folder(self._root)
        for left_over in self._root.glob(f"{MAKING}*"):
            try:
                shutil.rmtree(left_over)
            except OSError as error:  # a read-only volume; what is published serves all the same
                _LOG.warning("%s cannot be removed: %s", left_over, error.strerror)

    def published(self) -> tuple[PublishedKernel, ...]:
        """Return the current version of every name, newest first."""
        kernels = [self._published_kernel(version) for version in self._current.values()]
        return tuple(sorted(kernels, key=lambda one: (-one.dropped_at, one.name)))

    def publish(self, scan: Scan, seconds: float = math.inf) -> Catalog:
        """Copy what is new in a scan, and return all that can be booted.

        Where a kernel cannot be published (no room, still changing, refused), its name keeps the
        version that it has, as long as a file of that name is in the drop folder. After `seconds`
        no further copy is begun: what is left is pending, so that of a great many kernels the first
        need not wait for the last. Raises OSError where published/ cannot be read.
        """
        make_folder(self._root)
        self._forget_what_is_gone()
        self.blocked = None
        until = time.monotonic() + seconds
        refused = list(scan.refused)
        pending = set(scan.pending)
        for kernel_set in scan.sets:
            try:
                sources = self._sources(kernel_set)
                version = self._current.get(kernel_set.name)
                if version is None or version.manifest.sources != sources:
                    if time.monotonic() > until:
                        raise Changing(kernel_set.kernel)
                    version = self._new_version(kernel_set, sources)
                self._current[kernel_set.name] = version
            except (Changing, Corrupt, FileNotFoundError):
                pending.add(kernel_set.kernel)
            except NotReadable as error:
                refused.append(Refused(kernel_set.kernel, str(error)))
            except OSError as error:
                why = REFUSALS.get(error.errno or 0, error.strerror or str(error))
                if error.errno in BLOCKED:
                    self.blocked = why
                refused.append(Refused(kernel_set.kernel, f"cannot be published: {why}"))
        dropped: dict[str, PurePosixPath | None] = {str(path): None for path in pending}
        dropped |= {str(one.path): None for one in refused}
        dropped |= {one.name: one.config for one in scan.sets}
        self._dropped = dropped
        for gone in self._current.keys() - dropped.keys():
            del self._current[gone]
        self._note_retired()
        return Catalog(
            kernels=self.published(),
            refused=tuple(sorted(refused, key=lambda one: one.path)),
            pending=tuple(sorted(pending)),
        )

    def _forget_what_is_gone(self) -> None:
        """Drop versions of which somebody deleted something, so that they are made again."""
        for key, version in tuple(self._versions.items()):
            if not _is_whole(self._root / key, version.manifest):
                del self._versions[key]
                self._configurations.forget(key)
                if self._current.get(version.manifest.name) == version:
                    del self._current[version.manifest.name]

    def _sources(self, kernel_set: KernelSet) -> dict[Role, Source]:
        return {
            role: Source(path, self._fingerprint(path)) for role, path in _paths(kernel_set).items()
        }

    def _new_version(self, kernel_set: KernelSet, sources: dict[Role, Source]) -> _Version:
        require_room(self._root, sum(source.fingerprint.size for source in sources.values()))
        folder = Path(tempfile.mkdtemp(prefix=MAKING, dir=self._root))
        try:
            manifest = self._make(folder, kernel_set, sources)
            version = _Version(f"{safe_name(manifest.name)}/{manifest.id}", manifest)
            self._share(folder, version)
            self._install(folder, version)
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # gone by now, unless it failed
        self._versions[version.key] = version
        return version

    def _fingerprint(self, path: PurePosixPath) -> Fingerprint:
        plain = self._kernels / path
        target = resolve(self._kernels, path) if plain.is_symlink() else plain
        return Fingerprint.of(os.stat(target, follow_symlinks=False))

    def _make(self, folder: Path, kernel_set: KernelSet, sources: dict[Role, Source]) -> Manifest:
        """Copy a set into a folder; raises Changing unless it is what the scan saw, and whole."""
        whole = hashlib.sha256()
        sizes: dict[Role, int] = {}
        with ExitStack() as leases:
            opened = {
                role: leases.enter_context(open_inside(self._kernels, source.path))
                for role, source in sources.items()
            }
            for role, fd in opened.items():
                if leases.enter_context(read_lease(fd)) is Writers.SOME:
                    raise Changing(sources[role].path)
            packed = {Role.KERNEL: kernel_set.image.packed}
            for role, fd in opened.items():
                how = packed.get(role)
                target = folder / role
                digest = unpack_file(fd, target, how) if how else copy_file(fd, target)
                sizes[role] = target.stat().st_size
                whole.update(f"{role} {sizes[role]} ".encode() + digest)
            for role, fd in opened.items():
                if Fingerprint.of(os.fstat(fd)) != sources[role].fingerprint:
                    raise Changing(sources[role].path)
        with open(folder / Role.KERNEL, "rb") as copy:
            found = kernel.identify(copy, sizes[Role.KERNEL])
        if not isinstance(found, KernelImage) or not found.boots_like(kernel_set.image):
            raise Changing(kernel_set.kernel)
        manifest = Manifest(
            name=kernel_set.name,
            id=whole.hexdigest()[:16],
            version=kernel_set.image.version,
            arch=kernel_set.image.arch,
            efi_stub=kernel_set.image.efi_stub,
            initrd=self._initrd_format(folder, kernel_set),
            dropped_at=max(one.fingerprint.ctime_ns for one in sources.values()) / 1e9,
            sources={role: self._trusted(source) for role, source in sources.items()},
            sizes=sizes,
        )
        (folder / _MANIFEST).write_text(to_json(manifest), encoding="utf-8")
        os.chmod(folder / _MANIFEST, 0o644)
        return manifest

    @staticmethod
    def _initrd_format(folder: Path, kernel_set: KernelSet) -> Initrd | None:
        if kernel_set.initrd is None:
            return None
        with open(folder / Role.INITRD, "rb") as copy:
            found = initrd.identify(copy)
            if isinstance(found, initrd.NotAnInitrd):
                raise Changing(kernel_set.initrd)
            if found.format is RamdiskFormat.EXT2:
                return found
            return initrd_contents.survey(copy, found, kernel_set.initrd.name)

    def _trusted(self, source: Source) -> Source:
        """Forget a fingerprint so young that the file could change without changing it."""
        if source.fingerprint.is_certain(self._clock()):
            return source
        return replace(source, fingerprint=replace(source.fingerprint, inode=0))

    def _share(self, folder: Path, version: _Version) -> None:
        """Let equal copies under other names be one on the disk; nothing changes them in place."""
        roles = version.manifest.sources.keys()
        for other in self._versions.values():
            if other.manifest.id == version.manifest.id and other.manifest.sources.keys() == roles:
                for role in roles:
                    with suppress(OSError):  # a file system without links: the copy does as well
                        os.link(self._root / other.key / role, folder / f"{role}.link")
                        os.replace(folder / f"{role}.link", folder / role)
                return

    def _install(self, folder: Path, version: _Version) -> None:
        """Give a finished folder its name; the same contents get the new manifest only."""
        target = self._root / version.key
        if version.key in self._versions:
            os.replace(folder / _MANIFEST, target / _MANIFEST)
            return
        make_folder(target.parent)  # in place of a link, behind which nothing may be deleted
        if os.path.lexists(target):  # with a broken manifest, or it would have been loaded
            self._delete(target)
            make_folder(target.parent)
        os.chmod(folder, 0o755)
        os.rename(folder, target)

    def _published_kernel(self, version: _Version) -> PublishedKernel:
        manifest = version.manifest
        files = {role: PurePosixPath("kernels", version.key, role) for role in manifest.sources}
        return PublishedKernel(
            name=manifest.name,
            id=manifest.id,
            version=manifest.version,
            arch=manifest.arch,
            efi_stub=manifest.efi_stub,
            kernel=files[Role.KERNEL],
            initrd=files.get(Role.INITRD),
            initrd_format=manifest.initrd,
            modules=files.get(Role.MODULES),
            config=self._configurations.known(version.key),
            dropped_at=manifest.dropped_at,
            config_awaited=self._configurations.is_awaited(version.key, self._beside(version)),
        )

    # What is there already

    def _load(self) -> Iterator[_Version]:
        """Read the manifests; a version with a broken one counts as not there."""
        for path in self._root.glob(f"*/*/{_MANIFEST}"):
            folder = path.parent
            key = f"{folder.parent.name}/{folder.name}"
            try:
                manifest = from_json(self._read(f"{key}/{_MANIFEST}"))
                if f"{safe_name(manifest.name)}/{manifest.id}" != key:
                    raise BrokenManifest("of another version")
                if not _is_whole(folder, manifest):
                    raise BrokenManifest("a file is missing or not as long as it was")
            except (BrokenManifest, OSError, ValueError) as error:
                _LOG.warning("%s is passed over and made again when needed: %s", folder, error)
            else:
                yield _Version(key, manifest)

    def _read(self, path: str) -> str:
        """Return the text of a file of ours; "" where there is none, or a link in its place."""
        return (read_file(self._root, PurePosixPath(path)) or b"").decode("utf-8", "replace")

    def _load_retired(self) -> dict[str, float]:
        try:
            raw = json.loads(self._read(_RETIRED) or "{}")
            return {str(key): float(since) for key, since in raw.items()}
        except (ValueError, TypeError, AttributeError) as error:
            _LOG.warning("%s is passed over: %s", self._root / _RETIRED, error)
            return {}

    # Retirement

    def _note_retired(self) -> None:
        """Note since when versions are not current; a new start reads it."""
        current = {version.key for version in self._current.values()}
        before = dict(self._retired)
        now = self._clock()
        self._retired = {
            key: self._retired.get(key, now) for key in self._versions if key not in current
        }
        if self._retired != before:
            self._write_retired()

    def _write_retired(self) -> None:
        try:
            write_text(self._root / _RETIRED, json.dumps(self._retired), self._root)
        except OSError as error:  # on a full volume versions stay longer, no more
            _LOG.warning("%s cannot be written: %s", self._root / _RETIRED, error)

    def retire(self, now: float) -> tuple[PurePosixPath, ...]:
        """Delete versions replaced `retire_after` seconds before `now`; return their folders.

        The newest `keep` replaced versions of each name that is in the drop folder stay. Deletes
        nothing before the first publish, when the names are not known. Paths are relative to
        published/. Raises OSError where the volume does not let it.
        """
        if self._dropped is None:
            return ()
        kept: dict[str, int] = {}
        deleted: list[PurePosixPath] = []
        for key, since in sorted(self._retired.items(), key=lambda one: one[1], reverse=True):
            name = self._versions[key].manifest.name
            kept[name] = kept.get(name, 0) + 1
            if name in self._dropped and kept[name] <= self._keep:
                continue
            if now - since >= self._retire_after:
                deleted.append(PurePosixPath("kernels", key))
                with suppress(FileNotFoundError):  # somebody was faster
                    self._delete(self._root / key)
                del self._versions[key], self._retired[key]
                self._configurations.forget(key)
        if deleted:
            self._write_retired()
        return tuple(sorted(deleted))

    def _delete(self, folder: Path) -> None:
        """Take a version away at once, then its files, and its name's folder after the last.

        Makes nothing new, for which a full volume might have no room.
        """
        going = self._root / f"{MAKING}{secrets.token_hex(8)}"
        os.rename(folder, going)
        shutil.rmtree(going)
        try:
            folder.parent.rmdir()
        except OSError as error:
            if error.errno != errno.ENOTEMPTY:
                raise

    def read_configs(self) -> bool:
        """Look for the .config of current kernels; True when publish would now say more.

        Not at all while the volume has no room to keep it.
        """
        wanted = {version.key: self._beside(version) for version in tuple(self._current.values())}
        try:
            require_room(self._root, 0)
        except OSError:  # said by publish, as soon as a kernel waits for it
            return self._configurations.pass_over(wanted)
        ids = {key: version.manifest.id for key, version in tuple(self._versions.items())}
        return self._configurations.read(wanted, ids)

    def _beside(self, version: _Version) -> PurePosixPath | None:
        return (self._dropped or {}).get(version.manifest.name)
