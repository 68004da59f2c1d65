"""Layers on disk: HOLDER/ROOT/VERSION/ with layer.json, made and deleted by rename.

What lies in a layer was written by a machine: links, fifos and devices of any name. Nothing here
looks into one; rm(1) deletes it.
"""

from __future__ import annotations

import errno
import os
import secrets
import tempfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Annotated
from uuid import UUID

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, ValidationError

from appliance.catalog.root import is_root_name
from appliance.files import close_to_others, open_file
from appliance.layers import overlay
from appliance.layers.probe import FULL, PROBE
from appliance.nfs import export
from appliance.run import CommandFailed, run_here

RECORD = "layer.json"
_MAKING, _GOING = ".new-", ".old-"
_LONGEST = 1 << 20  # bytes of layer.json: a shared layer names the addresses of all who have it
_DEPTH = 3
_KEY = r"[A-Za-z0-9][A-Za-z0-9._~-]{0,99}"
_VERSION = r"[0-9a-f]{16}"
_HOLDER = r"rw|ro|[0-9a-f]{2}(-[0-9a-f]{2}){5}"
_PATH = rf"^(/{_KEY}/{_VERSION}/({_HOLDER})|/tftpboot/[0-9.]{{7,15}})$"


def _root_name(value: str) -> str:
    if not is_root_name(value):
        raise ValueError("no root's name")
    return value


_Path = Annotated[str, Field(max_length=300, pattern=_PATH)]
_RootName = Annotated[str, AfterValidator(_root_name)]
_Seconds = Annotated[float, Field(ge=0, le=1e11)]  # since the epoch: some 3,000 years


class Record(BaseModel):
    """What layer.json says. Keys that are not known are ignored: we may be older than it."""

    model_config = ConfigDict(frozen=True, extra="ignore")

    root: _RootName
    key: str = Field(pattern=rf"^{_KEY}$")  # the name as paths take it
    version: str = Field(pattern=rf"^{_VERSION}$")
    holder: str = Field(pattern=rf"^({_HOLDER})$")
    made_at: _Seconds
    last_seen: _Seconds  # when its machine got an address last
    furnished: bool = False  # what is not, no machine has ever seen
    mark: str = Field(default="", max_length=100)  # overlay.marks when it was furnished
    used: bool = False  # a machine mounted it or wrote to it
    keep: bool = False  # newer versions' paths show it too
    also: tuple[_Path, ...] = ()  # other paths that show it

    def is_its_own(self, path: str) -> bool:
        """Tell whether a path may show the layer: another version's of its root and holder."""
        if export.is_default_path(PurePosixPath(path)):
            return True
        key, _, holder = path.split("/")[1:]
        return (key, holder) == (self.key, self.holder)


@dataclass(frozen=True)
class Layer:
    """A writable layer over a version of a root, for one machine or for all."""

    record: Record
    folder: Path

    @property
    def path(self) -> PurePosixPath:
        """Where machines mount it."""
        record = self.record
        return export.layer_path(record.key, record.version, record.holder)

    @property
    def source(self) -> str:
        """What /proc/mounts calls it."""
        return f"bootdrop{self.path}"

    @property
    def is_shared(self) -> bool:
        """Tell whether it is everybody's."""
        return self.record.holder in export.EVERYBODY.values()

    @property
    def mac(self) -> str:
        """The machine as people write it, or `everybody`."""
        return "everybody" if self.is_shared else self.record.holder.replace("-", ":")

    @property
    def who(self) -> str:
        """By what people ask for it: the machine, or rw or ro where all share it."""
        return self.record.holder if self.is_shared else self.mac

    def __str__(self) -> str:
        return f"root {self.record.root} {self.record.version}, layer of {self.mac}"

    def fsid(self, path: PurePosixPath) -> UUID:
        """Return the number of the export at one of the paths that show it."""
        record = self.record
        if path == self.path:
            return export.fsid(record.key, record.version, record.holder)
        if export.is_default_path(path):
            # An address that becomes another machine's must not keep the number.
            return export.fsid(path.name, record.version, f"{record.key}/{record.holder}")
        key, version, holder = path.parts[1:]
        return export.fsid(key, version, holder)

    def changed(self, **values: object) -> Layer:
        """Return it with other values in its record."""
        return replace(self, record=self.record.model_copy(update=values))


class Shelf:
    """A folder of layers, which nobody else writes to; `name` is what people know it by.

    `takes` tells of which holders: layers of others in it are none of ours.
    """

    def __init__(
        self,
        folder: Path,
        name: str = "boot/machines",
        takes: Callable[[str], bool] = lambda _: True,
    ) -> None:
        self.folder, self.name, self.takes = folder, name, takes

    def open(self) -> None:
        """Make the folder, for root alone; what was half made or deleted is put aside.

        Raises OSError.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        close_to_others(self.folder)
        for left in (*self.folder.glob(f"{_MAKING}*"), *self.folder.glob(f"{PROBE}*")):
            try:
                os.rename(left, _aside_name(self.folder))
            except OSError as error:
                if error.errno not in FULL:  # then the next start does it
                    raise

    def scan(self) -> tuple[tuple[Layer, ...], tuple[str, ...]]:
        """Return the layers that are there, sorted by path, and what is wrong with others."""
        layers, faults = [], []
        for path in _folders(self.folder, _DEPTH):
            try:
                layers.append(self._read(path))
            except (OSError, ValueError) as error:
                why = error.strerror if isinstance(error, OSError) else "not what it should be"
                faults.append(
                    f"{self.name}: {path}/{RECORD}: {why}: this layer is not served; it can be "
                    "deleted when nothing in it is missed"
                )
        return tuple(sorted(layers, key=lambda one: one.path)), tuple(faults)

    def _read(self, path: PurePosixPath) -> Layer:
        with open_file(self.folder, path / RECORD) as file:
            text = file.read(_LONGEST)
        try:
            layer = Layer(Record.model_validate_json(text), self.folder / path)
        except ValidationError as error:
            raise ValueError(str(error)) from None
        record = layer.record
        if self._folder(record) != layer.folder:
            raise ValueError("of another folder")
        # A machine can write to this file, by a forged handle (docs/nfs.md).
        if not self.takes(record.holder) or not all(map(record.is_its_own, record.also)):
            raise ValueError("of another holder")
        return layer

    def make(self, record: Record, tree: Path) -> Layer:
        """Make a layer that is seen when it is whole, not furnished yet. Raises OSError."""
        folder = self._folder(record)
        aside = Path(tempfile.mkdtemp(prefix=_MAKING, dir=self.folder))
        try:
            overlay.make(tree, aside)
            layer = Layer(record, aside)
            _write(layer)
            for parent in (folder.parent.parent, folder.parent):
                parent.mkdir(mode=0o700, exist_ok=True)
            os.rename(aside, folder)
        except OSError:
            remove_tree(aside)
            raise
        return replace(layer, folder=folder)

    def write(self, layer: Layer) -> None:
        """Replace layer.json; what is there after a power cut is the old one or the new one.

        Raises OSError.
        """
        _write(layer)

    def put_aside(self, layer: Layer) -> None:
        """Take a layer that is not mounted away by one rename; sweep() deletes it.

        Raises OSError.
        """
        with suppress(FileNotFoundError):  # somebody did so by hand
            os.rename(layer.folder, _aside_name(self.folder))
        for parent in (layer.folder.parent, layer.folder.parent.parent):
            try:
                with suppress(FileNotFoundError):
                    parent.rmdir()
            except OSError as error:
                if error.errno != errno.ENOTEMPTY:
                    raise
                return

    def sweep(self) -> bool:
        """Delete what was put aside, as long as that takes; tell whether there was any. OSError."""
        aside = list(self.folder.glob(f"{_GOING}*"))
        for folder in aside:
            remove_tree(folder)
        return bool(aside)

    def _folder(self, record: Record) -> Path:
        return self.folder / record.holder / record.key / record.version


def shelf_of(shelves: Iterable[Shelf], holder: str) -> Shelf:
    """Return the shelf that a holder's layers lie on."""
    return next(each for each in shelves if each.takes(holder))


def _write(layer: Layer) -> None:
    """Write layer.json, on the disk before it is seen: a power cut must not leave an empty one."""
    aside = layer.folder / f".{RECORD}.new"
    with open(aside, "wb") as file:
        file.write(layer.record.model_dump_json(indent=1).encode() + b"\n")
        file.flush()
        os.fsync(file.fileno())
    os.rename(aside, layer.folder / RECORD)


def remove_tree(folder: Path) -> None:
    """Delete a folder, whatever lies in it, but nothing that is mounted there. Raises OSError."""
    try:
        run_here(["rm", "--recursive", "--force", "--one-file-system", "--", str(folder)])
    except CommandFailed as failed:
        raise OSError(errno.EIO, failed.output.strip()[-200:], str(folder)) from None


def _aside_name(machines: Path) -> Path:
    # Not made before it is needed: sweep() deletes what has such a name at any time.
    return machines / f"{_GOING}{secrets.token_hex(8)}"


def _folders(folder: Path, depth: int) -> Iterator[PurePosixPath]:
    """Go through the folders of a depth below one; links are none, dots hide what is under way."""
    if depth == 0:
        yield PurePosixPath()
        return
    # A volume of another making has no boot/machines yet; a layer may go meanwhile.
    with suppress(FileNotFoundError, NotADirectoryError), os.scandir(folder) as entries:
        names = sorted(
            each.name
            for each in entries
            if not each.name.startswith(".") and each.is_dir(follow_symlinks=False)
        )
        for name in names:
            for below in _folders(folder / name, depth - 1):
                yield PurePosixPath(name) / below
