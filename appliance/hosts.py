"""Machines whose address is fixed, as a setting spells them: `MAC=ADDRESS MAC=ADDRESS`."""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer
from pydantic_settings import NoDecode

# A machine's own address: the lowest bit of the first byte would mark a group.
_MAC = re.compile(r"[0-9a-f][02468ace](:[0-9a-f]{2}){5}")


@dataclass(frozen=True)
class Host:
    """A machine and its address; `mac` in lower case with colons."""

    mac: str
    address: IPv4Address

    @property
    def name(self) -> str:
        """Name for configurations that want one."""
        return name_of(self.mac)

    def __str__(self) -> str:
        return f"{self.mac}={self.address}"


def name_of(mac: str) -> str:
    """Return the name of a machine that nobody gave one, such as host-525400123456."""
    return f"host-{mac.replace(':', '')}"


def parse(text: object) -> object:
    """Read `MAC=ADDRESS` words; ValueError for anything else, and for what is there twice."""
    if not isinstance(text, str):
        return text
    hosts = []
    for word in text.lower().split():
        mac, _, address = word.partition("=")
        if not _MAC.fullmatch(mac):
            raise ValueError(f"{word}: does not begin with a machine's MAC address")
        hosts.append(Host(mac, IPv4Address(address)))
    for values in ({host.mac for host in hosts}, {host.address for host in hosts}):
        if len(values) < len(hosts):
            raise ValueError("a machine or an address is there twice")
    return tuple(hosts)


def spell(hosts: tuple[Host, ...]) -> str:
    """Write hosts as `parse` reads them."""
    return " ".join(map(str, hosts))


# NoDecode: a variable holds words, not the JSON that pydantic-settings expects of a tuple.
Hosts = Annotated[tuple[Host, ...], NoDecode, BeforeValidator(parse), PlainSerializer(spell)]
