import asyncio
from ipaddress import IPv4Address

import pytest

from appliance import neighbours
from appliance.alarm import Alarm
from appliance.neighbours import Neighbours
from appliance.settings import Settings
from tests.unit.builders import a_network


def rings(*seconds: float) -> int:
    """Ask for an alarm within each of these times, and count how often it rings."""

    async def ask() -> int:
        rung: list[None] = []
        alarm = Alarm(lambda: rung.append(None))
        for each in seconds:
            alarm.within(each)
        await asyncio.sleep(0.1)
        return len(rung)

    return asyncio.run(ask())


def test_many_who_ask_are_told_once() -> None:
    assert rings(0.02, 0.03, 0.01) == 1


def test_the_shortest_time_counts() -> None:
    assert rings(60, 0.01) == 1


def test_an_alarm_that_rang_can_be_asked_for_again() -> None:
    async def ask() -> list[str]:
        rung: list[str] = []
        alarm = Alarm(lambda: rung.append("rung"))
        for _ in range(2):
            alarm.within(0.01)
            await asyncio.sleep(0.03)
        return rung

    assert asyncio.run(ask()) == ["rung", "rung"]


def test_an_alarm_that_was_cancelled_can_be_asked_for_again() -> None:
    async def ask() -> list[str]:
        rung: list[str] = []
        alarm = Alarm(lambda: rung.append("rung"))
        alarm.within(0.01)
        alarm.cancel()
        alarm.within(0.02)
        await asyncio.sleep(0.05)
        return rung

    assert asyncio.run(ask()) == ["rung"]


def test_looks_at_an_interface_that_cannot_be_listened_on_do_not_add_up(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(neighbours, "_ANOTHER_TRY", 0.02)

    async def look() -> int:
        tries: list[tuple[IPv4Address, ...] | None] = []
        gone = a_network("nosuch0")

        def again() -> None:
            tries.append(listening.other_dhcp_servers(gone))

        listening = Neighbours(Settings(interface="nosuch0"), lambda *_: None, again)
        for _ in range(20):  # as many changes of other links
            again()
            await asyncio.sleep(0.001)
        tries.clear()
        await asyncio.sleep(0.1)
        return len(tries)

    assert asyncio.run(look()) <= 6
