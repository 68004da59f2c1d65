"""The network cards of machines that boot are seen, and named where a kernel cannot drive them."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.lab.feed import Event
from tests.lab.lab import Lab
from tests.lab.machine import Hardware, Nic

pytestmark = pytest.mark.lab

BOOT = 60  # seconds
NEWCOMER = "52:54:00:00:0c:03"
# As a user has it who built a kernel for a machine with another card.
CONFIG = "".join(
    f"CONFIG_{option}=y\n"
    for option in (
        *("PCI", "NET", "INET", "IP_PNP", "IP_PNP_DHCP", "NFS_FS", "NFS_V3", "ROOT_NFS"),
        *("DEVTMPFS", "DEVTMPFS_MOUNT", "NETDEVICES", "ETHERNET", "NET_VENDOR_INTEL", "E1000"),
    )
)


def boot_until_seen(lab: Lab, nic: Nic, card: str, mac: str = "52:54:00:00:0c:01") -> Event:
    """Switch a machine on until dhcpd heard which card it has."""
    with lab.machine(Hardware("bios", nic, mac)) as machine:
        return lab.feed.wait_event(
            lambda event: (
                event.text == f"stage=ipxe mac={mac} card={card}"
                and event.time > machine.powered_on
            ),
            BOOT,
        )


@pytest.mark.parametrize(("nic", "card"), [("virtio-net-pci", "1af4:1000"), ("e1000", "8086:100e")])
def test_the_card_of_a_machine_that_boots_is_named(empty_lab: Lab, nic: Nic, card: str) -> None:
    assert boot_until_seen(empty_lab, nic, card).card == card


def test_a_card_without_a_driver_is_said_and_still_known_after_a_restart(
    empty_lab: Lab, drop: Callable[..., None], test_kernel: Path, tmp_path: Path
) -> None:
    (tmp_path / "config").write_text(CONFIG)
    empty_lab.drop(tmp_path / "config", "old.config")
    drop(test_kernel, "old")
    seen = boot_until_seen(empty_lab, "virtio-net-pci", "1af4:1000", NEWCOMER)
    sentence = (
        f"no driver built in for 1af4:1000 (seen at {NEWCOMER}): "
        "CONFIG_VIRTIO_PCI=y CONFIG_VIRTIO_NET=y"
    )
    wanted = {
        "works": True,
        "initrd": [],
        "lacking": [],
        "advised": [],
        "cards": [sentence],
        "command": "scripts/config -e NET_CORE -e VIRTIO_MENU -e VIRTIO_PCI -e VIRTIO_NET"
        " && make olddefconfig",
    }
    # A second later it is written down.
    empty_lab.wait_status(lambda status: status.nfs["old"] == wanted, 20, since=seen.time + 1)
    _, said = empty_lab.exec_appliance(["bootdrop", "kernels"])
    assert said.splitlines()[-3:] == [
        "  old: yes",
        f"    {sentence}",
        f"    {wanted['command']}",
    ]
    restarted = time.time()
    empty_lab.kill_appliance()
    empty_lab.wait_status(lambda status: status.nfs.get("old") == wanted, 30, since=restarted)


def test_a_kernel_that_cannot_boot_over_nfs_is_told_by_its_own_configuration(
    empty_lab: Lab, drop: Callable[..., None], test_kernel_dir: Path
) -> None:
    drop(next(test_kernel_dir.glob("bzImage-*-noroot")), "noroot")
    # What is inside a kernel is read after it is in the menu.
    status = empty_lab.wait_status(lambda status: status.nfs["noroot"]["works"] is False, 20)
    nfs = status.nfs["noroot"]
    assert nfs["lacking"][-1] == "CONFIG_ROOT_NFS=y"
    assert "-e ROOT_NFS" in nfs["command"]


def test_a_kernel_with_everything_raises_no_alarm(
    empty_lab: Lab, drop: Callable[..., None], test_kernel: Path
) -> None:
    boot_until_seen(empty_lab, "virtio-net-pci", "1af4:1000")
    boot_until_seen(empty_lab, "e1000", "8086:100e")
    drop(test_kernel, "bzImage")
    status = empty_lab.wait_status(lambda status: status.nfs["bzImage"]["works"] is True, 20)
    assert status.nfs["bzImage"] == {
        "works": True,
        "initrd": [],
        "lacking": [],
        "advised": [],
        "cards": [],
        "command": "",
    }
