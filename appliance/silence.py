"""Tells of machines that got an address and then asked for nothing more, or that got none.

dhcpd hears frames before the host's firewall looks at them; the boot server, TFTP and HTTP do not.
So an address and then silence is how a firewall looks from here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from appliance.bounded import put
from appliance.daemons import tftpd
from appliance.events.hub import Event
from appliance.events.leases import given_address
from appliance.neopxe import server

# Seconds. The longest pause of firmware that is well is iPXE's wait for routers, about 4.
_PATIENCE = 15.0
# Machines ask again, less and less often, for about a minute.
_USED_UP_FOR = 60.0
_MOST_MACHINES = 1024  # anybody can make hardware addresses up; the oldest are forgotten

# What dhcpd logs of a machine that boots (config/etc/dhcp/dhcpd.conf.j2).
_STAGE = re.compile(r"stage=(firmware|loader|ipxe) ")
# The probe has an address of its own, so that dhcpd serves all the same.
_NO_LEASE = re.compile(r"DHCPDISCOVER from .*: no free leases$")
_USED_UP = (
    "a machine got no address: all of the range are leased; widen BOOTDROP_DHCP_RANGE, or shorten "
    "BOOTDROP_LEASE_TIME"
)
_BOOT_SERVER_NAMED_A_FILE = re.compile(r"answer client=\S+ .*\bfile=\S")
_SCRIPT_BY_TFTP = re.compile(r"RRQ from \S+ filename autoexec\.ipxe")


class SilenceWatch:
    """Follows each machine from its address to the next thing that it has to ask for.

    `changed` is called when a machine falls silent, or one that was silent is heard.
    """

    def __init__(self, http_port: int, changed: Callable[[str | None], None]) -> None:
        self._changed = changed
        self._http = f"TCP port {http_port} (HTTP)"
        self._tftp = f"UDP port {tftpd.PORT} (TFTP)"
        # By the stage in which a machine got its address: the port that it has to ask next.
        self._next = {
            "firmware": f"UDP port {server.PORT} (boot server)",
            "loader": self._tftp,
            "ipxe": self._http,
        }
        self._stages: dict[str, str] = {}  # by hardware address, until it has its address
        self._machines: dict[str, str] = {}  # address to hardware address
        self._waiting: dict[str, asyncio.TimerHandle] = {}  # by hardware address
        self._silent: dict[str, str] = {}  # by hardware address: what is said of it
        self._used_up: asyncio.TimerHandle | None = None  # None: there are addresses left

    @property
    def notices(self) -> tuple[str, ...]:
        """What there is to say of machines that are silent now, or without an address."""
        return (*(() if self._used_up is None else (_USED_UP,)), *self._silent.values())

    def hear(self, event: Event) -> None:
        """Take in what a daemon said of a machine."""
        if event.client == "":
            return
        if event.kind == "dhcp":
            self._hear_dhcp(event)
            return
        machine = self._machines.get(event.client, event.client)
        self._heard(machine)
        if event.kind == "pxe" and _BOOT_SERVER_NAMED_A_FILE.match(event.text):
            self._wait(machine, "was told by the boot server what to load", self._tftp)
        elif event.kind == "tftp" and _SCRIPT_BY_TFTP.match(event.text):
            self._wait(machine, "loaded its script by TFTP", self._http)

    def _hear_dhcp(self, event: Event) -> None:
        machine = event.client
        if stage := _STAGE.match(event.text):
            put(self._stages, machine, stage[1], _MOST_MACHINES)
        elif (address := given_address(event)) and (known := self._stages.pop(machine, None)):
            put(self._machines, str(address), machine, _MOST_MACHINES)
            self._wait(machine, f"got the address {address}", self._next[known])
        elif _NO_LEASE.match(event.text):
            self._hear_used_up()

    def _hear_used_up(self) -> None:
        before, loop = self._used_up, asyncio.get_running_loop()
        self._used_up = loop.call_later(_USED_UP_FOR, self._has_addresses)
        if before is None:
            self._changed(_USED_UP)
        else:
            before.cancel()

    def _has_addresses(self) -> None:
        self._used_up = None
        self._changed(None)

    def _wait(self, machine: str, did: str, port: str) -> None:
        self._stop_waiting(machine)
        if len(self._waiting) < _MOST_MACHINES:
            loop = asyncio.get_running_loop()
            self._waiting[machine] = loop.call_later(
                _PATIENCE, self._fell_silent, machine, did, port
            )

    def _fell_silent(self, machine: str, did: str, port: str) -> None:
        del self._waiting[machine]
        said = (
            f"{machine} {did}, then {_PATIENCE:g} s nothing came from it; if it is still on, look "
            f"whether the host's firewall lets {port} in"
        )
        put(self._silent, machine, said, _MOST_MACHINES)
        self._changed(said)

    def _heard(self, machine: str) -> None:
        self._stop_waiting(machine)
        if self._silent.pop(machine, None) is not None:
            self._changed(None)

    def _stop_waiting(self, machine: str) -> None:
        if timer := self._waiting.pop(machine, None):
            timer.cancel()
