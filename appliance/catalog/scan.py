"""One walk over the drop folder: what can be served, what cannot and why, what is on its way."""

from __future__ import annotations

import os
import time
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from appliance.catalog import initrd, kernel
from appliance.catalog.decompress import recognise
from appliance.catalog.ikconfig import LONGEST_TEXT
from appliance.catalog.lease import Writers, writers_of
from appliance.catalog.model import (
    HEAD_LENGTH,
    KernelImage,
    KernelSet,
    RamdiskFormat,
    Refused,
    Scan,
)
from appliance.catalog.openat import (
    Fingerprint,
    NotReadable,
    open_inside,
    require_regular,
    resolve,
)
from appliance.catalog.pairing import Role, partners, role_of

STILL = 1.0  # seconds without a change after which a file without a length of its own is whole
DEEPEST = 16  # folders in folders
# Seconds until a file that somebody has open for writing is looked at again: when it is closed,
# inotify tells.
_OPEN_LOOK = 2.0
_LARGEST_KERNEL = 1 << 30  # bytes: copying an endless file would keep all others waiting
_LONGEST_NAME = 255  # characters under kernels/, as menus and TFTP requests take them
_USTAR = 257  # offset of the magic in a tar archive's first header
_TEMPORARY = (".part", ".filepart", "~")  # what browsers, WinSCP and editors make

_ORPHANS = {
    Role.INITRD: "an initrd without its kernel: name it initrd-VERSION.img or KERNEL.initrd",
    Role.MODULES: "modules without their kernel: name them modules-VERSION.cpio.zst",
    Role.MODULES_TAR: "modules without their kernel: name them modules-VERSION.tar.zst",
    Role.CONFIG: "a config without its kernel: name it config-VERSION or KERNEL.config",
}


# What is beside a kernel and no part of what a machine loads: the kernel does not wait for it.
_UNBOOTED = frozenset({Role.CONFIG, Role.MODULES_TAR})


@dataclass(frozen=True)
class _Partner:
    """A file beside a kernel that is what its name says."""

    role: Role


_Verdict = KernelImage | _Partner | Refused


@dataclass
class Seen:
    """What earlier scans of a folder learned; the caller keeps it from scan to scan."""

    verdicts: dict[PurePosixPath, tuple[Fingerprint, _Verdict]] = field(default_factory=dict)
    since: dict[PurePosixPath, tuple[Fingerprint, float]] = field(default_factory=dict)

    def keep_only(self, paths: set[PurePosixPath]) -> None:
        """Forget files that are no more."""
        self.verdicts = {path: known for path, known in self.verdicts.items() if path in paths}
        self.since = {path: known for path, known in self.since.items() if path in paths}


@dataclass
class _Folder:
    """The files of one folder, by what they turned out to be."""

    kernels: dict[PurePosixPath, KernelImage] = field(default_factory=dict)
    partners: dict[PurePosixPath, Role] = field(default_factory=dict)
    pending: dict[PurePosixPath, Role] = field(default_factory=dict)


def is_ignored(name: str) -> bool:
    """Tell whether a file or folder is none of ours by its name: hidden, or not finished yet."""
    return name.startswith(".") or name == "README.md" or name.endswith(_TEMPORARY)


def _escaped(path: PurePosixPath) -> PurePosixPath:
    text = os.fsencode(path).decode("utf-8", "backslashreplace")
    return PurePosixPath("".join(c if _is_plain(c) else ascii(c)[1:-1] for c in text))


def _is_plain(character: str) -> bool:
    return unicodedata.category(character) not in {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def _check_name(path: PurePosixPath) -> None:
    """Raise NotReadable for a name that a menu, a URL or a path cannot take."""
    if not all(map(_is_plain, str(path))):
        raise NotReadable("a name with control characters or not in UTF-8: rename it")
    if len(str(path)) > _LONGEST_NAME:
        raise NotReadable(f"a name longer than {_LONGEST_NAME} characters: rename it")


class _Walk:
    """One scan: where it looks, what it knows, what it has found so far."""

    def __init__(
        self,
        folder: Path,
        writers: Callable[[int], Writers],
        seen: Seen,
        clock: Callable[[], float],
    ) -> None:
        self._folder = folder
        self._writers = writers
        self._seen = seen
        self._clock = clock
        self._folders: defaultdict[PurePosixPath, _Folder] = defaultdict(_Folder)
        self._refused: list[Refused] = []
        self._files: set[PurePosixPath] = set()
        self._looks: list[float] = []  # seconds until pending files shall be looked at again

    def result(self) -> Scan:
        todo = [PurePosixPath()]
        while todo:
            todo.extend(self._list(todo.pop()))
        self._seen.keep_only(self._files)
        sets: list[KernelSet] = []
        pending: list[PurePosixPath] = []
        for found in self._folders.values():
            some_sets, some_pending = self._pair(found)
            sets += some_sets
            pending += some_pending
        return Scan(
            sets=tuple(sorted(sets, key=lambda one: one.kernel)),
            refused=tuple(sorted(self._refused, key=lambda one: one.path)),
            pending=tuple(sorted(pending)),
            look_in=min(self._looks, default=None),
        )

    def _list(self, parent: PurePosixPath) -> Iterator[PurePosixPath]:
        """Look at each file of a folder, and yield the folders in it."""
        try:
            with os.scandir(self._folder / parent) as entries:
                for entry in entries:
                    if not is_ignored(entry.name):
                        yield from self._enter(parent / entry.name, entry)
        except FileNotFoundError:
            return  # removed since it was listed
        except OSError as error:
            self._refuse(parent, f"a folder that cannot be read: {error.strerror}")

    def _enter(self, path: PurePosixPath, entry: os.DirEntry[str]) -> Iterator[PurePosixPath]:
        try:
            _check_name(path)
            if entry.is_dir(follow_symlinks=False):
                if len(path.parts) > DEEPEST:
                    raise NotReadable(f"more than {DEEPEST} folders deep")
                yield path
                return
            if entry.is_symlink():
                status = os.stat(resolve(self._folder, path))
            else:
                status = entry.stat(follow_symlinks=False)
            require_regular(status.st_mode)
            self._sort_in(path, Fingerprint.of(status))
        except NotReadable as error:
            self._refuse(_escaped(path), str(error))
        except FileNotFoundError:
            return  # removed since it was listed
        except OSError as error:
            self._refuse(path, f"cannot be read: {error.strerror}")

    def _refuse(self, path: PurePosixPath, reason: str) -> None:
        self._refused.append(Refused(path, reason))

    def _sort_in(self, path: PurePosixPath, fingerprint: Fingerprint) -> None:
        self._files.add(path)
        verdict = self._verdict(path, fingerprint)
        found = self._folders[path.parent]
        match verdict:
            case KernelImage():
                found.kernels[path] = verdict
            case _Partner(role):
                found.partners[path] = role
            case Refused():
                self._refused.append(verdict)
            case None:
                found.pending[path] = role_of(path.name)

    def _verdict(self, path: PurePosixPath, fingerprint: Fingerprint) -> _Verdict | None:
        """Tell what a file is, from memory where it has not changed; None: not complete yet."""
        known = self._seen.verdicts.get(path)
        if known and known[0] == fingerprint:
            return known[1]
        moves_for = self._moves_for(path, fingerprint)
        with open_inside(self._folder, path) as fd:
            writers = self._writers(fd)
            if writers is Writers.SOME:
                self._looks.append(_OPEN_LOOK)
                return None
            if writers is Writers.UNKNOWN and moves_for > 0:
                self._looks.append(moves_for)
                return None
            if Fingerprint.of(os.fstat(fd)) != fingerprint:
                self._looks.append(STILL)
                return None
            verdict = _read(path, fd, fingerprint.size, still=moves_for <= 0)
        if verdict is None:
            self._looks.append(moves_for)
        if verdict and fingerprint.is_certain(self._clock()):
            self._seen.verdicts[path] = (fingerprint, verdict)
        return verdict

    def _moves_for(self, path: PurePosixPath, fingerprint: Fingerprint) -> float:
        """Return the seconds that a file still has to lie unchanged; 0 or less: it lay long enough.

        Counted from its last change, or from when we saw it first where that lies in the future.
        """
        now = self._clock()
        before, since = self._seen.since.get(path, (fingerprint, now))
        if before != fingerprint:
            since = now
        self._seen.since[path] = (fingerprint, since)
        return STILL - (now - min(since, fingerprint.ctime_ns / 1e9))

    def _pair(self, found: _Folder) -> tuple[list[KernelSet], list[PurePosixPath]]:
        """Give each kernel of a folder its files; refuse those that no kernel wants."""
        late = {path: role for path, role in found.pending.items() if role not in _UNBOOTED}
        late_kernels = sum(role is Role.KERNEL for role in late.values())
        sets: list[KernelSet] = []
        pending = list(found.pending)
        taken: set[PurePosixPath] = set()
        for path, image in found.kernels.items():
            belongs = partners(
                path,
                image.version,
                kernels=len(found.kernels) + late_kernels,
                beside=found.partners | late,
            )
            taken.update(belongs.values())
            if late.keys() & belongs.values():
                pending.append(path)  # without its initrd it would start, and panic
                continue
            sets.append(
                KernelSet(
                    name=str(path),
                    image=image,
                    kernel=path,
                    initrd=belongs.get(Role.INITRD),
                    modules=belongs.get(Role.MODULES),
                    config=belongs.get(Role.CONFIG),
                )
            )
        for path, role in found.partners.items():
            if path not in taken and not late_kernels:  # else its kernel may be on its way
                self._refuse(path, _ORPHANS[role])
        return sets, pending


def _has_hole(fd: int, size: int) -> bool:
    """Tell whether a part of a file of `size` bytes was never written (lseek(2), SEEK_HOLE)."""
    return os.lseek(fd, 0, os.SEEK_HOLE) < size


def _read(path: PurePosixPath, fd: int, size: int, still: bool) -> _Verdict | None:
    """Tell what a file is that nobody writes to; None where only time tells that it is whole."""
    role = role_of(path.name)
    with open(fd, "rb", buffering=0, closefd=False) as stream:
        if role is Role.KERNEL:
            found = kernel.identify(stream, size)
            if not isinstance(found, KernelImage):
                return Refused(path, found.reason)
            if size > _LARGEST_KERNEL:
                return Refused(path, f"longer than {_LARGEST_KERNEL >> 30} GiB, as no kernel is")
            # A file can be given its whole length first, and be filled piece by piece.
            whole = found.length is not None and not _has_hole(fd, size)
            return found if still or whole else None
        if not still:
            return None
        wrong = _mismatch(role, stream, size)
    return _Partner(role) if wrong is None else Refused(path, wrong)


def _mismatch(role: Role, stream: BinaryIO, size: int) -> str | None:
    """Say how a file is not what its name says."""
    if role is Role.CONFIG:
        is_config = size <= LONGEST_TEXT and b"CONFIG_" in stream.read(HEAD_LENGTH)
        return None if is_config else "not a kernel's config"
    if role is Role.MODULES_TAR:
        head = stream.read(HEAD_LENGTH)
        is_tar = recognise(head) is not None or head[_USTAR : _USTAR + 5] == b"ustar"
        return None if is_tar else "not a tar archive, packed or not"
    found = initrd.identify(stream)
    if isinstance(found, initrd.NotAnInitrd):
        return found.reason
    if role is Role.MODULES and found.format is not RamdiskFormat.CPIO:
        return "modules have to be a cpio archive"
    return None


def scan(
    folder: Path,
    *,
    writers: Callable[[int], Writers] = writers_of,
    seen: Seen | None = None,
    clock: Callable[[], float] = time.time,
) -> Scan:
    """Walk over the drop folder and tell what is in it; a missing folder is empty.

    `writers` tells who has an open file open for writing. With `seen` kept from scan to scan,
    nothing is read of files that have not changed. `clock` gives seconds since the epoch. What is
    `pending` is still being written, or younger than STILL and of no length of its own: scan again
    soon.
    """
    return _Walk(folder, writers, Seen() if seen is None else seen, clock).result()
