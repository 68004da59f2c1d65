"""What the kernel's files look like is from fs/nfsd/nfs4state.c of Linux 6.12."""

from __future__ import annotations

import os
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath

from appliance.nfs import evidence

MACHINE, OTHER = IPv4Address("192.168.10.5"), IPv4Address("192.168.10.6")
LAYER = PurePosixPath("/fedora/0011223344556677/52-54-00-12-34-56")
SHARED = PurePosixPath("/my~20root/8899aabbccddeeff/rw")
EXPORTS = Path("/run/bootdrop/exports")
MOUNTINFO = f"""\
22 1 0:20 / / rw,relatime - overlay overlay rw
98 22 0:61 / {EXPORTS} rw - tmpfs exports rw
99 98 0:62 / {EXPORTS}{LAYER} rw,relatime - overlay o rw,nfs_export=on
102 98 0:64 / {EXPORTS}{SHARED} rw,relatime - overlay o rw,nfs_export=on
103 98 0:62 / {EXPORTS}/tftpboot/192.168.10.5 rw,relatime - overlay o rw,nfs_export=on
"""
INFO = """\
clientid: 0x6f3a0d0b64f1e3d2
address: "{address}:725"
status: confirmed
seconds from last renew: 3
name: "Linux NFSv4.2 lab"
minor version: {minor}
Implementation domain: "kernel.org"
callback state: UP
"""
STATE = (
    "- 0x00000001f1e3d264d20b3a6f00000001: {{ type: open, access: r-, deny: --, "
    'superblock: "{device}:1234", filename: "{name}", owner: "open id:..." }}\n'
)


def a_kernel_client(nfsd: Path, number: int, address: IPv4Address, states: str) -> None:
    folder = nfsd / "clients" / str(number)
    folder.mkdir(parents=True)
    (folder / "info").write_text(INFO.format(address=address, minor=2))
    (folder / "states").write_text(states)


def test_the_kernel_tells_versions_and_what_its_clients_have_open(tmp_path: Path) -> None:
    states = STATE.format(device="00:3e", name="usr/bin/init")
    a_kernel_client(tmp_path, 1, MACHINE, states + STATE.format(device="08:01", name="x"))
    a_kernel_client(tmp_path, 2, OTHER, "")
    mounts = evidence.mounted_exports(MOUNTINFO, EXPORTS)
    assert mounts == {
        "0:62": [LAYER, PurePosixPath("/tftpboot/192.168.10.5")],
        "0:64": [SHARED],
    }
    assert evidence.kernel_clients(tmp_path, mounts) == (
        {MACHINE: "4.2", OTHER: "4.2"},
        {MACHINE: frozenset(mounts["0:62"]), OTHER: frozenset()},
    )


def test_a_files_name_does_not_tell_where_it_lies(tmp_path: Path) -> None:
    name = 'x", superblock: "00:40:1'
    a_kernel_client(tmp_path, 1, MACHINE, STATE.format(device="00:3e", name=name))
    mounts = evidence.mounted_exports(MOUNTINFO, EXPORTS)
    assert evidence.kernel_clients(tmp_path, mounts)[1] == {MACHINE: frozenset(mounts["0:62"])}


def test_without_nfsd_there_are_no_clients(tmp_path: Path) -> None:
    assert evidence.kernel_clients(tmp_path, {}) == ({}, {})
    assert evidence.ganesha_clients(tmp_path / "none") == {}


def test_ganesha_has_a_folder_for_each_client(tmp_path: Path) -> None:
    for name in (
        f"::ffff:{MACHINE}-(31:Linux NFSv4.2 192.168.10.5)",
        f"::ffff:{OTHER}-(25:Libnfs pid:198 1795715342)",
        "fe80::1-(5:a)",
        "notes",
    ):
        (tmp_path / name).mkdir()
    assert evidence.ganesha_clients(tmp_path) == {MACHINE: "4.2", OTHER: "4"}


def test_an_export_is_open_when_ganesha_holds_more_than_its_root(tmp_path: Path) -> None:
    (tmp_path / "mountinfo").write_text(MOUNTINFO)
    (tmp_path / "fdinfo").mkdir()
    for number, mount in enumerate(("22", "99", "102", "99", "22")):
        (tmp_path / "fdinfo" / str(number)).write_text(f"pos:\t0\nmnt_id:\t{mount}\nino:\t5\n")
    assert evidence.ganesha_opens(tmp_path, EXPORTS) == frozenset({LAYER})


def test_a_process_is_found_by_its_name() -> None:
    own = Path("/proc/self/comm").read_text().strip()
    found = evidence.process_named(own)
    assert found is not None
    assert (found / "comm").read_text().strip() == own
    assert evidence.process_named("no such process") is None
    assert evidence.text(Path(f"/proc/{os.getpid()}/nothing")) == ""


def test_neighbours_that_answered_are_known_by_their_hardware_addresses() -> None:
    arp = """\
IP address       HW type     Flags       HW address            Mask     Device
192.168.10.5     0x1         0x2         52:54:00:12:34:56     *        br0
192.168.10.6     0x1         0x0         00:00:00:00:00:00     *        br0
192.168.10.7     0x20        0x2         80:00:02:08:fe:80:00:00:00:00     *        ib0
"""
    assert evidence.hardware_addresses(arp) == {MACHINE: "52:54:00:12:34:56"}


def test_every_mount_is_seen_where_there_are_thousands(tmp_path: Path) -> None:
    """A layer's line has some 400 characters: 64 KiB are 160 of them."""
    line = f"9 8 0:{{0}} / {EXPORTS}/lab/0011223344556677/{{0}} rw - overlay o {'x' * 300}\n"
    table = tmp_path / "mountinfo"
    table.write_text("".join(line.format(number) for number in range(5000)))
    assert len(evidence.mounted_exports(evidence.text(table), EXPORTS)) == 5000
    files = tmp_path / "fdinfo"
    files.mkdir()
    for number in range(2):
        (files / str(number)).write_text("mnt_id:\t9\n")
    last = PurePosixPath("/lab/0011223344556677/4999")
    assert evidence.ganesha_opens(tmp_path, EXPORTS) == frozenset({last})


def test_of_what_a_machine_can_make_longer_so_much_is_read_and_no_more(tmp_path: Path) -> None:
    states = STATE.format(device="00:3e", name="x" * 200) * 500
    a_kernel_client(tmp_path, 1, MACHINE, states + STATE.format(device="00:40", name="x"))
    mounts = evidence.mounted_exports(MOUNTINFO, EXPORTS)
    assert evidence.kernel_clients(tmp_path, mounts)[1] == {MACHINE: frozenset(mounts["0:62"])}
