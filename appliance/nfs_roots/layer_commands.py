"""Does what people ask for with machines' layers, in the words of layers/commands.py."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from appliance.bounded import some
from appliance.layers.commands import CannotDo
from appliance.layers.layer import Layer
from appliance.layers.layers import Layers
from appliance.nfs.export import EVERYBODY

_MOST_NAMED = 20  # layers in an answer


class Commands:
    """Changes layers one at a time; `changed` is called after each."""

    def __init__(self, layers: Layers, changed: Callable[[], None]) -> None:
        self._layers, self._changed = layers, changed

    async def reset(self, mac: str, root: str | None, force: bool) -> str:
        """Give a machine a fresh layer; one that is mounted only with `force`."""
        name = self._root(mac, root)
        await self._do(self._layers.reset, mac, name, force)
        return f"{mac}: it gets a fresh layer of the root {name}"

    async def keep(self, mac: str, root: str | None) -> str:
        """Leave a machine on the version that it has."""
        name = self._root_of_machine(mac, root)
        await self._do(self._layers.keep, mac, name, True)
        return f"{mac}: it stays on its version of the root {name} until it is told to follow"

    async def follow(self, mac: str, root: str | None) -> str:
        """Give a machine the newest version at its next boot, as is the rule."""
        name = self._root_of_machine(mac, root)
        await self._do(self._layers.keep, mac, name, False)
        return f"{mac}: it gets the newest version of the root {name} at its next start"

    async def forget(self, mac: str, root: str | None, force: bool) -> str:
        """Delete a machine's layers of a root, or of all; mounted ones only with `force`."""
        names = [root] if root else self._roots_of(mac)
        deleted: list[str] = []
        for name in names:
            try:
                await self._do(self._layers.forget, mac, name, force)
            except CannotDo as reason:
                if not deleted:
                    raise
                done = ", ".join(deleted)
                raise CannotDo(f"{reason}; what it wrote to {done} is deleted") from None
            deleted.append(name)
        return f"{mac}: what it wrote to {', '.join(deleted)} is deleted"

    async def forget_old(self, mac: str | None, root: str | None, force: bool) -> str:
        """Delete layers of versions that nobody will boot again; mounted ones only with `force`."""
        gone, stay = await asyncio.to_thread(self._layers.forget_old, mac, root, force)
        if not gone and not stay:
            of = " ".join(filter(None, ("of", mac, root))) if mac or root else "there"
            return f"no layer of an old version is {of}"
        self._changed()
        said = f"deleted: {_named(gone)}"
        if stay:
            raise CannotDo(
                f"{said}; machines run from: {_named(stay)}: shut them down, or say --force"
            )
        return said

    async def _do(self, command: Callable[..., None], *arguments: object) -> None:
        await asyncio.to_thread(command, *arguments)
        self._changed()

    def _root(self, mac: str, root: str | None) -> str:
        if root is not None:
            return root
        names = self._roots_of(mac)
        if len(names) > 1:
            raise CannotDo(f"{mac}: it has layers of {', '.join(names)}: say which")
        return names[0]

    def _root_of_machine(self, mac: str, root: str | None) -> str:
        if mac in EVERYBODY.values():
            raise CannotDo(f"{mac}: only a machine of its own can stay on a version")
        return self._root(mac, root)

    def _roots_of(self, mac: str) -> list[str]:
        layers = self._layers.layers()
        names = sorted({each.record.root for each in layers if each.who == mac})
        if not names:
            known = ", ".join(sorted({each.who for each in layers})) or "none"
            raise CannotDo(f"{mac}: it has no layer; those that have one: {known}")
        return names


def _named(layers: list[Layer]) -> str:
    return some(list(map(str, layers)), _MOST_NAMED, "; ") or "none"
