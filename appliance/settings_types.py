"""What a setting may hold: the types and checks that the table of settings is made of."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer

PRINTABLE = re.compile(r"[\x20-\x7e]*")
# Of nfs(5): versions, and what is not TCP.
_NFS_VERSION = re.compile(r"(vers|nfsvers|minorversion)=.*|v[234](\.[0-9])?")
_NFS_TRANSPORT = re.compile(r"udp|rdma|proto=(?!tcp$).*")
_IPXE_SYNTAX = frozenset({";", "||", "&&"})


@dataclass(frozen=True)
class AddressRange:
    """Addresses from `first` to `last`, both included."""

    first: IPv4Address
    last: IPv4Address

    @classmethod
    def parse(cls, text: object) -> AddressRange:
        """Read `FIRST-LAST`; ValueError when it is anything else or runs backwards."""
        if isinstance(text, AddressRange):
            return text
        first, separator, last = str(text).partition("-")
        if not separator:
            raise ValueError("no '-' in it")
        parsed = cls(IPv4Address(first.strip()), IPv4Address(last.strip()))
        if parsed.first > parsed.last:
            raise ValueError("it ends before it begins")
        return parsed

    def __contains__(self, address: IPv4Address) -> bool:
        return self.first <= address <= self.last

    def __str__(self) -> str:
        return f"{self.first}-{self.last}"


def yaml_off(value: object) -> object:
    """Give back the `off` that YAML 1.1 reads as false."""
    return "off" if value is False else value


Range = Annotated[AddressRange, BeforeValidator(AddressRange.parse), PlainSerializer(str)]


def is_plain_cmdline(text: str) -> bool:
    """Tell whether a command line is printable ASCII of which iPXE would run nothing.

    It would expand `${`, and end the command or begin a comment at some words; there is no way to
    quote them.
    """
    return (
        PRINTABLE.fullmatch(text) is not None
        and "${" not in text
        and not any(word in _IPXE_SYNTAX or word.startswith("#") for word in text.split())
    )


def checked_nfs_options(text: str) -> str:
    """Give back options to mount a root with; ValueError names one that would contradict others.

    The last one wins: a kernel would mount by another version than it is known to have.
    """
    for word in text.split(","):
        if _NFS_VERSION.fullmatch(word):
            raise ValueError(f"{word}: the version is for BOOTDROP_NFS_VERSION")
        if _NFS_TRANSPORT.fullmatch(word):
            raise ValueError(f"{word}: roots are served by TCP alone")
    return text
