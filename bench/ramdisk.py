"""`make bench-ramdisk`: a ramdisk by the article's steps and by the builder, of the same tree."""

from __future__ import annotations

import json
import sys
from collections.abc import Sequence
from dataclasses import dataclass

from bench import report
from tests.builder.workbench import ScriptFailed, Workbench
from tests.lab.project import LabError

ROUNDS = 2
TREE, WORK = "/tmp/bench/tree", "/tmp/bench/work"
SMALLEST_TREE = 200  # MB, of 10^6 bytes

# Debian's packages as they are unpacked: what the builder's own image consists of.
MAKE_TREE = f"""
mkdir -p {TREE}
cd / && cp -a --parents bin sbin lib lib64 etc opt root usr var {TREE}
cd {TREE} && mkdir -m 755 dev proc sys run && mkdir -m 1777 tmp
find . -printf 'x\\n' | wc -l && du -s --block-size=1000000 --apparent-size . | cut -f 1
cat $(find . -type f) > /dev/null
"""

# The article's steps. A loop mount is not to be had in every container, so `cp -a` of the tree into
# a folder stands for mount, rsync and umount, and mke2fs -d fills the image outside of the time.
STEPS = (
    ("dd", "dd if=/dev/zero of=ramdisk.ext2 bs=1k count={kib}"),
    ("mkfs.ext2", "mkfs.ext2 -q -F -m 0 -b 4096 ramdisk.ext2"),
    ("cp -a", f"cp -a {TREE} ramdisk.dir"),
    ("", f"mkfs.ext2 -q -F -m 0 -b 4096 -d {TREE} ramdisk.ext2 && rm -r ramdisk.dir"),
    ("gzip -9", "cat ramdisk.ext2 | gzip -9 > ramdisk.ext2.gz"),
)

# One process for each format, for its peak: its own memory and its largest tool's at their highest,
# though not at the same time.
OURS = """
import json, resource, sys, time
from pathlib import Path
from rootfs_builder.ramdisk import Format, RamdiskOptions, make
tree, folder, format = sys.argv[1:]
start = time.monotonic()
made = make(Path(tree), Path(folder), [Format(format)], RamdiskOptions(), lambda *_: None)[format]
seconds = time.monotonic() - start
peak = sum(resource.getrusage(who).ru_maxrss for who in (0, resource.RUSAGE_CHILDREN))
print(json.dumps([seconds, made.bytes, peak * 1024, made.uncompressed_kib]))
"""


@dataclass(frozen=True)
class Run:
    """What making one ramdisk took: seconds of its steps, bytes of the file, bytes of memory."""

    steps: dict[str, float]
    size: int
    peak: int = 0
    kib: int = 0

    @property
    def seconds(self) -> float:
        return sum(self.steps.values())


def ours(workbench: Workbench, kind: str) -> Run:
    workbench.sh(f"rm -rf {WORK}; mkdir -p {WORK}; sync")
    seconds, size, peak, kib = json.loads(workbench.python(OURS, TREE, WORK, kind))
    return Run({kind: seconds}, size, peak, kib)


def by_hand(workbench: Workbench, kib: int) -> Run:
    """Do the article's steps, for a file system of the same size."""
    workbench.sh(f"rm -rf {WORK}; mkdir -p {WORK}; sync")
    steps = {}
    for name, command in STEPS:
        timed = f"{{ time {{ {command.format(kib=kib)}; }} >/dev/null 2>&1; }} 2>&3"
        seconds = float(workbench.sh(f"cd {WORK}; TIMEFORMAT=%R; exec 3>&1; {timed}"))
        if name:
            steps[name] = seconds
    return Run(steps, int(workbench.sh(f"stat -c %s {WORK}/ramdisk.ext2.gz")))


def fastest(runs: Sequence[Run]) -> Run:
    return min(runs, key=lambda run: run.seconds)


def rows(runs: dict[str, list[Run]]) -> list[list[str]]:
    found = []
    for name, each in runs.items():
        best = fastest(each)
        slowest = max(run.seconds for run in each)
        peak = f"{max(run.peak for run in each) / 1e6:.0f}" if best.peak else ""
        found.append(
            [name, f"{best.seconds:.1f}", f"{slowest:.1f}", f"{best.size / 1e6:.1f}", peak]
        )
        if len(best.steps) > 1:
            found += [
                [f"  {step}", f"{taken:.1f}", *3 * [""]] for step, taken in best.steps.items()
            ]
    return found


def measure() -> dict[str, float]:
    """Make each ramdisk ROUNDS times, in turns; the fastest of each counts."""
    runs: dict[str, list[Run]] = {"the article": [], "ext2.gz": [], "cpio.zst": []}
    with Workbench() as workbench:
        report.progress("the tree")
        files, megabytes = map(int, workbench.sh(MAKE_TREE).split())
        if megabytes < SMALLEST_TREE:
            raise LabError(f"{TREE}: {megabytes} MB; it must have {SMALLEST_TREE}")
        for turn in range(ROUNDS):
            runs["ext2.gz"].append(ours(workbench, "ext2"))
            runs["cpio.zst"].append(ours(workbench, "cpio"))
            runs["the article"].append(by_hand(workbench, runs["ext2.gz"][0].kib))
            taken = {name: f"{each[-1].seconds:.1f} s" for name, each in runs.items()}
            report.progress(f"{turn + 1} of {ROUNDS}: {taken}")
    print(f"A ramdisk of {files} names, {megabytes} MB: the fastest of {ROUNDS} in turns.")
    print(
        "`cp -a` into a folder stands for mount, rsync and umount; filling the image is not timed."
    )
    print(report.machine())
    print(report.table(["", "seconds", "slowest", "MB", "peak MB"], rows(runs)))
    article, ext2, cpio = (fastest(each) for each in runs.values())
    return {
        "speedup": article.seconds / ext2.seconds,
        "size_ratio": ext2.size / article.size,
        "peak_mb": max(run.peak for each in runs.values() for run in each) / 1e6,
        "cpio_speedup": article.seconds / cpio.seconds,
        "cpio_size_ratio": cpio.size / article.size,
    }


def main() -> int:
    try:
        return report.run(measure)
    except ScriptFailed as error:
        print(f"bench: {error}", file=sys.stderr)
        return 2


if __name__ == "__main__":
    sys.exit(main())
