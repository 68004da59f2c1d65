"""Who else serves the boot network: other routers, other DHCP servers."""

from __future__ import annotations

from collections.abc import Callable
from ipaddress import IPv4Address
from typing import Protocol, TypeVar, cast

from appliance.alarm import Alarm
from appliance.dhcp_servers import DhcpServerWatch
from appliance.network import Network
from appliance.routers import RouterWatch
from appliance.settings import Settings

# Seconds until an interface that cannot be listened on yet is tried again.
_ANOTHER_TRY = 2.0


class _Watch(Protocol):
    """Hears others on one network, for as long as that is the one which is served."""

    network: Network

    def close(self) -> None: ...


_AnyWatch = TypeVar("_AnyWatch", bound=_Watch)


class Neighbours:
    """Listens where we serve; `changed` is called when somebody comes or goes.

    `fault` gets what is wrong by what it is about, None when it is not any more.
    """

    def __init__(
        self,
        chosen: Settings,
        fault: Callable[[str, str | None], None],
        changed: Callable[[], None],
    ) -> None:
        self._settings = chosen
        self._fault = fault
        self._changed = changed
        self._another_try = Alarm(changed)
        self._watches: dict[str, _Watch] = {}  # by what they listen for

    def other_router(self, found: Network | None) -> str | None:
        """Return what is heard of other routers, and listen where we would advertise."""
        listens = found is not None and found.link_local and self._settings.radvd == "auto"
        watch = self._listen("routers", RouterWatch, found if listens else None)
        return watch.other_router if watch else None

    def other_dhcp_servers(self, found: Network | None) -> tuple[IPv4Address, ...] | None:
        """Return the other DHCP servers that are heard, and listen where we would serve."""
        listens = self._settings.dhcp != "off"
        watch = self._listen("DHCP servers", DhcpServerWatch, found if listens else None)
        others = watch.others if watch else None
        self._fault("dhcp", self._beside_others(found, others) if found and others else None)
        return others

    def _beside_others(self, found: Network, others: tuple[IPv4Address, ...]) -> str:
        return (
            f"dhcpd: another DHCP server, {', '.join(map(str, others))}, answers on "
            f"{found.interface}"
        ) + (
            "; BOOTDROP_DHCP=force: machines may take its addresses and not boot"
            if self._settings.dhcp == "force"
            else ", so ours gives no addresses until it is silent; stop it, or set "
            "BOOTDROP_DHCP=force where it is there to stay"
        )

    def _listen(
        self,
        for_what: str,
        make: Callable[[Network, Callable[[], None]], _AnyWatch],
        wanted: Network | None,
    ) -> _AnyWatch | None:
        """Return a watch on the wanted network: the one that listens already, or a new one."""
        watch = self._watches.get(for_what)
        if watch is not None and (wanted is None or _place(watch.network) != _place(wanted)):
            self._watches.pop(for_what).close()
            watch = None
        if wanted is None:
            self._fault(for_what, None)
        elif watch is None:
            try:
                watch = self._watches[for_what] = make(wanted, self._changed)
                self._fault(for_what, None)
            except OSError as error:
                reason = f"{wanted.interface} cannot be listened on for other {for_what}"
                self._fault(for_what, f"{reason}: {error.strerror}")
                self._another_try.within(_ANOTHER_TRY)
        return cast("_AnyWatch | None", watch)


def _place(network: Network) -> tuple[int, IPv4Address]:
    """Return what a watch depends on; the rest of a network may change while it listens."""
    return network.index, network.server
