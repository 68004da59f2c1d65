"""What a kernel is told by DHCP that has `root=/dev/nfs ip=dhcp` and no more, by dhcpd itself."""

from __future__ import annotations

import subprocess
from collections.abc import Iterable
from pathlib import Path, PurePosixPath
from typing import Literal

import pytest
from scapy.layers.dhcp import BOOTP, DHCP
from scapy.layers.inet import IP, UDP
from scapy.layers.l2 import Ether
from scapy.packet import Packet, Raw

from appliance.render import Renderer
from appliance.settings import Settings
from tests.daemons.client import SCRIPTS
from tests.lab.project import Project
from tests.unit.builders import a_kernel, a_root, a_situation

pytestmark = pytest.mark.lab

MAC = "02:0a:00:0f:05:01"  # zeros in front, which dhcpd's own way to write numbers leaves out
PLACE = "192.168.10.1:/fedora/aabbccddeeff0011"
OPTIONS = ",vers=3,tcp,rsize=1048576,wsize=1048576,hard"
# net/ipv4/ipconfig.c, ic_dhcp_init_options().
ASKED_BY_KERNELS = [1, 3, 6, 12, 15, 17, 26, 40, 42]


def request(payload: Packet) -> Packet:
    sent = Ether(src=MAC, dst="ff:ff:ff:ff:ff:ff") / IP(src="0.0.0.0", dst="255.255.255.255")
    chaddr = bytes.fromhex(MAC.replace(":", "")) + bytes(10)
    return sent / UDP(sport=68, dport=67) / BOOTP(xid=7, chaddr=chaddr, flags=0x8000) / payload


def discover(*options: tuple[str, object]) -> Packet:
    asked = [("message-type", "discover"), ("param_req_list", ASKED_BY_KERNELS), *options, "end"]
    return request(DHCP(options=asked))


KERNEL = discover()
# Of 312 bytes, as `ip=bootp` asks (struct bootp_pkt).
KERNEL_BY_BOOTP = request(Raw(bytes.fromhex("63825363ff") + bytes(307)))
KLIBC = discover(("vendor_class_id", "Linux ipconfig"))
IPXE = discover(("vendor_class_id", "PXEClient:Arch:00000"), ("user_class", "iPXE"))
OVMF = discover(("vendor_class_id", "PXEClient:Arch:00007"), (93, b"\0\7"))


def root_paths(share: Literal["clone", "ro", "rw"], requests: Iterable[Packet]) -> list[str]:
    """Return option 17 of each answer, "" where it has none."""
    situation = a_situation(
        Settings(interface="eth1"), a_kernel(), roots=[a_root(share=share)], nfs=True
    )
    conf = PurePosixPath("etc/dhcp/dhcpd.conf")
    text = Renderer(situation.paths.templates).files([str(conf)], situation)[conf]
    frames = "\n".join(bytes(request).hex() for request in requests)
    script = (Path(SCRIPTS) / "dhcp_alone.py").read_text()
    argv = [
        "docker",
        "run",
        "--rm",
        "--interactive",
        "--network",
        "none",
        "--entrypoint",
        "python3",
    ]
    argv += ["--cap-add", "NET_ADMIN", "--cap-add", "NET_RAW", Project().image("appliance")]
    run = subprocess.run(
        [*argv, "-c", script],
        input=f"{text}--\n{frames}\n",
        text=True,
        capture_output=True,
        timeout=60,
        check=False,
    )
    assert run.returncode == 0, run.stderr
    answers = [Ether(bytes.fromhex(line)) for line in run.stdout.split()]
    assert [answer[BOOTP].siaddr for answer in answers] == ["192.168.10.1"] * len(answers)
    return [root_path(answer) for answer in answers]


def root_path(answer: Packet) -> str:
    options = (each for each in answer[DHCP].options if isinstance(each, tuple))
    said = {name: values[0] for name, *values in options}
    return bytes(said.get("root_disk_path", said.get("root-path", b""))).decode()


def test_each_machine_is_told_the_path_of_its_own_clone_and_how_to_mount_it(
    lab_images: None,
) -> None:
    own = f"{PLACE}/02-0a-00-0f-05-01"
    asking = [KERNEL, KERNEL_BY_BOOTP, KLIBC, IPXE, OVMF]
    assert root_paths("clone", asking) == [own + OPTIONS, own + OPTIONS, own, "", ""]


@pytest.mark.parametrize("share", ["ro", "rw"])
def test_a_root_that_machines_share_has_one_path(
    lab_images: None, share: Literal["ro", "rw"]
) -> None:
    shared = f"{PLACE}/{share}"
    assert root_paths(share, [KERNEL, KLIBC, IPXE, OVMF]) == [shared + OPTIONS, shared, "", ""]
