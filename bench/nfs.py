"""`make bench-nfs`: a machine reads its root as the appliance serves it, and a folder by hand."""

from __future__ import annotations

import os
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable
from functools import partial
from pathlib import Path

from bench import nfs_by_hand, report
from tests.lab.lab import Lab
from tests.lab.machine import Hardware
from tests.lab.nfs_root import NfsMachine, NfsRoot, add_roots
from tests.lab.project import LabError

ROUNDS = 11
SIZE = 96 << 20  # bytes, no more than the host keeps in memory: its disk is not measured
PATIENCE = 180.0  # seconds
OURS = "Bootdrop"
BULK = "bulk"
MOUNTED = "/mnt"

# In hundredths of a second, of the machine's own clock, with none of the file in its memory.
_READ = """
read_all() { echo 3 >/proc/sys/vm/drop_caches; read begin idle </proc/uptime; cat "$1" >/dev/null;
read end idle </proc/uptime; echo "$begin $end"; }
""".replace("\n", " ")


def kernel() -> Path:
    """Return the test kernel, which mounts its root itself. Raises LabError."""
    folder = Path(os.environ.get("TEST_KERNEL_DIR") or ".lab/testkernel")
    found = sorted(folder.glob("bzImage-*-labtest"))
    if not found:
        raise LabError(f"{folder}: no bzImage-*-labtest; run `make test-kernel`")
    return found[-1]


def up(lab: Lab) -> Path:
    """Have the appliance serve a root, and a folder for the server by hand; return the folder."""
    lab.up()
    add_roots(lab, [NfsRoot()])
    lab.drop(kernel(), "vmlinuz")
    lab.wait_status(lambda status: "over NFS" in status.default, 60)
    lab.wait_ready()
    folder = lab.project.folder / "by-hand"
    folder.mkdir()
    return folder


def read(machine: NfsMachine, path: str) -> float:
    """Return how fast a machine reads a file, in MB/s (10^6 bytes)."""
    begin, end = map(float, machine.run(f"read_all {path}", PATIENCE).split())
    return SIZE / 1e6 / (end - begin)


def read_by_hand(machine: NfsMachine, mount: nfs_by_hand.Mount) -> float:
    """Return how fast it reads the file of the server by hand, mounted for that alone."""
    machine.run(mount.command(MOUNTED))
    try:
        return read(machine, f"{MOUNTED}/{BULK}")
    finally:
        machine.run(f"umount {MOUNTED}")


def rounds(machine: NfsMachine) -> dict[str, list[float]]:
    """Read in turns, ROUNDS times each way, after one time that does not count."""
    ways: dict[str, Callable[[], float]] = {OURS: partial(read, machine, f"/{BULK}")}
    for mount in nfs_by_hand.MOUNTS:
        ways[mount.name] = partial(read_by_hand, machine, mount)
    speeds: dict[str, list[float]] = defaultdict(list)
    for turn in range(ROUNDS + 1):
        for name, way in ways.items():
            speed = way()
            report.progress(f"round {turn} of {ROUNDS}: {name}: {speed:.1f} MB/s")
            if turn:
                speeds[name].append(speed)
    return speeds


def measure() -> dict[str, float]:
    """Return the ratio of the fastest runs, ours over the best of those by hand.

    What else the host does, and emulation, only make a run slower; the medians are in the table.
    """
    with Lab("bench-nfs") as lab:
        folder = up(lab)
        with (
            nfs_by_hand.served(lab, folder),
            lab.machine(Hardware("bios", memory="384M")) as powered,
        ):
            machine = NfsMachine(powered)
            mounted = machine.booted(PATIENCE)
            machine.run(_READ)
            # The same bytes in both: ours come through the layer that the machine wrote them to.
            with (folder / BULK).open("wb") as file:
                file.writelines(os.urandom(1 << 20) for _ in range(SIZE >> 20))
            machine.run(nfs_by_hand.MOUNTS[0].command(MOUNTED))
            machine.run(f"cat {MOUNTED}/{BULK} >/{BULK} && sync && umount {MOUNTED}", PATIENCE)
            speeds = rounds(machine)
    print(f"Sequential read of {SIZE >> 20} MiB over NFS, {ROUNDS} times each in turns, MB/s.")
    print(report.machine())
    print(f"Bootdrop's mount: {mounted.kind} {mounted.options}")
    rows = [
        [name, *(f"{figure:.1f}" for figure in (statistics.median(each), min(each), max(each)))]
        for name, each in speeds.items()
    ]
    print(report.table(["", "median", "slowest", "fastest"], rows))
    fastest = {name: max(each) for name, each in speeds.items()}
    ours = fastest.pop(OURS)
    return {"read_ratio": ours / max(fastest.values())}


if __name__ == "__main__":
    sys.exit(report.run(measure))
