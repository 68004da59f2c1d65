"""The grammar of neopxe.conf: the article's, and `arch_file`, our extension.

    # a comment
    ip_addr=192.168.10.1
    prompt=Press [F8] for menu...
    prompt_timeout=10
    service=1,192.168.10.1,pxelinux.0,Linux
    arch_file=1,efi-x64,snponly.efi

`service=TYPE,IP,FILE,NAME` is an item of the firmware's menu, in this order; type 0 boots the
local disk and has no FILE. `arch_file=TYPE,ARCHITECTURE,FILE` gives machines of an architecture
another file for an item; without one, they get the service's FILE only when they are BIOS machines
or the item has no arch_file at all.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable
from dataclasses import dataclass, field
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

_HIGHEST_TYPE = 0xFFFF
_LONGEST_FILE = 127  # the `file` field has 128 bytes and ends with a NUL
_LONGEST_TEXT = 69  # EDK2 shows no more
_LONGEST_TIMEOUT = 255
_LONGEST_VENDOR_OPTION = 255

_PRINTABLE = re.compile(r"[\x20-\x7e]*")


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
    file: str  # first file, relative to the TFTP root; "" for LOCAL_BOOT
    name: str  # what the menu shows
    arch_files: tuple[tuple[str, str], ...] = ()  # (architecture's name, file)

    def file_for(self, architecture: int) -> str | None:
        """Return the file for a machine by its number in option 93; None when there is none."""
        for name, file in self.arch_files:
            if architecture in ARCHITECTURES[name]:
                return file
        if architecture in ARCHITECTURES["bios"] or not self.arch_files:
            return self.file or None
        return None


@dataclass(frozen=True)
class Configuration:
    """What a PXE boot server offers."""

    ip_addr: IPv4Address
    services: tuple[Service, ...]  # at least one, in the menu's order
    prompt: str = "Press [F8] for menu..."
    prompt_timeout: int = 0  # seconds; 0: the first item at once, 255: wait for a key

    def service(self, type_: int) -> Service | None:
        """Return the item of a type."""
        return next((service for service in self.services if service.type == type_), None)


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
    services: dict[int, Service] = field(default_factory=dict)
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
                self.problems.append(Problem(line, 1, message))
                continue
            arch_files = (*service.arch_files, (architecture, file))
            self.services[type_] = Service(
                service.type, service.server, service.file, service.name, arch_files
            )
        if "ip_addr" not in self.values and not self.problems:
            self.problems.append(Problem(1, 1, "ip_addr=ADDRESS is missing"))
        if not self.services and not self.problems:
            self.problems.append(Problem(1, 1, "service=TYPE,IP,FILE,NAME is missing"))
        if self.problems:
            raise BadConfiguration(tuple(sorted(self.problems, key=lambda each: each.line)))
        return Configuration(services=tuple(self.services.values()), **self.values)  # type: ignore[arg-type]

    def _ip_addr(self, _: int, value: str) -> None:
        self.values["ip_addr"] = _address(0, value)

    def _prompt(self, _: int, value: str) -> None:
        self.values["prompt"] = _text(0, value)

    def _prompt_timeout(self, _: int, value: str) -> None:
        self.values["prompt_timeout"] = _number(0, value, _LONGEST_TIMEOUT, "seconds")

    def _service(self, _: int, value: str) -> None:
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
        size = self._vendor_option()
        if size > _LONGEST_VENDOR_OPTION:
            del self.services[number]
            raise _Wrong(0, f"the menu has no room for this: {size} bytes, 255 at most")

    def _arch_file(self, line: int, value: str) -> None:
        (at_type, type_), (at_arch, arch), (at_file, file) = _fields(
            value, ("TYPE", "ARCHITECTURE", "FILE")
        )
        arch = arch.strip()
        if arch not in ARCHITECTURES:
            raise _Wrong(at_arch, f"unknown architecture {arch!r}; {', '.join(ARCHITECTURES)}")
        if not file.strip():
            raise _Wrong(at_file, "FILE is empty")
        number = _number(at_type, type_, _HIGHEST_TYPE, "")
        self.arch_files.append((line, number, arch, _file(at_file, file)))

    def _vendor_option(self) -> int:
        """Return the length of option 43 with all items: 6, 8, 9, 10 and the end (PXE 2.1)."""
        prompt = str(self.values.get("prompt", Configuration.prompt))
        servers = sum(2 + 1 + 4 for _ in self.services)
        menu = sum(2 + 1 + len(service.name) for service in self.services.values())
        return (2 + 1) + (2 + servers) + (2 + menu) + (2 + 1 + len(prompt)) + 1


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
    if len(text) > _LONGEST_TEXT:
        raise _Wrong(offset, f"{len(text)} characters, {_LONGEST_TEXT} at most")
    return text


def _file(offset: int, text: str) -> str:
    if len(text.strip()) > _LONGEST_FILE:
        raise _Wrong(offset, f"{len(text.strip())} characters, {_LONGEST_FILE} at most")
    return text.strip()
