from __future__ import annotations

import itertools
import shutil
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath
from typing import Literal

import pytest

from appliance.daemons import ALL
from appliance.daemons.base import ASKING_MAC, PROBE_MAC, Daemon
from appliance.daemons.dhcpd import hear_answer
from appliance.daemons.rarpd import listens
from appliance.events.hub import Event
from appliance.hosts import Host
from appliance.neopxe import packet
from appliance.neopxe.packet import Op, Packet
from appliance.nfs.export import NfsService
from appliance.settings import Settings
from appliance.situation import Situation
from tests.golden.cases import rendered
from tests.unit.builders import a_network, a_situation, an_export

BY_NAME = {daemon.name: daemon for daemon in ALL}


def idle(situation: Situation) -> dict[str, str]:
    reasons = {daemon.name: daemon.idle(situation) for daemon in ALL}
    return {name: reason for name, reason in reasons.items() if reason is not None}


ETHERS = PurePosixPath("etc/ethers")
HOSTS = (Host("52:54:00:12:34:56", IPv4Address("192.168.10.5")),)


SERVERS: tuple[Literal["kernel", "ganesha"], ...] = ("kernel", "ganesha")


def test_every_daemon_runs_on_a_boot_network() -> None:
    situation = a_situation(Settings(interface="eth1", rarp_hosts=HOSTS))
    idle_beside = {
        server: set(idle(replace(situation, nfs=NfsService(server, exports=(an_export(),)))))
        for server in SERVERS
    }
    assert idle_beside == {"kernel": {"ganesha"}, "ganesha": {"nfsd", "mountd", "nfsdcld"}}


def test_rarp_is_answered_only_where_machines_are_named() -> None:
    assert idle(a_situation())["rarpd"] == "BOOTDROP_RARP_HOSTS is not set"


def test_without_a_network_only_http_runs() -> None:
    situation = replace(a_situation(), network=None)
    others = {daemon.name for daemon in ALL} - {"nginx"}
    assert set(idle(situation)) == others


SOCKETS = """\
sk               RefCnt Type Proto  Iface R Rmem   User   Inode
0000000092d943f1 3      3    0800   2     1 0      0      1314426
0000000092d943f2 3      2    8035   {index}     1 0      0      1314427
"""


@pytest.mark.parametrize(("index", "hears"), [(2, True), (3, False), (-1, False)])
def test_rarpd_is_deaf_on_an_interface_that_was_made_anew(index: int, hears: bool) -> None:
    assert listens(SOCKETS.format(index=index), a_network()) is hears


def test_rarpd_starts_anew_for_an_interface_that_was_made_anew() -> None:
    before = a_situation(Settings(interface="eth1", rarp_hosts=HOSTS))
    after = replace(before, network=replace(a_network(), index=3))
    assert rendered(before)[ETHERS] != rendered(after)[ETHERS]


@pytest.mark.parametrize(
    ("situation", "reason"),
    [
        (a_situation(Settings(interface="eth1", radvd="off")), "BOOTDROP_RADVD=off"),
        (replace(a_situation(), other_router="fe80::1"), "another router advertises: fe80::1"),
        (
            replace(a_situation(), network=replace(a_network(), link_local=False)),
            "eth1 has no IPv6 link-local address",
        ),
    ],
)
def test_radvd_is_silent_where_it_would_be_out_of_place(situation: Situation, reason: str) -> None:
    assert idle(situation)["radvd"] == reason


@pytest.mark.parametrize(
    ("daemon", "line", "kind", "client"),
    [
        (
            "dhcpd",
            "DHCPACK on 192.168.10.10 to 52:54:00:12:34:56 via br0",
            "dhcp",
            "52:54:00:12:34:56",
        ),
        (
            "dhcpd",
            "DHCPDISCOVER from 52:54:00:12:34:56 via br0: no free leases",
            "dhcp",
            "52:54:00:12:34:56",
        ),
        (
            "dhcpd",
            "BOOTREPLY on 192.168.10.10 to 52:54:00:12:34:56 via br0",
            "dhcp",
            "52:54:00:12:34:56",
        ),
        ("rarpd", "RARP request from 52:54:00:12:34:56 on br0", "dhcp", "52:54:00:12:34:56"),
        ("rarpd", "not found in /etc/ethers", "log", ""),
        ("dhcpd", "Listening on LPF/br0/36:00/192.168.10.0/24", "log", ""),
        ("tftpd", "RRQ from 192.168.10.10 filename snponly.efi", "tftp", "192.168.10.10"),
        ("tftpd", "sending NAK (1, File not found) to 192.168.10.10", "tftp", "192.168.10.10"),
        ("tftpd", "tftp: client does not accept options", "log", ""),
        (
            "nginx",
            "192.168.10.10 GET 200 2917376 0.012 /kernels/a/b/kernel",
            "http",
            "192.168.10.10",
        ),
        ("nginx", "2026/11/24 04:00:00 [emerg] 1#1: bind() failed", "log", ""),
        (
            "neopxe",
            "answer client=52:54:00:12:34:56 address=192.168.10.10 arch=bios item=1 file=a",
            "pxe",
            "52:54:00:12:34:56",
        ),
        ("neopxe", "ready 192.168.10.1:4011", "log", ""),
    ],
)
def test_a_daemons_line_tells_what_happened_to_which_machine(
    daemon: str, line: str, kind: str, client: str
) -> None:
    event = BY_NAME[daemon].event(line)
    assert (event.daemon, event.text, event.kind, event.client) == (daemon, line, kind, client)


def test_rarpds_name_and_process_do_not_stand_before_its_line() -> None:
    line = "rarpd[17]: RARP response to 52:54:00:12:34:56 192.168.10.5 on br0"
    event = BY_NAME["rarpd"].event(line)
    assert event.text == "RARP response to 52:54:00:12:34:56 192.168.10.5 on br0"
    assert (event.kind, event.client) == ("dhcp", "52:54:00:12:34:56")


@pytest.mark.parametrize("daemon", ALL, ids=lambda daemon: daemon.name)
def test_a_line_cannot_reach_the_terminal_with_control_characters(daemon: Daemon) -> None:
    event: Event = daemon.event("RRQ from 192.168.10.10 filename \x1b[2Ja\tb")
    assert event.text == "RRQ from 192.168.10.10 filename \\x1b[2Ja\\tb"


def test_tftpd_refuses_blksize_as_the_article_does() -> None:
    settings = Settings(interface="eth1", tftp_refuse_blksize=True)
    argv = BY_NAME["tftpd"].program(a_situation(settings)).argv
    assert argv[argv.index("-r") :][:2] == ("-r", "blksize")


def test_dhcpd_gives_no_addresses_beside_another_server_unless_it_is_forced_to() -> None:
    beside = replace(a_situation(), other_dhcp_servers=(IPv4Address("192.168.10.254"),))
    assert idle(beside)["dhcpd"] == "192.168.10.254 gives addresses here"
    forced = replace(beside, settings=Settings(interface="eth1", dhcp="force"))
    assert "dhcpd" not in idle(forced)
    off = replace(a_situation(), settings=Settings(interface="eth1", dhcp="off"))
    assert idle(off)["dhcpd"] == "BOOTDROP_DHCP=off"


def test_what_others_do_is_listened_for_before_dhcpd_and_radvd_start() -> None:
    unknown = replace(a_situation(), other_router=None, other_dhcp_servers=None)
    waiting = {daemon.name: daemon.waits(unknown) for daemon in ALL if daemon.waits(unknown)}
    assert waiting == {
        "radvd": "listening for other routers first",
        "dhcpd": "listening for other DHCP servers first",
    }
    assert not any(daemon.waits(a_situation()) for daemon in ALL)


def test_a_stage_that_dhcpd_logs_names_the_machine_with_all_its_zeros() -> None:
    event = BY_NAME["dhcpd"].event("stage=firmware mac=2:0:a:12:34:56 bus-id=none")
    assert (event.kind, event.client, event.card) == ("dhcp", "02:00:0a:12:34:56", "")
    assert event.text == "stage=firmware mac=02:00:0a:12:34:56"


@pytest.mark.parametrize(
    ("bus_id", "card"),
    [
        ("1:1a:f4:10:0", "1af4:1000"),
        ("1:80:86:15:f3", "8086:15f3"),
        ("2:80:86:15:f3", ""),
        ("1:80:86", ""),
        ("", ""),
        ("none", ""),
    ],
)
def test_ipxes_card_is_in_the_event(bus_id: str, card: str) -> None:
    event = BY_NAME["dhcpd"].event(f"stage=ipxe mac=52:54:0:12:34:56 bus-id={bus_id}")
    text = "stage=ipxe mac=52:54:00:12:34:56" + f" card={card}" * bool(card)
    assert (event.text, event.client, event.card) == (text, "52:54:00:12:34:56", card)


@pytest.mark.parametrize(
    "line",
    [
        "stage=ipxe mac=52:54:0:12:34:56 bus-id=1:80:86:15:f3 more",
        "stage=ipxe mac=52:54:0:12:34:56 bus-id=1:80:86:15:f3:0",
        "stage=ipxe mac=52:54:0:12:34:56 bus-id=1:80:86:15:zz",
        "DHCPACK stage=ipxe mac=52:54:0:12:34:56 bus-id=1:80:86:15:f3",
    ],
)
def test_no_other_line_tells_of_a_card(line: str) -> None:
    assert BY_NAME["dhcpd"].event(line).card == ""


XID = 0x12345678


@contextmanager
def a_relay(*heard: bytes) -> Iterator[socket.socket]:
    """Open the socket of a DHCP probe; whoever is on the network sends these to it, over and over.

    At most 20 s, so that a probe without an end fails.
    """
    with (
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as relay,
        socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as others,
    ):
        relay.bind(("127.0.0.1", 0))
        address = relay.getsockname()
        enough = threading.Event()

        def send() -> None:
            for payload in itertools.cycle(heard):
                others.sendto(payload, address)
                if enough.wait(0.01) or time.monotonic() > end:
                    return

        end = time.monotonic() + 20
        sending = threading.Thread(target=send)
        sending.start()
        try:
            yield relay
        finally:
            enough.set()
            sending.join()


def an_answer(xid: int) -> bytes:
    return packet.build(Packet(op=Op.REPLY, xid=xid, chaddr=b"\2\0\0\0\0\1"))


def test_a_dhcp_probe_passes_over_what_others_send_to_its_port() -> None:
    with a_relay(b"", b"\xff" * 300, an_answer(XID + 1), an_answer(XID)) as relay:
        hear_answer(relay, XID)


@pytest.mark.parametrize("heard", [b"no DHCP", an_answer(XID + 1)])
def test_a_dhcp_probe_ends_in_time_however_much_others_send_to_its_port(heard: bytes) -> None:
    start = time.monotonic()
    with a_relay(heard) as relay, pytest.raises(TimeoutError):
        hear_answer(relay, XID, patience=0.2)
    assert time.monotonic() - start < 5


def test_no_machine_whose_address_was_made_up_by_hand_is_taken_for_a_probe() -> None:
    assert not {PROBE_MAC, ASKING_MAC} & {f"02:00:00:00:00:{last:02x}" for last in range(256)}


def test_a_link_that_dhcpd_left_for_its_leases_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(shutil, "chown", lambda *_: None)  # there is no such user here
    situation = replace(a_situation(), paths=replace(a_situation().paths, state=tmp_path))
    leases = situation.paths.leases
    leases.parent.mkdir()
    leases.symlink_to(tmp_path / "another's")
    with pytest.raises(OSError, match="Too many levels of symbolic links"):
        BY_NAME["dhcpd"].prepare(situation)
    assert not (tmp_path / "another's").exists()


def test_leases_outlive_a_new_start(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "chown", lambda *_: None)  # there is no such user here
    situation = replace(a_situation(), paths=replace(a_situation().paths, state=tmp_path))
    BY_NAME["dhcpd"].prepare(situation)
    situation.paths.leases.write_text("lease 192.168.10.10 {}")
    BY_NAME["dhcpd"].prepare(situation)
    assert situation.paths.leases.read_text() == "lease 192.168.10.10 {}"
