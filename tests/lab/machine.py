"""A virtual machine on the lab's network; its serial console is the evidence of its boot."""

from __future__ import annotations

import re
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from secrets import token_bytes, token_hex
from threading import Condition
from types import TracebackType
from typing import Literal

from docker.models.containers import Container

from tests.lab.feed import Feed, WaitedInVain
from tests.lab.stream import Stream

Firmware = Literal["bios", "uefi", "uefi-arm64"]
Nic = Literal["virtio-net-pci", "e1000", "e1000e"]

# $1 is the machine's name, $2 the file that its firmware's variables begin as, $3 QEMU; @TAP@ in
# what follows becomes the first tap that nobody holds. Its lock is QEMU's for as long as it lives,
# so taps need no other bookkeeping.
_START = """
name=$1 variables=$2 qemu=$3; shift 3
echo $$ >"/run/$name.pid"
for number in 0 1 2 3 4 5 6 7 8 9 10 11; do
    exec 9>"/run/tap$number.lock"
    if flock --nonblock 9; then
        cp "$variables" "/run/$name.vars"
        for word; do
            shift
            set -- "$@" "$(printf %s "$word" | sed "s/@TAP@/tap$number/")"
        done
        exec "$qemu" "$@"
    fi
done
echo 'lab: all 12 taps are in use'
exit 1
"""

_FLASH = "if=pflash,format=raw"


@dataclass(frozen=True)
class _Platform:
    """What a firmware needs of QEMU."""

    qemu: str
    machine: tuple[str, ...]
    code: str = ""  # the firmware in flash memory; "": what QEMU brings
    variables: str = "/dev/null"  # where its own copy of the variables begins


_PLATFORMS: dict[Firmware, _Platform] = {
    # Without graphics SeaBIOS mirrors what it and option ROMs print to the serial port.
    "bios": _Platform("qemu-system-x86_64", ("-machine", "q35,graphics=off", "-cpu", "max")),
    "uefi": _Platform(
        "qemu-system-x86_64",
        ("-machine", "q35", "-cpu", "max"),
        "/usr/share/OVMF/OVMF_CODE_4M.fd",
        "/usr/share/OVMF/OVMF_VARS_4M.fd",
    ),
    # Pointer authentication as the architecture has it takes half of the time that a boot takes.
    "uefi-arm64": _Platform(
        "qemu-system-aarch64",
        ("-machine", "virt", "-cpu", "max,pauth-impdef=on"),
        "/usr/share/AAVMF/AAVMF_CODE.no-secboot.fd",
        "/usr/share/AAVMF/AAVMF_VARS.fd",
    ),
}

# What a terminal would act on: CSI and other escape sequences, carriage returns, and the way in
# which iPXE takes back a prompt, whose text stays here.
_CONTROL = re.compile(
    r"\x1b\[[0-?]*[ -/]*[@-~]|\x1b[()][0-9A-Za-z]|\x1b[=>78cDEHM]|\x08 \x08|[\r\0]"
)
_UNFINISHED = re.compile(r"(\x1b(\[[0-?]*[ -/]*|[()])?|\x08 ?)\Z")


def printed(text: str) -> tuple[str, str]:
    """Return the text without control sequences, and the beginning of one at its end."""
    cut = _UNFINISHED.search(text)
    whole, rest = (text[: cut.start()], text[cut.start() :]) if cut else (text, "")
    return _CONTROL.sub("", whole), rest


@dataclass(frozen=True)
class Seen:
    """Text that appeared on the console."""

    match: re.Match[str]
    seconds: float  # since power-on
    time: float  # seconds since the epoch


@dataclass(frozen=True)
class Hardware:
    """A machine as one would order it: one network card, no disk.

    firmware     "bios": SeaBIOS, its output and the card's iPXE ROM's mirrored to the serial port.
                 "uefi", "uefi-arm64": OVMF or AAVMF, with variables of its own.
    mac          the card's address; one from 52:54:00 that is new each time.
    memory       in QEMU's notation.
    option_rom   False drops the card's iPXE ROM, so that UEFI's own PXE runs; a BIOS has no other.
    qemu         words added to QEMU's command line.
    """

    firmware: Firmware = "bios"
    nic: Nic = "virtio-net-pci"
    mac: str = field(
        default_factory=lambda: ":".join(["52:54:00", *map("{:02x}".format, token_bytes(3))])
    )
    memory: str = "1G"
    option_rom: bool = True
    qemu: tuple[str, ...] = ()

    def words(self, variables: str) -> list[str]:
        """Return QEMU's arguments; `variables` is the file with OVMF's, "@TAP@" a tap's name."""
        # Without KVM on purpose: it is not everywhere, and hangs on some hosts. The CPU "max" has a
        # random number source, without which OVMF offers no boot from the network at all.
        platform = _PLATFORMS[self.firmware]
        words = ["-accel", "tcg,thread=multi", *platform.machine, "-m", self.memory]
        words += ["-nodefaults", "-display", "none", "-no-reboot", "-serial", "stdio"]
        words += ["-object", "rng-random,id=random,filename=/dev/urandom"]
        words += ["-device", "virtio-rng-pci,rng=random"]
        words += ["-netdev", "tap,id=net,ifname=@TAP@,script=no,downscript=no"]
        card = f"{self.nic},netdev=net,mac={self.mac},bootindex=1"
        words += ["-device", card if self.option_rom else f"{card},romfile="]
        if platform.code:
            words += ["-drive", f"{_FLASH},readonly=on,file={platform.code}"]
            words += ["-drive", f"{_FLASH},file={variables}"]
        return [*words, *self.qemu]


class Machine:
    """A machine that is switched on once; a context manager that switches it on and off.

    The console's text is what a terminal would print, without its control sequences.
    """

    def __init__(
        self,
        container: Container,
        feed: Feed,
        hardware: Hardware,
        echo: Callable[[str], None] | None = None,
    ) -> None:
        self.hardware = hardware
        self.console = ""
        self.powered_on = 0.0  # seconds since the epoch
        self._name = f"machine-{token_hex(4)}"
        self._container, self._feed, self._echo = container, feed, echo
        self._changed = Condition()
        self._pieces: list[tuple[int, float]] = []  # length of the console and monotonic time
        self._unfinished = ""
        self._position = 0  # where the next `expect` begins
        self._start = 0.0  # monotonic
        self._stream: Stream | None = None

    def __enter__(self) -> Machine:
        self.power_on()
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.power_off()

    def power_on(self) -> None:
        """Start the machine; a Machine is started once."""
        assert self._stream is None, "make another Machine of the same Hardware to boot again"
        words = self.hardware.words(f"/run/{self._name}.vars")
        platform = _PLATFORMS[self.hardware.firmware]
        argv = ["sh", "-c", _START, "sh", self._name, platform.variables, platform.qemu, *words]
        self._start, self.powered_on = time.monotonic(), time.time()
        self._stream = Stream(self._container, argv, self._hear, self._wake)

    def power_off(self) -> None:
        """Cut the power, if it is on, and wait until the machine is gone."""
        if self._stream is not None and self.is_on:
            self._container.exec_run(["sh", "-c", f'kill -KILL "$(cat /run/{self._name}.pid)"'])
            self._stream.ended.wait(10)

    @property
    def is_on(self) -> bool:
        """Tell whether the machine runs."""
        return self._stream is not None and not self._stream.ended.is_set()

    def expect(self, pattern: str, timeout: float) -> Seen:
        """Return the next match on the console, after that of the last `expect`.

        `timeout` in seconds from now. Raises WaitedInVain with the console's last lines when it
        does not come in time or the machine went off.
        """
        expression = re.compile(pattern)
        deadline = time.monotonic() + timeout
        with self._changed:
            while True:
                # Before the search: what the machine printed last must have been searched.
                was_on, left = self.is_on, deadline - time.monotonic()
                if found := expression.search(self.console, self._position):
                    self._position = found.end()
                    return self._seen(found)
                if not was_on or left <= 0:
                    break
                self._changed.wait(left)
        why = f"not within {timeout:g} s" if was_on else "the machine went off before"
        raise WaitedInVain(f"/{pattern}/ on the console: {why}\n{self.tail()}\n{self._feed.tail()}")

    def first(self, pattern: str) -> Seen | None:
        """Return the first match on the whole console so far; None when there is none."""
        with self._changed:
            found = re.search(pattern, self.console)
            return self._seen(found) if found else None

    def every(self, pattern: str) -> tuple[Seen, ...]:
        """Return every match on the whole console so far."""
        with self._changed:
            return tuple(map(self._seen, re.finditer(pattern, self.console)))

    def send(self, text: str) -> None:
        """Type on the serial console; a line ends with a newline."""
        assert self._stream is not None, "the machine was never on"
        self._stream.send(text)

    def wait_off(self, timeout: float) -> None:
        """Wait until the machine went off by itself (a reboot counts). Raises WaitedInVain."""
        assert self._stream is not None, "the machine was never on"
        if not self._stream.ended.wait(timeout):
            raise WaitedInVain(f"the machine is still on after {timeout:g} s\n{self.tail()}")

    def tail(self, lines: int = 40) -> str:
        """Return the console's last lines, indented, under a heading."""
        last = [line for line in self.console.splitlines() if line.strip()][-lines:]
        return "\n  ".join(["the console's last lines:", *last])

    def _seen(self, match: re.Match[str]) -> Seen:
        moment = next(moment for length, moment in self._pieces if length >= match.end())
        seconds = moment - self._start
        return Seen(match, seconds, self.powered_on + seconds)

    def _hear(self, piece: str) -> None:
        text, self._unfinished = printed(self._unfinished + piece)
        with self._changed:
            self.console += text
            self._pieces.append((len(self.console), time.monotonic()))
            self._changed.notify_all()
        if self._echo is not None:
            self._echo(text)

    def _wake(self) -> None:
        with self._changed:
            self._changed.notify_all()
