"""The boot network: which interface, address, subnet and range the settings and the host give."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Interface, IPv4Network

from appliance.run import run
from appliance.settings import Settings
from appliance.settings_types import AddressRange

# The article's range starts at the tenth address; below it an admin keeps fixed ones.
_FIRST_LEASED = 10

_SETTLES_IN = 0.1  # seconds after a change of a link within which more of them are taken together

# RTMGRP_… of <linux/rtnetlink.h>
_LINKS, _IPV4_ADDRESSES, _IPV6_ADDRESSES = 0x1, 0x10, 0x100


class NoNetwork(Exception):
    """The boot network cannot be served; the message says why and what to do, in one line."""


@dataclass(frozen=True)
class Interface:
    """A network interface of the host as it is now."""

    name: str
    index: int  # another one once the interface was removed and made again
    addresses: tuple[IPv4Interface, ...]
    up: bool
    link_local: bool  # has an IPv6 link-local address, which router advertisements need


@dataclass(frozen=True)
class Network:
    """What is served, and from where."""

    interface: str
    index: int
    server: IPv4Address
    subnet: IPv4Network
    ranges: tuple[AddressRange, ...]
    gateway: IPv4Address | None
    link_local: bool


async def read_interfaces() -> tuple[Interface, ...]:
    """Return the host's interfaces but loopback, by `ip -json address`."""
    return tuple(
        Interface(
            name=link["ifname"],
            index=link["ifindex"],
            addresses=tuple(
                IPv4Interface(f"{address['local']}/{address['prefixlen']}")
                for address in link["addr_info"]
                if address["family"] == "inet"
            ),
            up="UP" in link["flags"],
            link_local=any(
                address["family"] == "inet6"
                and address["scope"] == "link"
                and not address.get("tentative")  # not ours yet: others may have it
                for address in link["addr_info"]
            ),
        )
        for link in json.loads(await run(["ip", "-json", "address"]))
        if "LOOPBACK" not in link["flags"]
    )


def resolve(settings: Settings, interfaces: Sequence[Interface]) -> Network:
    """Derive the network from the settings and the interfaces; NoNetwork says what is missing."""
    if settings.interface is None:
        raise NoNetwork(
            "no interface is named, so nothing speaks DHCP; put BOOTDROP_INTERFACE=NAME into .env "
            f"and run `docker compose up -d`; here are: {_listed(interfaces)}"
        )
    interface = next((each for each in interfaces if each.name == settings.interface), None)
    if interface is None:
        raise NoNetwork(
            f"BOOTDROP_INTERFACE={settings.interface}: there is no such interface (waiting for "
            f"it); here are: {_listed(interfaces)}"
        )
    address = _server_address(settings, interface)
    subnet = settings.subnet or address.network
    if address.ip not in subnet:
        raise NoNetwork(
            f"BOOTDROP_SUBNET={subnet}: does not hold the server's address {address.ip}; "
            "set it to the interface's subnet, or BOOTDROP_SERVER_ADDRESS to an address in it"
        )
    if settings.gateway is not None and settings.gateway not in subnet:
        raise NoNetwork(
            f"BOOTDROP_GATEWAY={settings.gateway}: outside of the subnet {subnet}; machines could "
            "not reach it"
        )
    _check_hosts(settings, subnet, address.ip)
    return Network(
        interface=interface.name,
        index=interface.index,
        server=address.ip,
        subnet=subnet,
        ranges=_ranges(settings, subnet, address.ip),
        gateway=settings.gateway,
        link_local=interface.link_local,
    )


def _server_address(settings: Settings, interface: Interface) -> IPv4Interface:
    if not interface.addresses:
        raise NoNetwork(
            f"{interface.name} has no IPv4 address (waiting for one); give it one on the host, "
            f"such as `ip address add 192.168.10.1/24 dev {interface.name}`"
        )
    if settings.server_address is None:
        return interface.addresses[0]
    for address in interface.addresses:
        if address.ip == settings.server_address:
            return address
    raise NoNetwork(
        f"BOOTDROP_SERVER_ADDRESS={settings.server_address}: {interface.name} does not have it "
        f"(waiting for it); it has {', '.join(map(str, interface.addresses))}"
    )


def _ranges(
    settings: Settings, subnet: IPv4Network, server: IPv4Address
) -> tuple[AddressRange, ...]:
    wanted = settings.dhcp_range
    if wanted is None:
        fixed = {host.address for host in settings.rarp_hosts}
        return _default_ranges(subnet, {server, settings.gateway, *fixed} - {None})
    said = f"BOOTDROP_DHCP_RANGE={wanted}"
    if wanted.first not in subnet or wanted.last not in subnet:
        raise NoNetwork(f"{said}: outside of the subnet {subnet}; allowed: a range within it")
    for address, what in ((server, "the server's own address"), (settings.gateway, "the gateway")):
        if address is not None and address in wanted:
            raise NoNetwork(f"{said}: holds {what} {address}; allowed: a range without it")
    if subnet.prefixlen < 31 and {subnet.network_address, subnet.broadcast_address} & {
        wanted.first,
        wanted.last,
    }:
        raise NoNetwork(f"{said}: holds the network's or the broadcast address of {subnet}")
    return (wanted,)


def _check_hosts(settings: Settings, subnet: IPv4Network, server: IPv4Address) -> None:
    """See that each fixed address is one that its machine alone can have."""
    taken = {
        server: "the server's own address",
        settings.gateway: "the gateway",
        subnet.network_address: "the network's address",
        subnet.broadcast_address: "the broadcast address",
    }
    for host in settings.rarp_hosts:
        if host.address not in subnet:
            fault = f"outside of the subnet {subnet}; allowed: an address within it"
        elif host.address in taken:
            fault = f"{taken[host.address]}; allowed: an address that nobody has"
        elif settings.dhcp_range is not None and host.address in settings.dhcp_range:
            fault = (
                f"within BOOTDROP_DHCP_RANGE={settings.dhcp_range}, where others may get it; "
                "allowed: an address outside of it"
            )
        else:
            continue
        raise NoNetwork(f"BOOTDROP_RARP_HOSTS: {host}: {fault}")


def _default_ranges(
    subnet: IPv4Network, taken: set[IPv4Address | None]
) -> tuple[AddressRange, ...]:
    last = subnet.broadcast_address - 1
    first = subnet.network_address + _FIRST_LEASED
    if first >= last:
        first = subnet.network_address + 1
    if first > last:
        raise NoNetwork(f"the subnet {subnet} has no room for leases; give the interface a wider")
    pieces = [AddressRange(first, last)]
    for address in sorted(address for address in taken if address is not None):
        if address not in pieces[-1]:
            continue
        whole = pieces.pop()
        if whole.first < address:
            pieces.append(AddressRange(whole.first, address - 1))
        if address < whole.last:
            pieces.append(AddressRange(address + 1, whole.last))
    if not pieces:
        raise NoNetwork(f"the subnet {subnet} has no address left to lease; set a wider one")
    return tuple(pieces)


def _listed(interfaces: Sequence[Interface]) -> str:
    return (
        ", ".join(
            f"{each.name} ({', '.join(map(str, each.addresses)) or 'no IPv4 address'}"
            f"{'' if each.up else ', down'})"
            for each in interfaces
        )
        or "none"
    )


def watch_interfaces(changed: Callable[[], None]) -> socket.socket:
    """Call `changed` when links or addresses came, went or changed (rtnetlink(7)).

    A burst of changes, such as containers make that start, is one. Returns the socket that
    listens; closing it ends the watch.
    """
    netlink = socket.socket(socket.AF_NETLINK, socket.SOCK_RAW, socket.NETLINK_ROUTE)
    netlink.setblocking(False)
    netlink.bind((0, _LINKS | _IPV4_ADDRESSES | _IPV6_ADDRESSES))

    loop = asyncio.get_running_loop()
    settling: asyncio.TimerHandle | None = None

    def settle() -> None:
        nonlocal settling
        settling = None
        changed()

    def drain() -> None:
        nonlocal settling
        # An overflow (ENOBUFS) is one more reason to look again.
        with contextlib.suppress(BlockingIOError, OSError):
            while True:
                netlink.recv(65536)
        if settling is None:
            settling = loop.call_later(_SETTLES_IN, settle)

    loop.add_reader(netlink, drain)
    return netlink
