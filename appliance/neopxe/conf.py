"""The grammar of neopxe.conf: the article's, and our extensions (docs/neopxe.md).

    # a comment
    ip_addr=192.168.10.1
    prompt=Press [F8] for menu...
    prompt_timeout=10
    service=1,192.168.10.1,pxelinux.0,Linux
    arch_file=1,efi-x64,snponly.efi
    discovery=multicast
    multicast_addr=224.0.1.2
    listen_67=br0

`service=TYPE,IP,FILE,NAME` is an item of the firmware's menu, in this order; type 0 boots the
local disk and has no FILE. `arch_file=TYPE,ARCHITECTURE,FILE` gives machines of an architecture
another file for an item; without one, they get the service's FILE only when they are BIOS machines
or the item has no arch_file at all. `ipxe` is an architecture too: iPXE, whatever runs below it,
which comes before its machine's own. A menu shows what its machine has a file for.

`discovery` is how firmware looks for the server of an item: `unicast` to the address in the menu,
unless told otherwise, `multicast` to `multicast_addr`, or `broadcast`, which is heard on the
interface that `listen_67` names.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from enum import StrEnum
from functools import cached_property
from ipaddress import IPv4Address

LOCAL_BOOT = 0  # type of the item that leaves the machine to its own disk (PXE 2.1 table 2-2)

# Names of option 93's numbers (RFC 4578 section 2.1 with its erratum; IANA's registry): both 7 and
# 9 are in use for x64.
ARCHITECTURES: dict[str, frozenset[int]] = {
    "bios": frozenset({0}),
    "efi-ia32": frozenset({6}),
    "efi-x64": frozenset({7, 9}),
    "efi-arm64": frozenset({11}),
}

# Not by option 93: what sends user class iPXE takes scripts, on every machine.
IPXE = "ipxe"
_ARCHITECTURE_NAMES = (*ARCHITECTURES, IPXE)

MULTICAST_ADDR = IPv4Address("224.0.1.2")  # where nothing else is said (PXE 2.1 section 2.2.3)

_HIGHEST_TYPE = 0xFFFF
LONGEST_FILE = 127  # the `file` field has 128 bytes and ends with a NUL
LONGEST_TEXT = 69  # EDK2 shows no more
_LONGEST_TIMEOUT = 255
LONGEST_MENU = 255  # bytes: it is one option
MOST_ITEMS = 24  # EDK2 has room for no more

_INTERFACE = re.compile(r"[^\s/]{1,15}")  # IFNAMSIZ with its NUL (linux/if.h)
_PRINTABLE = re.compile(r"[\x20-\x7e]*")


class Discovery(StrEnum):
    """How firmware finds the boot server of an item (PXE 2.1 section 2.2.3)."""

    UNICAST = "unicast"
    BROADCAST = "broadcast"
    MULTICAST = "multicast"


@dataclass(frozen=True)
class Problem:
    """Something wrong in a configuration; line and column count from 1."""

    line: int
    column: int
    message: str

    def __str__(self) -> str:
        return f"{self.line}:{self.column}: {self.message}"


class BadConfiguration(Exception):
    """A configuration with `problems`, in the order of their lines."""

    def __init__(self, problems: tuple[Problem, ...]) -> None:
        super().__init__("; ".join(map(str, problems)))
        self.problems = problems


@dataclass(frozen=True)
class Service:
    """An item of the boot menu."""

    type: int  # 0 to 65535; 0 is LOCAL_BOOT
    server: IPv4Address  # who answers for it
    file: str  # layer 0, relative to the TFTP root; "" for LOCAL_BOOT
    name: str  # what the menu shows
    arch_files: tuple[tuple[str, str], ...] = ()  # (architecture's name, file)

    def file_for(self, architectures: Sequence[str], layer: int = 0) -> str | None:
        """Return the file for a machine; None when there is none.

        `architectures`: what the machine is called, the nearest first. A bootstrap that asks for a
        further layer N gets NAME.N, if it is itself called NAME.0: the convention that pxelinux.0
        has its name from. Other files have no further layers.
        """
        file = self._first_file(architectures)
        if file is None or not layer:
            return file
        name, dot, first = file.rpartition(".")
        further = f"{name}.{layer}"
        fits = len(further) <= LONGEST_FILE
        return further if name and dot and first == "0" and fits else None

    def _first_file(self, architectures: Sequence[str]) -> str | None:
        own = dict(self.arch_files)
        for name in architectures:
            if name in own:
                return own[name]
        if "bios" in architectures or not self.arch_files:
            return self.file or None
        return None


@dataclass(frozen=True)
class Configuration:
    """What a PXE boot server offers."""

    ip_addr: IPv4Address
    services: tuple[Service, ...]  # at least one, in the menu's order
    prompt: str = "Press [F8] for menu..."
    prompt_timeout: int = 0  # seconds; 0: the first item at once, 255: wait for a key
    discovery: Discovery = Discovery.UNICAST
    multicast_addr: IPv4Address = MULTICAST_ADDR  # only for Discovery.MULTICAST
    listen_67: str = ""  # interface on which to hear discovery on UDP 67 too; "": nowhere

    def service(self, type_: int) -> Service | None:
        """Return the item of a type."""
        return next((service for service in self.services if service.type == type_), None)

    def __hash__(self) -> int:
        return self._hash

    @cached_property
    def _hash(self) -> int:
        # Once: menus are cached by it, and it took as long as an answer.
        return hash((self.ip_addr, self.services, self.prompt, self.prompt_timeout))


def menu_size(prompt: str, names: Iterable[str], discovery: Discovery = Discovery.UNICAST) -> int:
    """Return how many bytes of option 43 a menu takes; there is room for 255 (PXE 2.1 table 2-1).

    Firmware is given the menu whole: 6, 7 for multicast, 8, 9, 10 and the end.
    """
    lengths = [len(name) for name in names]
    multicast = 2 + 4 if discovery is Discovery.MULTICAST else 0
    servers = 2 + (2 + 1 + 4) * len(lengths)
    items = 2 + (2 + 1) * len(lengths) + sum(lengths)
    return (2 + 1) + multicast + servers + items + (2 + 1 + len(prompt)) + 1


def parse(text: str) -> Configuration:
    """Read a configuration. Raises BadConfiguration with all that is wrong."""
    reader = _Reader()
    for number, line in enumerate(text.splitlines(), 1):
        reader.read(number, line)
    return reader.result()


class _Wrong(Exception):
    def __init__(self, offset: int, message: str) -> None:
        self.offset, self.message = offset, message


@dataclass
class _Reader:
    problems: list[Problem] = field(default_factory=list)
    values: dict[str, object] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)  # where each of `values` stands
    services: dict[int, Service] = field(default_factory=dict)
    service_lines: list[int] = field(default_factory=list)
    arch_files: list[tuple[int, int, str, str]] = field(default_factory=list)

    def read(self, number: int, line: str) -> None:
        if not line.strip() or line.lstrip().startswith("#"):
            return
        key, separator, value = line.partition("=")
        start = len(key) + len(separator)
        readers: dict[str, Callable[[int, str], None]] = {
            "ip_addr": self._ip_addr,
            "prompt": self._prompt,
            "prompt_timeout": self._prompt_timeout,
            "service": self._service,
            "arch_file": self._arch_file,
            "discovery": self._discovery,
            "multicast_addr": self._multicast_addr,
            "listen_67": self._listen_67,
        }
        try:
            if not separator:
                raise _Wrong(0, "no `=`; a line is `key=value`, or a comment that starts with `#`")
            key = key.strip()
            if key not in readers:
                near = difflib.get_close_matches(key, readers, n=1)
                hint = f"did you mean {near[0]}?" if near else f"known: {', '.join(readers)}"
                raise _Wrong(0, f"unknown key {key!r}; {hint}")
            if key in self.values:
                raise _Wrong(0, f"{key} stands here for the second time")
            if not _PRINTABLE.fullmatch(value):
                raise _Wrong(start, "only printable ASCII can be shown by firmware")
            self.lines[key] = number
            try:
                readers[key](number, value)
            except _Wrong as wrong:
                raise _Wrong(start + wrong.offset, wrong.message) from None
        except _Wrong as wrong:
            self.problems.append(Problem(number, wrong.offset + 1, wrong.message))

    def result(self) -> Configuration:
        for line, type_, architecture, file in self.arch_files:
            service = self.services.get(type_)
            if service is None or type_ == LOCAL_BOOT:
                message = f"no service of type {type_} that loads a file"
                self._wrong(line, message)
                continue
            arch_files = (*service.arch_files, (architecture, file))
            self.services[type_] = replace(service, arch_files=arch_files)
        if not self.problems:
            self._look_at_the_whole()
        if self.problems:
            raise BadConfiguration(tuple(sorted(self.problems, key=lambda each: each.line)))
        return Configuration(services=tuple(self.services.values()), **self.values)  # type: ignore[arg-type]

    def _look_at_the_whole(self) -> None:
        """Find what no line tells by itself."""
        if "ip_addr" not in self.values:
            self._wrong(1, "ip_addr=ADDRESS is missing")
        if not self.services:
            self._wrong(1, "service=TYPE,IP,FILE,NAME is missing")
        discovery = self.values.get("discovery", Discovery.UNICAST)
        if discovery is Discovery.BROADCAST and "listen_67" not in self.values:
            message = "add listen_67=INTERFACE; nobody else hears a broadcast discovery"
            self._wrong(self.lines["discovery"], message)
        if "multicast_addr" in self.values and discovery is not Discovery.MULTICAST:
            self._wrong(self.lines["multicast_addr"], "only with discovery=multicast")
        self._find_items_without_room(discovery is Discovery.MULTICAST)

    def _find_items_without_room(self, multicast: bool) -> None:
        prompt = str(self.values.get("prompt", Configuration.prompt))
        discovery = Discovery.MULTICAST if multicast else Discovery.UNICAST
        names = [service.name for service in self.services.values()]
        for count, line in enumerate(self.service_lines, 1):
            size = menu_size(prompt, names[:count], discovery)
            if size > LONGEST_MENU:
                self._wrong(line, f"the menu has no room for this: {size} bytes, 255 at most")
                return
            if count > MOST_ITEMS:
                self._wrong(line, f"{count} items, {MOST_ITEMS} at most")
                return

    def _wrong(self, line: int, message: str) -> None:
        self.problems.append(Problem(line, 1, message))

    def _ip_addr(self, _: int, value: str) -> None:
        self.values["ip_addr"] = _address(0, value)

    def _prompt(self, _: int, value: str) -> None:
        self.values["prompt"] = _text(0, value)

    def _prompt_timeout(self, _: int, value: str) -> None:
        self.values["prompt_timeout"] = _number(0, value, _LONGEST_TIMEOUT, "seconds")

    def _service(self, line: int, value: str) -> None:
        (at_type, type_), (at_ip, ip), (at_file, file), (at_name, name) = _fields(
            value, ("TYPE", "IP", "FILE", "NAME")
        )
        number = _number(at_type, type_, _HIGHEST_TYPE, "")
        if number in self.services:
            raise _Wrong(at_type, f"type {number} stands here for the second time")
        if bool(file.strip()) == (number == LOCAL_BOOT):
            raise _Wrong(at_file, "type 0 boots the local disk and has no FILE, others need one")
        if not name.strip():
            raise _Wrong(at_name, "NAME is empty; it is what the menu shows")
        self.services[number] = Service(
            number, _address(at_ip, ip), _file(at_file, file), _text(at_name, name.strip())
        )
        self.service_lines.append(line)

    def _arch_file(self, line: int, value: str) -> None:
        (at_type, type_), (at_arch, arch), (at_file, file) = _fields(
            value, ("TYPE", "ARCHITECTURE", "FILE")
        )
        arch = arch.strip()
        if arch not in _ARCHITECTURE_NAMES:
            known = ", ".join(_ARCHITECTURE_NAMES)
            raise _Wrong(at_arch, f"unknown architecture {arch!r}; {known}")
        if not file.strip():
            raise _Wrong(at_file, "FILE is empty")
        number = _number(at_type, type_, _HIGHEST_TYPE, "")
        self.arch_files.append((line, number, arch, _file(at_file, file)))

    def _discovery(self, _: int, value: str) -> None:
        if value.strip() not in set(Discovery):
            raise _Wrong(0, f"{value.strip()!r} is none of {', '.join(Discovery)}")
        self.values["discovery"] = Discovery(value.strip())

    def _multicast_addr(self, _: int, value: str) -> None:
        address = _address(0, value)
        if not address.is_multicast:
            raise _Wrong(0, f"{address} is not a multicast address")
        self.values["multicast_addr"] = address

    def _listen_67(self, _: int, value: str) -> None:
        if not _INTERFACE.fullmatch(value.strip()):
            raise _Wrong(0, f"{value.strip()!r} cannot be an interface's name")
        self.values["listen_67"] = value.strip()


def _fields(value: str, names: tuple[str, ...]) -> list[tuple[int, str]]:
    """Return each field with where it starts; the last one may hold commas."""
    parts = value.split(",", len(names) - 1)
    if len(parts) < len(names):
        raise _Wrong(0, f"{len(parts)} of {len(names)} fields; it is {','.join(names)}")
    starts = [0]
    for part in parts[:-1]:
        starts.append(starts[-1] + len(part) + 1)
    return list(zip(starts, parts, strict=True))


def _address(offset: int, text: str) -> IPv4Address:
    try:
        return IPv4Address(text.strip())
    except ValueError:
        raise _Wrong(offset, f"{text.strip()!r} is not an IPv4 address") from None


def _number(offset: int, text: str, highest: int, unit: str) -> int:
    if not re.fullmatch(r"[0-9]{1,5}", text.strip()) or int(text) > highest:
        raise _Wrong(offset, f"{text.strip()!r} is not a number from 0 to {highest} {unit}".strip())
    return int(text)


def _text(offset: int, text: str) -> str:
    if len(text) > LONGEST_TEXT:
        raise _Wrong(offset, f"{len(text)} characters, {LONGEST_TEXT} at most")
    return text


def _file(offset: int, text: str) -> str:
    if len(text.strip()) > LONGEST_FILE:
        raise _Wrong(offset, f"{len(text.strip())} characters, {LONGEST_FILE} at most")
    return text.strip()
