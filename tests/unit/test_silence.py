from __future__ import annotations

import asyncio
from dataclasses import replace

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
FILES = "kernels/bzImage/00112233445566aa"
KERNEL = Event("nginx", f"{ADDRESS} GET 200 9 0.1 /over-nfs/lab/{FILES}/kernel", "http", ADDRESS)
BY_TFTP = Event(
    "tftpd", f"RRQ from {ADDRESS} filename over-nfs/lab/{FILES}/kernel", "tftp", ADDRESS
)
INITRD = Event("nginx", f"{ADDRESS} GET 200 9 0.1 /{FILES}/initrd", "http", ADDRESS)
MOUNT = Event("nfs", f"{MAC} ({ADDRESS}) mounted /lab/1/52-54-00-12-34-56 by NFS 3", "nfs", MAC)
REFUSED = Event("nfs", f"{ADDRESS} asked for /x: refused: there is no such root", "nfs", ADDRESS)
GONE = Event("nfs", f"{MAC} ({ADDRESS}) is gone: /lab/1/rw; read 1 bytes, wrote 1", "nfs", MAC)
IPXE_CAME = (IPXE, ACK, SCRIPT)


@pytest.fixture(autouse=True)
def no_patience(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(silence, "_PATIENCE", 0.01)
    monkeypatch.setattr(silence, "_PATIENCE_WITH_KERNELS", 0.02)


def said_after(*events: Event, has_mounted: bool = False) -> str | None:
    """Return what is said once a machine did these things and then fell silent."""

    async def test() -> str | None:
        said: asyncio.Future[str | None] = asyncio.get_running_loop().create_future()
        watch = SilenceWatch(8069, said.set_result, lambda _: has_mounted)
        for event in events:
            watch.hear(event)
        while watch._waiting and not said.done():
            await asyncio.sleep(0)
        return said.result() if said.done() else None

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
        watch = SilenceWatch(8069, lambda _: changed.set(), lambda _: False)
        watch.hear(IPXE)
        watch.hear(ACK)
        await changed.wait()
        silent = watch.notices
        watch.hear(SCRIPT)
        return silent, watch.notices

    silent, heard = asyncio.run(test())
    assert len(silent) == 1
    assert heard == ()


FIREWALL, NO_ADDRESS = "lets TCP port 2049 (NFS) in", "which asked for no address in"


@pytest.mark.parametrize(
    ("events", "cause"),
    [
        ((*IPXE_CAME, KERNEL), NO_ADDRESS),
        ((*IPXE_CAME, KERNEL, INITRD), NO_ADDRESS),
        ((*IPXE_CAME, BY_TFTP), NO_ADDRESS),
        ((*IPXE_CAME, KERNEL, GONE), NO_ADDRESS),
        ((*IPXE_CAME, KERNEL, ACK), FIREWALL),
        ((*IPXE_CAME, KERNEL, INITRD, ACK), FIREWALL),
        ((KERNEL,), FIREWALL),
    ],
    ids=[
        *("kernel", "initrd too", "by TFTP", "gone before", "address", "address by an initrd"),
        "another DHCP server",
    ],
)
def test_a_machine_that_never_mounts_its_root_is_told_with_the_likely_cause(
    events: tuple[Event, ...], cause: str
) -> None:
    said = said_after(*events)
    assert said is not None
    assert said.startswith(MAC if events[0] is IPXE else ADDRESS)
    assert cause in said
    assert said_after(*events, has_mounted=True) is None


@pytest.mark.parametrize("then", [MOUNT, REFUSED, SCRIPT, IPXE], ids=lambda event: event.text[:20])
def test_nothing_is_said_of_a_machine_that_asked_for_its_root_or_began_anew(then: Event) -> None:
    assert said_after(*IPXE_CAME, KERNEL, ACK, then) is None


def test_a_machine_that_mounts_late_or_begins_anew_is_not_silent_any_more() -> None:
    async def test(then: Event) -> tuple[int, int]:
        changed = asyncio.Event()
        watch = SilenceWatch(8069, lambda _: changed.set(), lambda _: False)
        for event in (*IPXE_CAME, KERNEL):
            watch.hear(event)
        await changed.wait()
        silent = len(watch.notices)
        watch.hear(then)
        return silent, len(watch.notices)

    for then in (MOUNT, FIRMWARE):
        assert asyncio.run(test(then)) == (1, 0)


def test_machines_that_are_made_up_do_not_fill_the_memory() -> None:
    async def test() -> int:
        watch = SilenceWatch(8069, lambda _: None, lambda _: False)
        for number in range(5000):
            mac = number.to_bytes(6, "big").hex(":")
            watch.hear(Event("dhcpd", f"stage=ipxe mac={mac}", "dhcp", mac))
            watch.hear(Event("dhcpd", f"DHCPACK on 10.0.0.1 to {mac} via br0", "dhcp", mac))
            watch.hear(replace(KERNEL, client=f"10.1.{number // 256}.{number % 256}"))
        tables = (watch._stages, watch._machines, watch._waiting, watch._silent, watch._mounting)
        return max(map(len, tables))

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

        watch = SilenceWatch(8069, changed, lambda _: False)
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
