"""The .config of published kernels: found beside them or inside, and kept with each version."""

from __future__ import annotations

import hashlib
import logging
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path, PurePosixPath
from weakref import WeakValueDictionary

from appliance.catalog import ikconfig
from appliance.catalog.model import KernelConfig
from appliance.catalog.openat import Fingerprint, NotReadable, open_inside
from appliance.catalog.pairing import Role
from appliance.files import read_file

_LOG = logging.getLogger(__name__)

MAKING = ".new-"  # folders of this prefix are half made, or half deleted
_CONFIG = "config"  # "": it was looked for, and there is none


def write_text(path: Path, text: str, folder: Path) -> None:
    """Write a file by rename, made in `folder`, where nobody takes it for whole; raises OSError."""
    with tempfile.TemporaryDirectory(prefix=MAKING, dir=folder) as making:
        new = Path(making, path.name)
        new.write_text(text, encoding="utf-8")
        os.chmod(new, 0o644)
        os.replace(new, path)


class Configurations:
    """What is known of kernels' configurations, by each version's folder: its key, "SAFE/ID".

    `root` is published/kernels/, `kernels` the drop folder. read may run in a thread of its own.
    """

    def __init__(self, root: Path, kernels: Path) -> None:
        self._root = root
        self._kernels = kernels
        self._known: dict[str, KernelConfig] = {}
        self._distinct: WeakValueDictionary[bytes, KernelConfig] = WeakValueDictionary()
        # The file that was read for each version, and what it was like.
        self._taken: dict[str, tuple[PurePosixPath, Fingerprint]] = {}
        self._unkept: set[str] = set()  # for which the volume has no room

    def known(self, key: str) -> KernelConfig | None:
        """Return a version's configuration, None where none was found, or not yet."""
        if key not in self._known:
            text = self._text(key)
            if not text:
                return None
            self._known[key] = self._parsed(text)
        return self._known[key]

    def is_awaited(self, key: str, beside: PurePosixPath | None) -> bool:
        """Tell whether nothing is known of a version yet, as it is still to be looked at.

        `beside` is the file in the drop folder that has its configuration, if there is one.
        """
        if key in self._unkept or self.known(key) is not None:
            return False
        was_sought = (self._root / key / _CONFIG).exists()
        return not was_sought or (beside is not None and key not in self._taken)

    def forget(self, key: str) -> None:
        """Forget a version that is gone."""
        self._known.pop(key, None)
        self._taken.pop(key, None)
        self._unkept.discard(key)

    def pass_over(self, wanted: Mapping[str, PurePosixPath | None]) -> bool:
        """Await nothing that the volume cannot keep; True when there is more to say of any.

        It may have no room for weeks, and what is not known keeps no kernel from booting.
        """
        awaited = {key for key, beside in wanted.items() if self.is_awaited(key, beside)}
        self._unkept |= awaited
        return bool(awaited)

    def read(self, wanted: Mapping[str, PurePosixPath | None], ids: Mapping[str, str]) -> bool:
        """Find the .config of versions without one; True when there is more to say of any.

        `wanted` has the file beside each, `ids` what all versions are by their contents. The config
        that lies beside the kernel comes first, then the one inside it, which takes some tenths of
        a second for each kernel. Kept with the version, so it is done once.
        """
        found = False
        for key, beside in wanted.items():
            path = self._root / key / _CONFIG
            was_awaited, text = self.is_awaited(key, beside), None
            try:
                if beside is None and path.exists():
                    continue
                text = self._find(key, beside, ids)
                if text is not None:
                    write_text(path, text, self._root)
                    self._known.pop(key, None)
                self._unkept.discard(key)
            except (FileNotFoundError, NotReadable):
                continue  # the version was retired, or its config changes: another time
            except OSError as error:
                self._taken.pop(key, None)
                self._unkept.add(key)
                text = None
                _LOG.warning("%s cannot be written: %s", path, error)
            found = found or bool(text) or (was_awaited and not self.is_awaited(key, beside))
        return found

    def _find(self, key: str, beside: PurePosixPath | None, ids: Mapping[str, str]) -> str | None:
        """Return the text of a kernel's .config, "" where it has none; None where it is known.

        One that came later than its kernel takes the place of what was found inside that.
        """
        if beside is not None:
            with open_inside(self._kernels, beside) as fd:
                taken = beside, Fingerprint.of(os.fstat(fd))
                if self._taken.get(key) == taken:
                    return None
                self._taken[key] = taken
                text = os.pread(fd, ikconfig.LONGEST_TEXT, 0).decode("utf-8", "replace")
                kept = read_file(self._root, PurePosixPath(key, _CONFIG))
                return None if kept == text.encode() else text
        for other, its_id in ids.items():
            # One that lay beside another name is not the kernel's own.
            if other != key and its_id == ids.get(key) and other not in self._taken:
                known = read_file(self._root, PurePosixPath(other, _CONFIG))
                if known is not None:
                    return known.decode("utf-8", "replace")
        with (
            open_inside(self._root, PurePosixPath(key, Role.KERNEL)) as fd,
            open(fd, "rb", closefd=False) as stream,
        ):
            return ikconfig.extract(stream) or ""

    def _text(self, key: str) -> str:
        """Return what is kept; "" where there is none, or a link in its place."""
        return (read_file(self._root, PurePosixPath(key, _CONFIG)) or b"").decode(
            "utf-8", "replace"
        )

    def _parsed(self, text: str) -> KernelConfig:
        """Read a .config; that of many kernels is the same, and takes a megabyte of memory."""
        digest = hashlib.sha256(text.encode()).digest()
        config = self._distinct.get(digest)
        if config is None:
            config = self._distinct[digest] = ikconfig.parse_config(text)
        return config
