"""What others set up by hand, in containers on a lab's network; the appliance's place is theirs."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import docker
from docker.models.containers import Container

from bench import image
from tests.lab.lab import Lab
from tests.lab.project import LabError

CMDLINE = "console=tty0 console=ttyS0,115200n8"  # the appliance's own default, for all the same

# Each script begins with what all have: the kernel and its ramdisk, from the folder /payload.
_TFTP = "set -e\nmkdir -p /tftp && cp -r /payload/. /tftp/\n"

_PXELINUX = f"""
cp /usr/lib/PXELINUX/pxelinux.0 /usr/lib/syslinux/modules/bios/ldlinux.c32 /tftp/
mkdir /tftp/pxelinux.cfg
cat >/tftp/pxelinux.cfg/default <<'END'
default linux
label linux
    kernel vmlinuz
    append initrd=initrd {CMDLINE}
END
"""

# iPXE has a script where pxelinux has its configuration.
_SNPONLY = f"""
cp /usr/lib/ipxe/snponly.efi /tftp/
cat >/tftp/boot.ipxe <<'END'
#!ipxe
kernel vmlinuz initrd=initrd {CMDLINE}
initrd initrd
boot
END
"""

_GRUB = f"""
cp /usr/lib/grub/x86_64-efi-signed/grubnetx64.efi.signed /tftp/grubnetx64.efi
mkdir /tftp/grub
cat >/tftp/grub/grub.cfg <<'END'
linux /vmlinuz {CMDLINE}
initrd /initrd
boot
END
"""

_DHCPD = """
cat >/tmp/dhcpd.conf <<'END'
ddns-update-style none;
class "PXE" {
    match if substring(option vendor-class-identifier, 0, 9) = "PXEClient";
    filename "pxelinux.0";
    next-server 192.168.10.1;
}
subnet 192.168.10.0 netmask 255.255.255.0 {
    range 192.168.10.10 192.168.10.254;
    default-lease-time 1200;
    max-lease-time 1800;
    option subnet-mask 255.255.255.0;
}
END
touch /tmp/dhcpd.leases
in.tftpd -l --address 192.168.10.1:69 -s /tftp
exec dhcpd -4 -f -d --no-pid -cf /tmp/dhcpd.conf -lf /tmp/dhcpd.leases br0
"""

_DNSMASQ = """
exec dnsmasq --keep-in-foreground --log-facility=- --port=0 --interface=br0 --bind-interfaces \\
    --dhcp-range=192.168.10.10,192.168.10.254,20m --enable-tftp --tftp-root=/tftp \\
    """


@dataclass(frozen=True)
class Baseline:
    """A set-up by hand: a shell script that ends in its daemon, and the line that says it runs."""

    name: str
    script: str
    runs: str


ARTICLE = Baseline(
    "dhcpd, in.tftpd, pxelinux", _TFTP + _PXELINUX + _DHCPD, "Server starting service"
)
DNSMASQ_PXELINUX = Baseline(
    "dnsmasq, pxelinux",
    _TFTP + _PXELINUX + _DNSMASQ + "--dhcp-boot=pxelinux.0",
    "TFTP root is",
)
DNSMASQ_SNPONLY = Baseline(
    "dnsmasq, snponly.efi",
    # Option 175 is iPXE's own: what has it has been loaded already.
    _TFTP + _SNPONLY + _DNSMASQ + "--dhcp-match=set:ipxe,175 --dhcp-boot=tag:!ipxe,snponly.efi "
    "--dhcp-boot=tag:ipxe,boot.ipxe",
    "TFTP root is",
)
DNSMASQ_GRUB = Baseline(
    "dnsmasq, GRUB by TFTP",
    _TFTP + _GRUB + _DNSMASQ + "--dhcp-boot=grubnetx64.efi",
    "TFTP root is",
)


@contextmanager
def served(baseline: Baseline, lab: Lab, payload: Path) -> Iterator[Container]:
    """Serve the files of the folder `payload` on a lab's network, as a baseline does.

    Yields its container once it runs. Raises LabError with what it said when it does not.
    """
    container = docker.from_env().containers.run(
        image.NAME,
        ["sh", "-c", baseline.script],
        detach=True,
        init=True,
        network_mode=f"container:{lab.network.id}",
        cap_add=["NET_ADMIN", "NET_RAW"],  # NET_ADMIN: dnsmasq's entries in the ARP table
        volumes={str(payload): {"bind": "/payload", "mode": "ro"}},
    )
    try:
        _wait_for(container, baseline)
        yield container
    finally:
        container.remove(force=True)


def _wait_for(container: Container, baseline: Baseline) -> None:
    said = b""
    for piece in container.logs(stream=True, follow=True):
        said += piece
        if baseline.runs.encode() in said:
            return
    last = said.decode("utf-8", "replace").strip()
    raise LabError(f"{baseline.name}: its container ended: {last}")
