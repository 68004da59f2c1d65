"""How many answers neopxe gives in a second, and how long the slowest wait: `make bench-neopxe`.

The server is the real command on loopback, one process of one thread, with a full menu. Clients are
sockets of this process, each with one question on its way, as a room of machines has. Questions
change between the menu and an item. The baseline is a server in Python that only sends back what
came: what is left between the two is the work of a PXE boot server.
"""

from __future__ import annotations

import selectors
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from appliance.neopxe import packet
from appliance.neopxe.boot_menu import VENDOR_CLASS
from appliance.neopxe.packet import MessageType, Op, Option, Packet, PxeOption

CHECKOUT = Path(__file__).parents[1]
ANSWERS = 10_000  # in each run
RUNS = 3  # of each, interleaved; the middle one counts
CLIENTS = (1, 8, 32)
GATHERED_FROM = 32  # clients of the runs that the last line is about
DEADLINE = 10.0  # seconds for any answer: loopback loses none
KERNELS = 6  # as many as have room in the menu
CONFIGURATION = """\
ip_addr=127.0.0.1
prompt=Press [F8] for menu...
service=1,127.0.0.1,undionly.kpxe,Bootdrop
arch_file=1,efi-x64,snponly.efi
""" + "".join(
    f"service={0x8000 + number},127.0.0.1,entry/{number}/pxelinux.0,bzImage-{number} (6.12.0)\n"
    f"arch_file={0x8000 + number},efi-x64,entry/{number}/snponly.efi\n"
    for number in range(KERNELS)
)
ECHO = """
import socket, sys
server = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
server.bind(("127.0.0.1", 0))
print(f"ready 127.0.0.1:{server.getsockname()[1]}", file=sys.stderr, flush=True)
while True:
    server.sendto(*server.recvfrom(4096))
"""


@dataclass(frozen=True)
class Run:
    """What one run took."""

    answers_per_s: float
    p50_ms: float
    p99_ms: float
    worst_ms: float


def questions(client: int) -> tuple[bytes, bytes]:
    """Return what firmware asks: for the menu, and for the last kernel."""
    options: dict[int, bytes] = {
        Option.MESSAGE_TYPE: bytes([MessageType.REQUEST]),
        Option.VENDOR_CLASS: VENDOR_CLASS + b":Arch:00007:UNDI:003016",
        Option.ARCHITECTURE: b"\0\7",
        Option.CLIENT_GUID: bytes(17),
    }
    boot_item = (0x8000 + KERNELS - 1).to_bytes(2, "big") + b"\0\0"
    item = packet.encode([(PxeOption.BOOT_ITEM, boot_item)]) + b"\xff"
    menu, file = (
        packet.build(Packet(Op.REQUEST, client, client.to_bytes(6, "big"), options=each))
        for each in (options, options | {Option.VENDOR: item})
    )
    return menu, file


def measure(port: int, clients: int) -> Run:
    """Ask until there are ANSWERS answers, each client as soon as it got its last one."""
    asked_at: dict[int, float] = {}
    took: list[float] = []
    sent = 0
    with selectors.DefaultSelector() as selector:
        start = time.perf_counter()
        for client in range(1, clients + 1):
            asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
            asking.connect(("127.0.0.1", port))
            selector.register(asking, selectors.EVENT_READ, questions(client))
            asked_at[asking.fileno()] = time.perf_counter()
            asking.send(questions(client)[0])
            sent += 1
        while len(took) < ANSWERS:
            ready = selector.select(DEADLINE)
            if not ready:
                raise SystemExit(f"bench: no answer in {DEADLINE:.0f} s after {len(took)}")
            for key, _ in ready:
                asking = socket_of(key)
                asking.recv(4096)
                now = time.perf_counter()
                took.append(now - asked_at[key.fd])
                if sent < ANSWERS:
                    asked_at[key.fd] = now
                    asking.send(key.data[sent % 2])
                    sent += 1
        whole = time.perf_counter() - start
        for key in list(selector.get_map().values()):
            socket_of(key).close()
    cuts = [1000 * cut for cut in statistics.quantiles(took, n=100)]
    return Run(ANSWERS / whole, cuts[49], cuts[98], 1000 * max(took))


def socket_of(key: selectors.SelectorKey) -> socket.socket:
    assert isinstance(key.fileobj, socket.socket)
    return key.fileobj


@contextmanager
def serving(argv: list[str], log: Path) -> Iterator[int]:
    """Run a server and return its port; its log is read by another process, as supervisord does."""
    with (
        subprocess.Popen(argv, cwd=CHECKOUT, stderr=subprocess.PIPE, text=True) as server,
        log.open("w") as written,
    ):
        assert server.stderr is not None
        port = int(server.stderr.readline().rpartition(":")[2])
        reader = subprocess.Popen(["cat"], stdin=server.stderr, stdout=written)
        try:
            yield port
        finally:
            server.terminate()
            server.wait()
            reader.wait()


def median(runs: list[Run]) -> Run:
    """Return the run in the middle, by its answers in a second."""
    return sorted(runs, key=lambda run: run.answers_per_s)[len(runs) // 2]


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "neopxe.conf")
        file.write_text(CONFIGURATION)
        neopxe = [sys.executable, "-m", "appliance.neopxe", "--config", str(file), "--port", "0"]
        echo = [sys.executable, "-c", ECHO]
        runs: dict[tuple[str, int], list[Run]] = {}
        with (
            serving(neopxe, Path(folder, "neopxe.log")) as ours,
            serving(echo, Path(folder, "echo.log")) as baseline,
        ):
            for _ in range(RUNS):
                for clients in CLIENTS:
                    runs.setdefault(("neopxe", clients), []).append(measure(ours, clients))
                    runs.setdefault(("echo", clients), []).append(measure(baseline, clients))
    print(f"{ANSWERS} answers a run, the middle one of {RUNS}; neopxe logs 500 a second")
    print("clients  server  answers/s  p50 ms  p99 ms  worst ms")
    for (name, clients), each in sorted(runs.items(), key=lambda item: item[0][1]):
        run = median(each)
        row = f"{run.answers_per_s:9.0f}  {run.p50_ms:6.2f}  {run.p99_ms:6.2f}  {run.worst_ms:8.2f}"
        print(f"{clients:7}  {name:6}  {row}")
    last = median(runs["neopxe", GATHERED_FROM])
    print(f"answers_per_s={last.answers_per_s:.0f} p99_ms={last.p99_ms:.2f}")


if __name__ == "__main__":
    main()
