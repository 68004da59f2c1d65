"""What the appliance does beside others on its network: another DHCP server, taken ports."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.daemons.squatters import beside, lab_exec
from tests.lab.feed import Event, Status
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

# At the far end of the bridge's cable, as br0 hears it: it gives addresses of our subnet.
RIVAL = """
ip address add 10.9.9.1/24 dev cable0
echo 'ping-check true; shared-network cable {
    server-identifier 192.168.10.254;
    subnet 10.9.9.0 netmask 255.255.255.0 {}
    subnet 192.168.10.0 netmask 255.255.255.0 { range 192.168.10.200 192.168.10.210; }
}' >/tmp/dhcpd.conf
touch /tmp/leases
exec dhcpd -4 -f -d --no-pid -cf /tmp/dhcpd.conf -lf /tmp/leases cable0
"""


def names_the_rival(status: Status) -> bool:
    return any(
        "another DHCP server, 192.168.10.254, answers on br0" in reason for reason in status.reasons
    )


def offers(lab: Lab, since: float) -> list[Event]:
    return [e for e in lab.events if e.time > since and e.text.startswith(("DHCPOFFER", "DHCPACK"))]


def test_a_dhcp_server_that_was_there_before_is_named_and_no_lease_of_ours_is_given(
    lab: Lab,
) -> None:
    lab.up({"BOOTDROP_INTERFACE": ""})
    with beside(lab, RIVAL):
        since = time.time()
        lab.restart()
        status = lab.wait_status(names_the_rival, 30, since)
        assert "BOOTDROP_DHCP=force" in "".join(status.reasons)
        with lab.machine("bios") as machine:
            machine.expect(r"Configuring \(net0 [^)]*\)\.* ok", 60)
        _, said = lab.exec_appliance(["bootdrop", "status"])
        assert "dhcpd    idle: 192.168.10.254 gives addresses here" in said
        assert offers(lab, since) == []
    gone = time.time()
    lab.wait_ready(60, since=gone)


def test_a_dhcp_server_that_comes_later_stops_ours_and_force_does_not_care(lab: Lab) -> None:
    lab.up()
    lab.wait_ready()
    with beside(lab, RIVAL):
        lab.wait_status(names_the_rival, 60)
        stopped = time.time()
        with lab.machine("bios") as machine:
            machine.expect(r"Configuring \(net0 [^)]*\)\.* ok", 60)
        assert offers(lab, stopped) == []
        forced = time.time()
        lab.restart({"BOOTDROP_DHCP": "force"})
        lab.wait_status(lambda status: "dhcpd" in status.serving, 30, forced)
        assert "machines may take its addresses" in "".join(
            lab.wait_status(names_the_rival, 30, forced).reasons
        )


@pytest.mark.parametrize(
    ("daemon", "port", "squatter"),
    [
        ("tftpd", "UDP port 69", "exec in.tftpd -L --address 192.168.10.1:69 -s /tmp"),
        ("nginx", "TCP port 8069", "exec python3 -m http.server 8069 --bind 192.168.10.1"),
        ("dhcpd", "UDP port 67", "exec in.tftpd -L --address 0.0.0.0:67 -s /tmp"),
    ],
    ids=["tftpd", "nginx", "dhcpd"],
)
def test_a_port_that_is_taken_is_told_and_taken_up_once_it_is_free(
    lab: Lab, daemon: str, port: str, squatter: str
) -> None:
    lab.up({"BOOTDROP_INTERFACE": ""})
    with beside(lab, squatter):
        since = time.time()
        lab.restart()
        status = lab.wait_status(says(f"{daemon}: {port} is taken by a process of user"), 30, since)
        assert len(status.reasons) == 1
    lab.wait_ready(30, since=time.time())


def says(text: str) -> Callable[[Status], bool]:
    return lambda status: any(text in reason for reason in status.reasons)


def test_a_machine_that_got_its_address_and_then_fell_silent_is_told_with_the_likely_cause(
    lab: Lab, test_kernel: Path
) -> None:
    lab.up()
    lab.drop(test_kernel, "bzImage")
    lab.wait_status(lambda status: "bzImage" in status.kernels, 10)
    lab.wait_ready()
    # No answer reaches the machine but dhcpd's frames, as with a firewall that drops all else.
    halves = ("192.168.10.0/25", "192.168.10.128/25")
    lab_exec(lab, "; ".join(f"ip route add blackhole {half}" for half in halves))
    with lab.machine("bios") as machine:
        told = lab.feed.wait_event(lambda event: "nothing came from it" in event.text, 90)
        assert told.text.startswith(machine.hardware.mac)
        assert "whether the host's firewall lets TCP port 8069 (HTTP) in" in told.text
        _, said = lab.exec_appliance(["bootdrop", "status"])
        assert told.text in said
