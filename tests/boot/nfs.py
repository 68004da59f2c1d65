"""Boots over NFS: what a lab offers, machines side by side, and what their layers have."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from pathlib import Path

from appliance.nfs.export import layer_path
from tests.boot.nfs_kills import checksums_on_server, put_kernel
from tests.lab.lab import Lab
from tests.lab.machine import Firmware, Hardware
from tests.lab.nfs_root import (
    Initramfs,
    NfsMachine,
    NfsRoot,
    add_roots,
    fetch_config,
    fetch_initrd,
)
from tests.lab.project import SERVER

BOOT = 150  # seconds, three machines at once on two cores
MEMORY = "256M"


def hardware(number: int, firmware: Firmware = "bios", memory: str = MEMORY) -> Hardware:
    """Return a machine that a test can boot again: its address goes by its number."""
    # A BIOS has no PXE but that of the card's ROM, UEFI its own.
    mac = f"52:54:00:00:0f:{number:02x}"
    return Hardware(firmware, mac=mac, memory=memory, option_rom=firmware == "bios")


def holder(machine: Hardware) -> str:
    """Return a machine's part of paths."""
    return machine.mac.replace(":", "-")


def source(root: NfsRoot, who: str) -> str:
    """Return what the mount table of a machine has: who is its holder, or rw."""
    return f"{SERVER}:/{root.name}/{root.id}/{who}"


def offer(lab: Lab, kernel: Path, root: NfsRoot) -> None:
    """Drop a kernel and wait until it boots a root by default."""
    add_roots(lab, [root])
    lab.drop(kernel, "bzImage")
    wait_offered(lab, root)


def offer_debian(lab: Lab, folder: Path, initrd: Initramfs, root: NfsRoot) -> None:
    """Drop Debian's kernel, its configuration and an initrd; wait until they boot a root."""
    add_roots(lab, [root])
    lab.drop(fetch_initrd(lab, folder, initrd), "bzImage.initrd")
    lab.drop(fetch_config(lab, folder), "bzImage.config")
    lab.drop(lab.fetch_demo_kernel(folder, "amd64"), "bzImage")
    wait_offered(lab, root)


def wait_offered(lab: Lab, root: NfsRoot) -> None:
    """Wait until a version of a root is what boots when nobody chooses."""
    script = lab.boot / "published" / "boot.ipxe"
    path = f":/{root.name}/{root.id}/"
    lab.wait_status(
        lambda status: (
            status.default.endswith(f", {root.name} over NFS") and path in script.read_text()
        ),
        60,
    )


def restart(lab: Lab, settings: Mapping[str, str]) -> None:
    """Replace the appliance's container by one with these settings, and wait until it serves."""
    since = time.time()
    lab.restart(settings)
    lab.wait_ready(since=since)


@contextmanager
def machines(lab: Lab, ordered: Iterable[Hardware]) -> Iterator[list[NfsMachine]]:
    """Switch machines on, all at once, and off at the end."""
    with ExitStack() as stack:
        yield [NfsMachine(stack.enter_context(lab.machine(each))) for each in ordered]


def switch_off(booted: Iterable[NfsMachine]) -> None:
    """Have machines power themselves off, and wait until all are."""
    booted = list(booted)
    for machine in booted:
        machine.begin("off")
    for machine in booted:
        machine.machine.wait_off(60)


def checksums(lab: Lab, root: NfsRoot, who: str, folder: str) -> dict[str, str]:
    """Return the SHA-256 of each file that a machine wrote into a folder, as the server has it."""
    return checksums_on_server(lab, str(layer_path(root.name, root.id, who)), folder.lstrip("/"))


def direct(lab: Lab, kernel: Path, cmdline: str, number: int) -> Hardware:
    """Return a machine that starts a kernel itself, without a word of the appliance's menu."""
    put_kernel(lab, kernel)
    words = ("-kernel", "/run/kernel", "-append", f"console=ttyS0,115200n8 {cmdline}")
    return replace(hardware(number), qemu=words)
