"""Tells of machines that got an address and then asked for nothing more, or that got none.

dhcpd hears frames before the host's firewall looks at them; the boot server, TFTP, HTTP and NFS do
not. So an address and then silence is how a firewall looks from here.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable

from appliance.bounded import put
from appliance.daemons import tftpd
from appliance.events.hub import Event
from appliance.events.leases import given_address
from appliance.menu.entries import FETCHED_OVER_NFS
from appliance.neopxe import server

# Seconds. The longest pause of firmware that is well is iPXE's wait for routers, about 4.
_PATIENCE = 15.0
# From a kernel's download to the mount of its root: it waits up to 120 s for its card's link
# (net/ipv4/ipconfig.c, carrier_timeout).
_PATIENCE_WITH_KERNELS = 180.0
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
# What a machine fetches behind a kernel that mounts its root over NFS.
_INITRD = re.compile(r"\bkernels/\S+/initrd(?=\s|$)")
# What is said of a machine's earlier life.
_IS_GONE = re.compile(r"\S+ (\(\S+\) )?is gone: ")


class SilenceWatch:
    """Follows each machine from its address to the next thing that it has to ask for.

    `changed` is called when a machine falls silent, or one that was silent is heard; `has_mounted`
    tells of a machine, by its hardware address or else its IPv4 address, whether it uses NFS.
    """

    def __init__(
        self,
        http_port: int,
        changed: Callable[[str | None], None],
        has_mounted: Callable[[str], bool],
    ) -> None:
        self._changed, self._has_mounted = changed, has_mounted
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
        # Those that fetched a kernel for a root over NFS: whether that got its address.
        self._mounting: dict[str, bool] = {}
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
        if event.kind == "nfs" and _IS_GONE.match(event.text):
            return
        machine = self._machines.get(event.client, event.client)
        is_mounting = self._mounting.pop(machine, None) is not None
        self._heard(machine)
        if FETCHED_OVER_NFS.search(event.text) or (is_mounting and _INITRD.search(event.text)):
            put(self._mounting, machine, False, _MOST_MACHINES)
            self._wait_for(machine, _PATIENCE_WITH_KERNELS, lambda: self._mounts_nothing(machine))
        elif event.kind == "pxe" and _BOOT_SERVER_NAMED_A_FILE.match(event.text):
            self._wait(machine, "was told by the boot server what to load", self._tftp)
        elif event.kind == "tftp" and _SCRIPT_BY_TFTP.match(event.text):
            self._wait(machine, "loaded its script by TFTP", self._http)

    def _hear_dhcp(self, event: Event) -> None:
        machine = event.client
        if stage := _STAGE.match(event.text):
            put(self._stages, machine, stage[1], _MOST_MACHINES)
            if self._mounting.pop(machine, None) is not None:  # it begins anew
                self._heard(machine)
        elif (address := given_address(event)) and (known := self._stages.pop(machine, None)):
            put(self._machines, str(address), machine, _MOST_MACHINES)
            self._wait(machine, f"got the address {address}", self._next[known])
        elif address and machine in self._mounting:
            self._mounting[machine] = True
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
        said = (
            f"{machine} {did}, then {_PATIENCE:g} s nothing came from it; if it is still on, look "
            f"whether the host's firewall lets {port} in"
        )
        self._wait_for(machine, _PATIENCE, lambda: said)

    def _mounts_nothing(self, machine: str) -> str | None:
        """Return what there is to say of a machine that fetched a kernel to mount a root."""
        has_address = self._mounting.get(machine)
        if has_address is None or self._has_mounted(machine):
            return None
        said = f"{machine} fetched a kernel for a root over NFS"
        # Of machines of another DHCP server only the IPv4 address is known.
        if not has_address and machine in self._machines.values():
            return (
                f"{said}, which asked for no address in {_PATIENCE_WITH_KERNELS:g} s; if it is "
                "still on, its console tells why: often no driver for its network card is built "
                "in, see `bootdrop kernels`"
            )
        return (
            f"{said}, and mounted nothing in {_PATIENCE_WITH_KERNELS:g} s; if it is still on, look "
            "whether the host's firewall lets TCP port 2049 (NFS) in, for NFSv3 also port 111 and "
            "TCP port 20048, and what its console tells"
        )

    def _wait_for(self, machine: str, seconds: float, say: Callable[[], str | None]) -> None:
        self._stop_waiting(machine)
        if len(self._waiting) < _MOST_MACHINES:
            loop = asyncio.get_running_loop()
            self._waiting[machine] = loop.call_later(seconds, self._fell_silent, machine, say)

    def _fell_silent(self, machine: str, say: Callable[[], str | None]) -> None:
        del self._waiting[machine]
        if (said := say()) is not None:
            put(self._silent, machine, said, _MOST_MACHINES)
            self._changed(said)

    def _heard(self, machine: str) -> None:
        self._stop_waiting(machine)
        if self._silent.pop(machine, None) is not None:
            self._changed(None)

    def _stop_waiting(self, machine: str) -> None:
        if timer := self._waiting.pop(machine, None):
            timer.cancel()
