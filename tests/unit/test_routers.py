from __future__ import annotations

import asyncio

from appliance.routers import RouterWatch


class Heard(RouterWatch):
    """What is heard comes from a test, not from a raw socket, which only root may open."""

    def __init__(self) -> None:
        self.other_router = None
        self.changes: list[str | None] = []
        self._changed = lambda: self.changes.append(self.other_router)
        self._forget = asyncio.get_running_loop().call_later(60, self._set, "")

    def hear(self, *addresses: str) -> list[str | None]:
        for address in addresses:
            self._take(address)
        return self.changes


def changes(*addresses: str) -> list[str | None]:
    async def hear() -> list[str | None]:
        return Heard().hear(*addresses)

    return asyncio.run(hear())


def test_routers_that_take_turns_are_told_once() -> None:
    assert changes("fe80::1", "fe80::2", "fe80::1", "fe80::2") == ["fe80::1"]
