"""Files that the appliance owns, read and written without following a link into other places.

The volume belongs to users too: a link or a fifo that one of them puts into published/ must neither
redirect what root writes nor hold it up.
"""

from __future__ import annotations

import errno
import os
import shutil
import stat
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


def replace_file(folder: Path, path: PurePosixPath, content: bytes) -> None:
    """Write `folder`/`path`, readable by all, by rename; raises OSError.

    Folders on the way are made. A link in their place, or in the file's, is removed.
    """
    with _named(folder / path):
        folder.mkdir(parents=True, exist_ok=True)
        with _parent(folder, path, _make_step) as parent:
            aside = f".{path.name}.new"
            with suppress(FileNotFoundError):
                os.unlink(aside, dir_fd=parent)
            try:
                with open(os.open(aside, _WRITE, 0o600, dir_fd=parent), "wb") as file:
                    file.write(content)
                    os.fchmod(file.fileno(), 0o644)
                os.rename(aside, path.name, src_dir_fd=parent, dst_dir_fd=parent)
            except OSError:
                with suppress(OSError):
                    os.unlink(aside, dir_fd=parent)
                raise


@contextmanager
def open_file(folder: Path, path: PurePosixPath) -> Iterator[BinaryIO]:
    """Open the regular file `folder`/`path` behind no link; raises OSError for anything else."""
    with (
        _named(folder / path),
        _parent(folder, path, _step) as parent,
        open(os.open(path.name, _READ, dir_fd=parent), "rb") as file,
    ):
        if not stat.S_ISREG(os.fstat(file.fileno()).st_mode):
            raise OSError(errno.EINVAL, "no regular file")
        yield file


def read_file(folder: Path, path: PurePosixPath, longest: int | None = None) -> bytes | None:
    """Return what `folder`/`path` holds; None where it is missing, no file, or behind a link.

    What cannot be read, or is longer than `longest` bytes, is None too: who then writes it anew
    hears why.
    """
    try:
        with open_file(folder, path) as file:
            if longest is not None and os.fstat(file.fileno()).st_size > longest:
                return None
            return file.read(-1 if longest is None else longest)
    except OSError:
        return None


def make_folder(folder: Path) -> None:
    """Make a folder that everybody may read, in place of a link if there is one; raises OSError."""
    with _named(folder):
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _parent(folder.parent, PurePosixPath(folder.name), _step) as parent:
            os.close(_make_step(parent, folder.name))


def keep_only(folder: Path, path: PurePosixPath, names: Collection[str]) -> None:
    """Delete what has none of these names from the folder `folder`/`path`; raises OSError.

    A folder that is missing, or behind a link, has nothing of ours.
    """
    with (
        _named(folder / path),
        suppress(FileNotFoundError, NotADirectoryError),
        _parent(folder, path / "any", _step) as inside,
    ):
        for name in set(os.listdir(inside)).difference(names):
            if stat.S_ISDIR(os.stat(name, dir_fd=inside, follow_symlinks=False).st_mode):
                shutil.rmtree(name, dir_fd=inside)
            else:
                os.unlink(name, dir_fd=inside)


@contextmanager
def _named(file: Path) -> Iterator[None]:
    """Name the whole path in an OSError: descriptors know the last part of it, or none."""
    try:
        yield
    except OSError as error:
        error.filename, error.filename2 = str(file), None
        raise


@contextmanager
def _parent(folder: Path, path: PurePosixPath, step: Callable[[int, str], int]) -> Iterator[int]:
    """Open the folder that `folder`/`path` is in, by a step for each folder below `folder`."""
    fd = os.open(folder, _FOLDER)
    try:
        for name in path.parent.parts:
            below = step(fd, name)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def _step(parent: int, name: str) -> int:
    return os.open(name, _FOLDER | os.O_NOFOLLOW, dir_fd=parent)


def _make_step(parent: int, name: str) -> int:
    with suppress(FileNotFoundError):
        if stat.S_ISLNK(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
            os.unlink(name, dir_fd=parent)
    try:
        os.mkdir(name, dir_fd=parent)
    except FileExistsError:
        return _step(parent, name)
    made = _step(parent, name)
    os.fchmod(made, 0o755)  # whatever the umask
    return made
