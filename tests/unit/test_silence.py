from __future__ import annotations

import asyncio

import pytest

from appliance import silence
from appliance.events.hub import Event
from appliance.silence import SilenceWatch

MAC, ADDRESS = "52:54:00:12:34:56", "192.168.10.10"
ACK = Event("dhcpd", f"DHCPACK on {ADDRESS} to {MAC} via br0", "dhcp", MAC)
FIRMWARE = Event("dhcpd", f"stage=firmware mac={MAC}", "dhcp", MAC)
TOLD_LOADER = Event("dhcpd", f"stage=loader mac={MAC}", "dhcp", MAC)
IPXE = Event("dhcpd", f"stage=ipxe mac={MAC}", "dhcp", MAC)
ANSWER = Event("neopxe", f"answer client={MAC} arch=bios item=1 file=a", "pxe", MAC)
LOADER = Event("tftpd", f"RRQ from {ADDRESS} filename snponly.efi", "tftp", ADDRESS)
SCRIPT_BY_TFTP = Event("tftpd", f"RRQ from {ADDRESS} filename autoexec.ipxe", "tftp", ADDRESS)
SCRIPT = Event("nginx", f"{ADDRESS} GET 200 10 0.001 /boot.ipxe", "http", ADDRESS)


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "_PATIENCE", 0.01)


def said_after(*events: Event) -> str | None:
    """Return what is said once a machine did these things and then fell silent."""

    async def test() -> str | None:
        said: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        watch = SilenceWatch(8069, said.set_result)
        for event in events:
            watch.hear(event)
        if not watch._waiting:
            return None
        return await said

    return asyncio.run(test())


@pytest.mark.parametrize(
    ("events", "port"),
    [
        ([FIRMWARE, ACK], "UDP port 4011 (boot server)"),
        ([FIRMWARE, ACK, ANSWER], "UDP port 69 (TFTP)"),
        ([FIRMWARE, ACK, ANSWER, LOADER, SCRIPT_BY_TFTP], "TCP port 8069 (HTTP)"),
        ([TOLD_LOADER, ACK], "UDP port 69 (TFTP)"),
        ([IPXE, ACK], "TCP port 8069 (HTTP)"),
    ],
    ids=["firmware", "answered firmware", "script by TFTP", "told its loader", "iPXE"],
)
def test_a_silent_machine_is_told_with_the_port_that_it_should_have_asked(
    events: list[Event], port: str
) -> None:
    said = said_after(*events)
    assert said is not None
    assert said.startswith(f"{MAC} ")
    assert port in said


@pytest.mark.parametrize(
    "events",
    [[ACK], [FIRMWARE], [IPXE, ACK, SCRIPT], [FIRMWARE, ACK, ANSWER, LOADER], [FIRMWARE, IPXE]],
    ids=["a kernel's own lease", "no address yet", "script loaded", "loader loaded", "asks again"],
)
def test_nothing_is_said_of_a_machine_from_which_nothing_more_has_to_come(
    events: list[Event],
) -> None:
    assert said_after(*events) is None


def test_a_machine_that_is_heard_again_is_not_silent_any_more() -> None:
    async def test() -> tuple[tuple[str, ...], tuple[str, ...]]:
        changed = asyncio.Event()
        watch = SilenceWatch(8069, lambda _: changed.set())
        watch.hear(IPXE)
        watch.hear(ACK)
        await changed.wait()
        silent = watch.notices
        watch.hear(SCRIPT)
        return silent, watch.notices

    silent, heard = asyncio.run(test())
    assert len(silent) == 1
    assert heard == ()


def test_machines_that_are_made_up_do_not_fill_the_memory() -> None:
    async def test() -> int:
        watch = SilenceWatch(8069, lambda _: None)
        for number in range(5000):
            mac = number.to_bytes(6, "big").hex(":")
            watch.hear(Event("dhcpd", f"stage=ipxe mac={mac}", "dhcp", mac))
            watch.hear(Event("dhcpd", f"DHCPACK on 10.0.0.1 to {mac} via br0", "dhcp", mac))
        return max(map(len, (watch._stages, watch._machines, watch._waiting, watch._silent)))

    assert asyncio.run(test()) <= 1024


def test_a_range_without_an_address_left_is_told_once_until_nobody_asks_in_vain(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(silence, "_USED_UP_FOR", 0.02)
    text = f"DHCPDISCOVER from {MAC} via br0: network 192.168.10.0/24: no free leases"

    async def test() -> tuple[list[str | None], tuple[str, ...], tuple[str, ...]]:
        told: list[str | None] = []
        over = asyncio.Event()

        def changed(said: str | None) -> None:
            told.append(said)
            if said is None:
                over.set()

        watch = SilenceWatch(8069, changed)
        for _ in range(3):
            watch.hear(Event("dhcpd", text, "dhcp", MAC))
        notices = watch.notices
        await over.wait()
        return told, notices, watch.notices

    told, notices, afterwards = asyncio.run(test())
    assert len(told) == 2
    assert "BOOTDROP_DHCP_RANGE" in str(told[0])
    assert notices == (told[0],)
    assert afterwards == ()
