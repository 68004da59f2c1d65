"""The kernel's `ip=`: how it configures its network before it mounts its root.

Documentation/admin-guide/nfs/nfsroot.rst says what it may hold, net/ipv4/ipconfig.c what becomes of
it. That code takes whatever it does not understand for an address, 0.0.0.0 mostly, and then waits
for ever; so what is written here is checked here.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from ipaddress import IPv4Address
from typing import Annotated

from pydantic import BeforeValidator, PlainSerializer
from pydantic_settings import NoDecode

# net/ipv4/ipconfig.c, ic_proto_name(); the empty one is `any`.
STATIC = frozenset({"off", "none"})
_METHODS = STATIC | {"dhcp", "bootp", "rarp", "both", "any", "on"}
# `dhcp,TYPE,VALUE`: the client identifier, of 251 bytes at most, its type first.
_CLIENT_ID = re.compile(r"dhcp,(0x[0-9a-fA-F]{1,2}|\d{1,3}),[A-Za-z0-9_.-]{1,250}")
# utsname has room for 64 (__NEW_UTS_LEN); behind the first "." is the NIS domain.
_HOSTNAME = re.compile(r"[A-Za-z0-9]([A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")
_DEVICE = re.compile(r"[A-Za-z0-9_.@-]{1,15}")  # IFNAMSIZ
_ADDRESSES = ("client", "server", "gateway", "netmask")
_NAMESERVERS = ("dns0", "dns1", "ntp0")
_PARTS = (*_ADDRESSES, "hostname", "device", "method", *_NAMESERVERS)
_MASK_BITS = 32


@dataclass(frozen=True)
class IpParameter:
    """The value of `ip=`; None or "" is left to autoconfiguration."""

    client: IPv4Address | None = None
    server: IPv4Address | None = None  # where the root is, if `nfsroot=` does not say
    gateway: IPv4Address | None = None
    netmask: IPv4Address | None = None
    hostname: str = ""
    device: str = ""
    method: str = ""  # dhcp, bootp, rarp, both, any, on, off, none, or dhcp,TYPE,CLIENT-ID
    dns0: IPv4Address | None = None
    dns1: IPv4Address | None = None
    ntp0: IPv4Address | None = None

    @property
    def asks(self) -> frozenset[str]:
        """Return the protocols that it asks by: those of dhcp, bootp, rarp that one must answer."""
        method = self.method.partition(",")[0] or "any"
        if method in STATIC:
            return frozenset()
        several = {"both": {"bootp", "rarp"}, "any": {"dhcp", "bootp", "rarp"}}
        return frozenset(several.get("any" if method == "on" else method, {method}))

    def named(self, hostname: str = "", device: str = "") -> IpParameter:
        """Put in a name and a device where there is none yet, and something is configured."""
        if self in (IpParameter(method="off"), IpParameter(method="none")):
            return self  # `ip=off` alone: no network at all
        return replace(self, hostname=self.hostname or hostname, device=self.device or device)

    def __str__(self) -> str:
        if self == IpParameter(method=self.method):
            return self.method
        values = ["" if (value := getattr(self, part)) is None else str(value) for part in _PARTS]
        return ":".join(values).rstrip(":")


def parse(text: object) -> IpParameter:
    """Read the value of `ip=`; ValueError says which part is wrong, and why."""
    if isinstance(text, IpParameter):
        return text
    word = str(text)
    if ":" not in word and not _is_address(word):
        return IpParameter(method=_method(word))
    values = word.split(":")
    if len(values) > len(_PARTS):
        raise ValueError(f"it has {len(values)} parts, of which the kernel knows {len(_PARTS)}")
    said = dict(zip(_PARTS, values, strict=False))
    parameter = IpParameter(
        client=_address(said, "client"),
        server=_address(said, "server"),
        gateway=_address(said, "gateway"),
        netmask=_netmask(said),
        hostname=_matching(said, "hostname", _HOSTNAME),
        device=_matching(said, "device", _DEVICE),
        method=_method(said.get("method", "")),
        dns0=_address(said, "dns0"),
        dns1=_address(said, "dns1"),
        ntp0=_address(said, "ntp0"),
    )
    if parameter.client is None and not parameter.asks:
        raise ValueError(f"client: {parameter.method} asks nobody, so an address has to be there")
    return parameter


def _is_address(word: str) -> bool:
    return re.fullmatch(r"[\d.]+", word) is not None


def _method(word: str) -> str:
    if word and word not in _METHODS and not _CLIENT_ID.fullmatch(word):
        raise ValueError(f"method: {word} is none of {', '.join(sorted(_METHODS))}")
    return word


def _address(said: dict[str, str], part: str) -> IPv4Address | None:
    word = said.get(part, "")
    if not word:
        return None
    try:
        address = IPv4Address(word)
    except ValueError:
        raise ValueError(f"{part}: {word} is no IPv4 address") from None
    return address if int(address) else None  # the kernel takes 0.0.0.0 for none too


def _netmask(said: dict[str, str]) -> IPv4Address | None:
    mask = _address(said, "netmask")
    if mask is not None and "01" in f"{int(mask):0{_MASK_BITS}b}":
        raise ValueError(f"netmask: {mask} has holes")
    return mask


def _matching(said: dict[str, str], part: str, pattern: re.Pattern[str]) -> str:
    word = said.get(part, "")
    if word and not pattern.fullmatch(word):
        raise ValueError(f"{part}: {word} cannot be one")
    return word


# NoDecode: a variable holds the kernel's word, not the JSON that pydantic-settings expects.
Ip = Annotated[IpParameter, NoDecode, BeforeValidator(parse), PlainSerializer(str)]
