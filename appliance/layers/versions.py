"""The versions of roots that layers can be made over, and why they cannot be over others."""

from __future__ import annotations

from collections.abc import Collection

from appliance.bounded import some
from appliance.catalog.model import PublishedRoot
from appliance.layers.holdings import why
from appliance.layers.storage import Storage

Name = tuple[str, str]  # of a version: its root's name, its ID


class Versions:
    """Has the trees of versions where layers need them; what is told can be asked at any time."""

    def __init__(self, storage: Storage) -> None:
        self._storage = storage
        # Replaced, never changed: somebody may be reading them.
        self._ready: frozenset[Name] = frozenset()
        self._refused: dict[Name, str] = {}
        self._untidy: tuple[str, ...] = ()

    def is_ready(self, root: PublishedRoot) -> bool:
        """Tell whether layers can be made over a root's version."""
        return (root.name, root.id) in self._ready

    @property
    def refused(self) -> frozenset[Name]:
        """Return the versions that no layer can be made over for now."""
        return frozenset(self._refused)

    @property
    def notices(self) -> tuple[str, ...]:
        """Return why, a line for each reason, and why trees that nobody needs are still there."""
        names: dict[str, list[str]] = {}
        for (name, _), reason in self._refused.items():
            names.setdefault(reason, []).append(name)
        return self._untidy + tuple(
            f"root{'s' if len(roots) > 1 else ''} {some(roots)}: not served by NFS: {reason}"
            for reason, roots in names.items()
        )

    def prepare(self, root: PublishedRoot) -> bool:
        """Do what is done once for a version, as long as that takes; tell whether it was done."""
        name = (root.name, root.id)
        if name in self._ready:
            return False
        refused = {each: reason for each, reason in self._refused.items() if each != name}
        try:
            self._storage.prepare(*name)
            self._ready |= {name}
        except OSError as error:
            refused[name] = why(error)
        self._refused = refused
        return name in self._ready

    def keep(self, needed: Collection[Name]) -> bool:
        """Delete the trees of all others; tell whether there were any."""
        try:
            found = self._storage.keep(needed)
        except OSError as error:
            self._untidy = (f"{self._storage.name}: not tidied up: {why(error)}",)
            return False
        self._untidy = ()
        return found

    def forget(self, wanted: Collection[Name]) -> None:
        """Remember nothing of versions but those that are wanted."""
        self._ready &= frozenset(wanted)
        self._refused = {each: why for each, why in self._refused.items() if each in wanted}
