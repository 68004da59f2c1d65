"""`make bench-boot`: from power-on to init, of one machine served in one way after another."""

from __future__ import annotations

import os
import statistics
import sys
import tempfile
from collections import defaultdict
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from bench import baselines, report
from tests.boot.archives import cpio
from tests.lab.lab import Lab
from tests.lab.machine import Firmware, Hardware
from tests.lab.project import LabError

ROUNDS = 3
BALLAST = 10 << 20  # bytes that no packer makes smaller, in the ramdisk
PATIENCE = 120.0  # seconds
INIT = "BENCH: init"

# What the console shows of a boot's parts, in their order.
KERNEL = r"Linux version"


@dataclass(frozen=True)
class Way:
    """A way to serve a machine of one firmware; `baseline` is None for the appliance."""

    firmware: Firmware
    baseline: baselines.Baseline | None

    @property
    def name(self) -> str:
        return f"{self.firmware.upper()}  {self.baseline.name if self.baseline else 'Bootdrop'}"

    def hardware(self) -> Hardware:
        """Return the machine: the same each time, so that servers know it after its first boot.

        A BIOS has no PXE but that of the card's ROM (iPXE), UEFI uses its own.
        """
        return Hardware(self.firmware, mac="52:54:00:b0:07:01", option_rom=self.firmware == "bios")


OURS_BIOS, OURS_UEFI = Way("bios", None), Way("uefi", None)
ARTICLE = Way("bios", baselines.ARTICLE)
DNSMASQ_BIOS = Way("bios", baselines.DNSMASQ_PXELINUX)
DNSMASQ_UEFI = Way("uefi", baselines.DNSMASQ_SNPONLY)
GRUB = Way("uefi", baselines.DNSMASQ_GRUB)
WAYS = (OURS_BIOS, ARTICLE, DNSMASQ_BIOS, OURS_UEFI, DNSMASQ_UEFI, GRUB)


@dataclass(frozen=True)
class Boot:
    """One boot, in seconds from power-on."""

    kernel: float  # its first line
    init: float


def init_program() -> bytes:
    """Return an x86-64 ELF that writes INIT to its standard output and waits for ever."""
    text = f"{INIT}\n".encode()
    code = (
        b"\xb8\x01\0\0\0\xbf\x01\0\0\0"  # eax = write, edi = 1
        b"\x48\x8d\x35\x10\0\0\0"  # rsi = the text, 16 bytes behind this instruction
        b"\xba" + len(text).to_bytes(4, "little") + b"\x0f\x05"  # edx = its length, syscall
        b"\xb8\x22\0\0\0\x0f\x05\xeb\xf7"  # eax = pause, syscall, and again
    )
    base, head = 0x400000, 64 + 56  # ELF header and its one program header
    size = (head + len(code) + len(text)).to_bytes(8, "little")
    identity = b"\x7fELF\x02\x01\x01".ljust(16, b"\0")
    header = identity + b"\x02\0\x3e\0\x01\0\0\0"  # an executable, x86-64
    header += (base + head).to_bytes(8, "little")  # where it begins
    header += (64).to_bytes(8, "little") + bytes(12)  # the program header's place
    header += b"\x40\0\x38\0\x01\0".ljust(12, b"\0")
    load = b"\x01\0\0\0\x05\0\0\0" + bytes(8)  # PT_LOAD, readable and executable
    load += base.to_bytes(8, "little") * 2 + size * 2 + (0x1000).to_bytes(8, "little")
    return header + load + code + text


def payload(folder: Path) -> None:
    """Write the kernel and the ramdisk that all serve. Raises LabError without the test kernel."""
    kernels = Path(os.environ.get("TEST_KERNEL_DIR") or ".lab/testkernel")
    found = sorted(kernels.glob("bzImage-*-labtest"))
    if not found:
        raise LabError(f"{kernels}: no bzImage-*-labtest; run `make test-kernel`")
    (folder / "vmlinuz").write_bytes(found[-1].read_bytes())
    archive = cpio({"init": init_program(), "ballast": os.urandom(BALLAST)})
    (folder / "initrd").write_bytes(archive)
    for file in folder.iterdir():
        file.chmod(0o644)
    folder.chmod(0o755)


def up(stack: ExitStack, baseline: baselines.Baseline | None, number: int, folder: Path) -> Lab:
    """Return a network of its own on which the appliance or a baseline serves."""
    lab = stack.enter_context(Lab(f"bench-boot-{number}"))
    if baseline is not None:
        lab.up_network()
        stack.enter_context(baselines.served(baseline, lab, folder))
        return lab
    lab.up()
    lab.drop(folder / "initrd")
    lab.drop(folder / "vmlinuz")
    lab.wait_status(lambda status: status.kernels == ("vmlinuz",), 30)
    lab.wait_ready()
    return lab


def boot(lab: Lab, way: Way) -> Boot:
    """Boot a machine once. Raises WaitedInVain with its console when it does not reach init."""
    with lab.machine(way.hardware()) as machine:
        machine.expect(INIT, PATIENCE)
        kernel, init = machine.first(KERNEL), machine.first(INIT)
        assert kernel is not None and init is not None
        return Boot(kernel.seconds, init.seconds)


def rows(boots: dict[Way, list[Boot]]) -> list[list[str]]:
    """Return the table's rows, in seconds."""
    found = []
    for way, taken in boots.items():
        inits = [each.init for each in taken]
        figures = [
            min(each.kernel for each in taken),
            min(inits),
            statistics.median(inits),
            max(inits),
        ]
        found.append([way.name, *(f"{seconds:.2f}" for seconds in figures)])
    return found


def measure() -> dict[str, float]:
    """Boot each way ROUNDS times, in turns; the ratios are those of the fastest boots."""
    boots: dict[Way, list[Boot]] = defaultdict(list)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="bootdrop-bench.")))
        payload(folder)
        labs: dict[baselines.Baseline | None, Lab] = {}
        for way in WAYS:
            if way.baseline not in labs:
                labs[way.baseline] = up(stack, way.baseline, len(labs), folder)
        for turn in range(ROUNDS):
            for way in WAYS:
                taken = boot(labs[way.baseline], way)
                report.progress(f"boot {turn + 1} of {ROUNDS}: {way.name}: {taken.init:.2f} s")
                boots[way].append(taken)
    print(f"Power-on to init, kernel and 10 MB ramdisk, {ROUNDS} boots each in turns, seconds.")
    print(report.machine())
    print(report.table(["", "kernel", "init", "median", "slowest"], rows(boots)))
    fastest = {way: min(each.init for each in taken) for way, taken in boots.items()}
    return {
        "bios_ratio": fastest[OURS_BIOS] / min(fastest[ARTICLE], fastest[DNSMASQ_BIOS]),
        "uefi_ratio": fastest[OURS_UEFI] / fastest[DNSMASQ_UEFI],
        "uefi_grub_ratio": fastest[OURS_UEFI] / fastest[GRUB],
        "bios_s": fastest[OURS_BIOS],
        "uefi_s": fastest[OURS_UEFI],
    }


if __name__ == "__main__":
    sys.exit(report.run(measure))
