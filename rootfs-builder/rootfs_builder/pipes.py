"""Runs the tools that pack: what they read is written by us, what they write is a file."""

from __future__ import annotations

import fcntl
import os
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, cast

_ENVIRONMENT = {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"}
_PIPE = 1024 * 1024  # bytes; the default of 64 KiB is a switch of processes for each

_TAIL = 16 * 1024 * 1024


class ToolFailed(Exception):
    """A tool that is missing or ended with an error: which, and its last line."""


def run(argv: Sequence[str | Path], environment: Mapping[str, str] | None = None) -> str:
    """Run a tool to its end and return its standard output. Raises ToolFailed."""
    with tempfile.TemporaryFile() as output:
        _run(argv, environment or {}, None, output)
        output.seek(0)
        return output.read().decode("utf-8", "replace")


def pack(argv: Sequence[str | Path], source: Path | Callable[[BinaryIO], None], to: Path) -> None:
    """Run a tool from a file, or from what `source` writes, into a new file. Raises ToolFailed."""
    with to.open("xb") as output:
        if isinstance(source, Path):
            with source.open("rb") as stream:
                _run(argv, {}, stream, output)
        else:
            _run(argv, {}, source, output)


@contextmanager
def reading(argv: Sequence[str | Path], source: Path) -> Iterator[BinaryIO]:
    """Give what a tool makes of a file, as a stream; the tool ends with the block.

    Raises ToolFailed when the tool found its input broken. What the block leaves is read to its
    end for that, or up to 16 MiB.
    """
    with (
        source.open("rb") as stream,
        tempfile.TemporaryFile() as errors,
        subprocess.Popen(
            argv, stdin=stream, stdout=subprocess.PIPE, stderr=errors, env=_ENVIRONMENT
        ) as process,
    ):
        assert process.stdout is not None
        try:
            yield cast(BinaryIO, process.stdout)
            process.stdout.read(_TAIL)
        except BaseException:
            process.kill()
            raise
        process.stdout.close()
        if process.wait() > 0:
            raise _failure(argv, process.returncode, errors)


def feed(
    argv: Sequence[str | Path],
    source: Callable[[BinaryIO], None],
    environment: Mapping[str, str],
) -> None:
    """Run a tool that reads what `source` writes and names its own output. Raises ToolFailed."""
    with open(os.devnull, "wb") as output:
        _run(argv, environment, source, output)


def _run(
    argv: Sequence[str | Path],
    environment: Mapping[str, str],
    source: BinaryIO | Callable[[BinaryIO], None] | None,
    output: BinaryIO,
) -> None:
    stdin = subprocess.PIPE if callable(source) else source or subprocess.DEVNULL
    with tempfile.TemporaryFile() as errors:
        try:
            process = subprocess.Popen(
                argv,
                stdin=stdin,
                stdout=output,
                stderr=errors,
                env=_ENVIRONMENT | dict(environment),
            )
        except OSError as error:
            raise ToolFailed(f"{argv[0]}: cannot be started: {error.strerror}") from None
        try:
            if callable(source):
                _write(process, source)
            status = process.wait()
        except BaseException:
            process.kill()
            process.wait()
            raise
        if status:
            raise _failure(argv, status, errors)


def _failure(argv: Sequence[str | Path], status: int, errors: BinaryIO) -> ToolFailed:
    errors.seek(0)
    said = errors.read().decode("utf-8", "replace").strip().splitlines()
    return ToolFailed(f"{argv[0]}: {said[-1] if said else f'exit status {status}'}")


def _write(process: subprocess.Popen[bytes], source: Callable[[BinaryIO], None]) -> None:
    """Let `source` write; a tool that reads no more says why by how it ends."""
    assert process.stdin is not None
    fcntl.fcntl(process.stdin, fcntl.F_SETPIPE_SZ, _PIPE)
    try:
        with process.stdin:
            source(cast(BinaryIO, process.stdin))
    except BrokenPipeError:
        if process.wait() == 0:
            raise ToolFailed("it ended before it had read everything") from None
