"""Files that the appliance owns, read and written without following a link into other places.

The volume belongs to users too: a link or a fifo that one of them puts into published/ must neither
redirect what root writes nor hold it up. A machine's layer is worse: its root plants there what it
likes, devices too, while we write.
"""

from __future__ import annotations

import errno
import os
import secrets
import shutil
import stat
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
_NAME = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC  # what it is, without opening it
_WRITE = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
_DEEPEST = 100  # folders in each other that are deleted; nothing of ours has a tenth of it


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
                _write(parent, aside, (content,), 0o644)
                os.rename(aside, path.name, src_dir_fd=parent, dst_dir_fd=parent)
            except OSError:
                with suppress(OSError):
                    os.unlink(aside, dir_fd=parent)
                raise


def put_file(
    folder: Path,
    path: PurePosixPath,
    pieces: Iterable[bytes],
    mode: int = 0o644,
    *,
    durable: bool = False,
) -> None:
    """Write `folder`/`path`, root's and of this mode, by rename; raises OSError.

    For a folder that others fill meanwhile. Folders on the way are made; a link in their place is
    an error, and what is in the file's own place, but for a folder, is replaced. A `durable` one is
    on the disk before it has its name.
    """
    with _named(folder / path), _parent(folder, path, _make_missing) as parent:
        # By another name each time: what others put there need not be deleted, which may not end.
        aside = f".{path.name[:200]}.{secrets.token_hex(8)}"
        try:
            _write(parent, aside, pieces, mode, owner=0, durable=durable)
            os.rename(aside, path.name, src_dir_fd=parent, dst_dir_fd=parent)
        except BaseException:
            with suppress(FileNotFoundError):
                os.unlink(aside, dir_fd=parent)
            raise


def put_folder(folder: Path, path: PurePosixPath) -> None:
    """Have the folder `folder`/`path`, with those on the way; raises OSError, for a link too."""
    with _named(folder / path), _parent(folder, path / "any", _make_missing):
        pass


def mode_of(folder: Path, path: PurePosixPath) -> int:
    """Return the st_mode of what is at `folder`/`path`; 0 where nothing is, or behind a link."""
    try:
        with _parent(folder, path, _step) as parent:
            return os.stat(path.name, dir_fd=parent, follow_symlinks=False).st_mode
    except OSError:
        return 0


def names_in(folder: Path, path: PurePosixPath) -> tuple[str, ...]:
    """Return what the folder `folder`/`path` holds, sorted; nothing where none is."""
    try:
        with _parent(folder, path / "any", _step) as inside:
            return tuple(sorted(os.listdir(inside)))
    except OSError:
        return ()


def link_at(folder: Path, path: PurePosixPath) -> str | None:
    """Return where the link `folder`/`path` says that it leads; None where there is no link."""
    try:
        with _parent(folder, path, _step) as parent:
            return os.readlink(path.name, dir_fd=parent)
    except OSError:
        return None


def rename_inside(folder: Path, source: PurePosixPath, target: PurePosixPath) -> None:
    """Rename `folder`/`source`, in place of a file or an empty folder; raises OSError."""
    with (
        _named(folder / target),
        _parent(folder, source, _step) as before,
        _parent(folder, target, _step) as after,
    ):
        os.rename(source.name, target.name, src_dir_fd=before, dst_dir_fd=after)


def delete_inside(folder: Path, path: PurePosixPath) -> None:
    """Delete `folder`/`path`, whatever it is, if it is there; raises OSError."""
    with _named(folder / path), suppress(FileNotFoundError), _parent(folder, path, _step) as parent:
        _delete(parent, path.name, _DEEPEST)


@contextmanager
def open_file(folder: Path, path: PurePosixPath) -> Iterator[BinaryIO]:
    """Open the regular file `folder`/`path` behind no link; raises OSError for anything else."""
    with (
        _named(folder / path),
        _parent(folder, path, _step) as parent,
        open(_open_regular(parent, path.name), "rb") as file,
    ):
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


def _write(  # noqa: PLR0913
    parent: int,
    name: str,
    pieces: Iterable[bytes],
    mode: int,
    *,
    owner: int = -1,
    durable: bool = False,
) -> None:
    with open(os.open(name, _WRITE, 0o600, dir_fd=parent), "wb") as file:
        file.writelines(pieces)
        os.fchown(file.fileno(), owner, owner)  # before the mode, which a new owner takes bits off
        os.fchmod(file.fileno(), mode)
        if durable:
            file.flush()
            os.fsync(file.fileno())


def _open_regular(parent: int, name: str) -> int:
    """Open a regular file for reading; a device is not even opened, which could set it off."""
    known = os.open(name, _NAME, dir_fd=parent)
    try:
        if not stat.S_ISREG(os.fstat(known).st_mode):
            raise OSError(errno.EINVAL, "no regular file")
        return os.open(f"/proc/self/fd/{known}", os.O_RDONLY | os.O_CLOEXEC)
    finally:
        os.close(known)


def _delete(parent: int, name: str, deepest: int) -> None:
    if not stat.S_ISDIR(os.stat(name, dir_fd=parent, follow_symlinks=False).st_mode):
        os.unlink(name, dir_fd=parent)
        return
    if not deepest:
        raise OSError(errno.ELOOP, "too many folders in each other: delete them by hand")
    inside = _step(parent, name)
    try:
        for each in os.listdir(inside):
            with suppress(FileNotFoundError):
                _delete(inside, each, deepest - 1)
    finally:
        os.close(inside)
    os.rmdir(name, dir_fd=parent)


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


def _make_missing(parent: int, name: str) -> int:
    try:
        os.mkdir(name, 0o700, dir_fd=parent)
    except FileExistsError:
        return _step(parent, name)
    made = _step(parent, name)
    os.fchown(made, 0, 0)  # a setgid folder gives what is made in it its group
    os.fchmod(made, 0o755)
    return made


def close_to_others(folder: Path) -> None:
    """Let nobody but its owner into a folder; raises OSError.

    A machine is root in its own root: a setuid file that it leaves there would make whoever can
    reach that on the host root of the host.
    """
    if folder.stat().st_mode & 0o077:
        folder.chmod(0o700)
