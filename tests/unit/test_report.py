from dataclasses import replace
from typing import Any

from appliance.cli import report
from appliance.settings import Settings
from appliance.status import KernelNfs, KernelStatus, RefusedFile, Status, kernel_nfs
from tests.unit.builders import (
    CPIO_INITRD,
    DEBIAN_CONFIG,
    DEBIAN_INITRD,
    DRACUT_INITRD,
    NFS_CAPABLE,
    a_config,
    a_kernel,
)


def a_status(refused: int) -> dict[str, Any]:
    files = tuple(RefusedFile(f"notes-{number}", "a text file") for number in range(refused))
    return Status(refused=files, pending=("late",)).as_json()


def test_the_status_shows_the_first_of_very_many_files_and_how_many_there_are() -> None:
    lines = report.status(a_status(1000)).splitlines()
    assert "1000 not served" in lines
    assert "  notes-19: a text file" in lines
    assert lines[-1] == "  and 980 more: `bootdrop kernels`"


def test_the_list_of_kernels_shows_all() -> None:
    lines = report.kernels(a_status(1000)).splitlines()
    assert lines[:3] == ["0 kernels in the menu", "1 still being written or copied", "  late"]
    assert lines[-1] == "  notes-999: a text file"


def test_one_kernel_is_one() -> None:
    one = Status(kernels=(KernelStatus("bzImage", "6.1", "x86_64", "0011223344556677"),))
    assert report.kernels(one.as_json()).splitlines()[0] == "1 kernel in the menu"


MAC = "52:54:00:12:34:56"


def test_what_a_kernel_lacks_for_nfs_is_said_with_the_command_that_sets_it() -> None:
    whole = ("IP_PNP", "IP_PNP_DHCP", "NFS_FS", "NFS_V3", "ROOT_NFS", "DEVTMPFS", "DEVTMPFS_MOUNT")
    kernels = [
        a_kernel("whole", config=a_config(*whole)),
        a_kernel("half", config=a_config(*whole[:4], "INET", "DEVTMPFS", "NETDEVICES", "PCI")),
        a_kernel("unknown"),
    ]
    statuses = tuple(
        KernelStatus(each.name, each.version, "x86_64", each.id, kernel_nfs(each, Settings(), {}))
        for each in kernels
    )
    said = report.all_kernels(Status(kernels=statuses).as_json()).splitlines()
    assert said[said.index("roots over NFS") + 1 :] == [
        "  whole: yes",
        "  half: no, it lacks CONFIG_ROOT_NFS=y",
        "    works better with CONFIG_DEVTMPFS_MOUNT=y",
        "    scripts/config -e ROOT_NFS -e DEVTMPFS_MOUNT && make olddefconfig",
        "  unknown: not known: drop its config beside it, as unknown.config",
    ]


def test_a_card_that_a_kernel_cannot_drive_is_named() -> None:
    config = a_config("NFS_V4_2", "NFS_V4", "PCI", "ETHERNET", "NET_VENDOR_INTEL")
    kernel = a_kernel(config=config)
    status = kernel_nfs(kernel, Settings(nfs_version="4.2", nfs_ip="off"), {"8086:15f3": MAC})
    assert status.cards == (f"no driver built in for 8086:15f3 (seen at {MAC}): CONFIG_IGC=y",)
    assert status.command.endswith("-e IGC && make olddefconfig")
    assert kernel_nfs(a_kernel(), Settings(), {"8086:15f3": MAC}) == KernelNfs()


def test_a_distributions_kernel_mounts_its_root_from_its_initrd() -> None:
    config = a_config(*DEBIAN_CONFIG)
    assert kernel_nfs(a_kernel(config=config), Settings(), {}).works is False
    for initrd in (DEBIAN_INITRD, DRACUT_INITRD):
        with_initrd = a_kernel(initrd=initrd, config=config)
        assert kernel_nfs(with_initrd, Settings(), {}) == KernelNfs(works=True)
    # Which one made it is not known: it is asked nothing.
    other = a_kernel(initrd=CPIO_INITRD, config=config)
    assert kernel_nfs(other, Settings(), {}).works is False


def test_an_initrd_that_cannot_mount_nfs_is_named() -> None:
    initrd = replace(DRACUT_INITRD, nfs_mount=False, nfs_module=False)
    lacks = ("nfs in its dracut initrd", "nfs.ko in its initrd")
    for config in (a_config(*DEBIAN_CONFIG), None):
        kernel = a_kernel(initrd=initrd, config=config)
        assert kernel_nfs(kernel, Settings(), {}) == KernelNfs(works=False, initrd=lacks)
    status = KernelStatus("k", "6", "x86_64", "0", KernelNfs(False, lacks, ("CONFIG_PACKET=y",)))
    said = report.all_kernels(Status(kernels=(status,)).as_json()).splitlines()
    assert f"  k: no, it lacks {', '.join(lacks)}, CONFIG_PACKET=y" in said
    # It mounts its root without that initrd.
    able = a_kernel(initrd=initrd, config=a_config(*NFS_CAPABLE))
    assert kernel_nfs(able, Settings(), {}) == KernelNfs(works=True)
