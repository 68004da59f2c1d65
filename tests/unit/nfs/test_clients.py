from __future__ import annotations

import time
from dataclasses import replace
from ipaddress import IPv4Address
from pathlib import PurePosixPath

import pytest

from appliance.nfs.clients import Change, Client, Clients, Sight
from appliance.nfs.connections import Connection
from appliance.nfs.export import Export, default_path, fsid, layer_path
from appliance.nfs.mount_log import Attached, Detached, Mounted, Unmounted

MACHINE, OTHER = IPv4Address("192.168.10.5"), IPv4Address("192.168.10.6")
MAC = "52:54:00:12:34:56"
VERSION = "0011223344556677"
DAY = 24 * 3600


def an_export(root: str, holder: str) -> Export:
    return Export(layer_path(root, VERSION, holder), fsid(root, VERSION, holder))


CLONE = an_export("fedora", "52-54-00-12-34-56")
SECOND = an_export("suse", "52-54-00-12-34-56")
ANOTHERS = an_export("fedora", "52-54-00-99-99-99")
EVERYBODYS = an_export("lab", "rw")


class Seen:
    """A tracker with a clock that stands still until a look."""

    def __init__(self, *exports: Export) -> None:
        self.now, self.wrong_by = 1000.0, 0.0
        self.clients = Clients(lambda: self.now + self.wrong_by, lambda: self.now)
        self.sight = Sight(exports=exports or (CLONE, ANOTHERS))

    def look(self, *connections: Connection, after: float = 5, **more: object) -> list[Change]:
        self.now += after
        return self.clients.look(
            replace(self.sight, connections=connections, **more)  # type: ignore[arg-type]
        )

    @property
    def only(self) -> Client:
        (client,) = self.clients.clients()
        return client


def a_connection(
    received: int = 0, sent: int = 0, cookie: str = "1", address: IPv4Address = MACHINE
) -> Connection:
    return Connection(address, 700, cookie, received, sent)


def what(changes: list[Change]) -> list[tuple[str, tuple[PurePosixPath, ...], bool]]:
    return [(change.what, change.client.paths, change.client.certain) for change in changes]


def test_a_machine_with_one_layer_has_that_one_mounted() -> None:
    seen = Seen()
    seen.clients.leased(MACHINE, MAC)
    seen.look(a_connection(100, 200), versions={MACHINE: "4.2"})
    assert seen.only == Client(
        MACHINE,
        MAC,
        (CLONE.path,),
        certain=True,
        version="4.2",
        since=1005,
        seen=1005,
        active=1005,
        read=200,
        written=100,
        state="mounted",
    )
    assert seen.clients.is_busy(CLONE)
    assert not seen.clients.is_busy(ANOTHERS)


def test_bytes_add_up_over_connections() -> None:
    seen = Seen()
    seen.look(a_connection(100, 1000))
    seen.look(a_connection(150, 5000))
    seen.look(a_connection(10, 20, cookie="2"), a_connection(160, 5000))
    seen.look(a_connection(15, 30, cookie="2"))
    assert (seen.only.written, seen.only.read) == (175, 5030)


def test_what_an_nfs4_client_says_to_keep_its_lease_is_no_use_of_the_root() -> None:
    seen = Seen()
    seen.look(a_connection(10_000, 10_000))
    seen.look(a_connection(10_500, 10_400))
    assert seen.only.active == 1005
    seen.look(a_connection(10_900, 13_000))
    assert seen.only.active == 1015


def test_a_machine_is_known_by_its_neighbour_entry_where_dhcpd_did_not_give_the_address() -> None:
    seen = Seen()
    seen.look(a_connection(), neighbours={MACHINE: MAC})
    assert (seen.only.mac, seen.only.paths) == (MAC, (CLONE.path,))


def test_each_mount_and_each_machine_that_went_is_told_once() -> None:
    seen = Seen()
    seen.clients.leased(MACHINE, MAC)
    told = [what(seen.look(a_connection())) for _ in range(4)]
    told += [what(seen.look(after=after)) for after in (5, 50, 20, 20)]
    mounted, gone = [("mounted", (CLONE.path,), True)], [("gone", (CLONE.path,), True)]
    assert told == [mounted, [], [], [], [], [], gone, []]
    assert not seen.clients.is_busy(CLONE)


def test_a_connection_that_is_made_anew_in_time_is_no_news() -> None:
    seen = Seen()
    seen.clients.leased(MACHINE, MAC)
    seen.look(a_connection(100, 100))
    assert seen.look(after=50) == []
    assert seen.look(a_connection(7, 7, cookie="2")) == []
    assert (seen.only.since, seen.only.read, seen.only.state) == (1005, 107, "mounted")


def test_a_machine_whose_own_client_closed_the_idle_connection_still_has_its_root() -> None:
    seen = Seen()
    seen.clients.leased(MACHINE, MAC)
    seen.look(a_connection(3000, 100), versions={})
    seen.look(a_connection(3100, 100), versions={}, after=295)
    assert seen.look(after=3600, versions={}) == []
    assert (seen.only.state, seen.only.version) == ("idle", "3")
    assert seen.clients.is_busy(CLONE)
    assert seen.look(a_connection(9, 9, cookie="2"), versions={}) == []
    assert (seen.only.state, seen.only.since) == ("mounted", 1005)
    assert what(seen.look(after=DAY + 1)) == [("gone", (CLONE.path,), True)]
    seen.look()
    assert seen.clients.clients() == ()


@pytest.mark.parametrize("wrong_by", [7200.0, -7200.0])
def test_a_clock_that_is_set_makes_nobody_idle_or_gone(wrong_by: float) -> None:
    seen = Seen()
    seen.wrong_by = wrong_by
    seen.clients.leased(MACHINE, MAC)
    seen.look(a_connection(3000, 100), versions={})
    seen.wrong_by = 0.0
    seen.look(a_connection(3100, 100), versions={}, after=5)
    assert (seen.only.since, seen.only.active, seen.only.seen) == (1005, 1005, 1010)
    assert what(seen.look(after=100, versions={})) == [("gone", (CLONE.path,), True)]
    # As long after its last use it has closed its connection by itself, and is there.
    seen.wrong_by = wrong_by
    seen.look(a_connection(9000, 100, cookie="2"), versions={})
    seen.wrong_by = 0.0
    seen.look(a_connection(9100, 100, cookie="2"), versions={}, after=295)
    assert seen.look(after=100, versions={}) == []
    assert (seen.only.state, seen.clients.is_busy(CLONE)) == ("idle", True)


def test_an_nfs4_client_keeps_its_connection_or_is_gone() -> None:
    seen = Seen()
    seen.clients.leased(MACHINE, MAC)
    seen.look(a_connection(), versions={MACHINE: "4.1"})
    seen.look(a_connection(), versions={MACHINE: "4.1"}, after=1000)
    assert what(seen.look(after=100)) == [("gone", (CLONE.path,), True)]


def test_who_is_gone_is_shown_for_a_day_with_its_totals() -> None:
    seen = Seen()
    seen.clients.leased(MACHINE, MAC)
    seen.look(a_connection(1, 2))
    seen.look(after=100)
    seen.look(after=DAY - 200)
    assert (seen.only.state, seen.only.read, seen.only.written) == ("gone", 2, 1)
    seen.look(after=300)
    assert seen.clients.clients() == ()


def test_a_machine_that_boots_anew_counts_from_the_beginning() -> None:
    seen = Seen()
    seen.clients.leased(MACHINE, MAC)
    seen.look(a_connection(1000, 1000))
    assert what(seen.clients.boots(MAC)) == [("gone", (CLONE.path,), True)]
    assert not seen.clients.is_busy(CLONE)
    # The server does not know yet that the machine's earlier life is over.
    assert seen.look(a_connection(1000, 1000)) == []
    assert seen.only.state == "gone"
    new = a_connection(5, 5, cookie="2")
    assert what(seen.look(new, a_connection(1000, 1000))) == [("mounted", (CLONE.path,), True)]
    assert (seen.only.since, seen.only.read, seen.only.state) == (1015, 5, "mounted")


def test_who_asks_for_an_address_in_a_machines_name_does_not_make_it_gone() -> None:
    seen = Seen()
    seen.clients.leased(MACHINE, MAC)
    seen.look(a_connection(1000, 1000))
    seen.clients.boots(MAC)
    seen.look(a_connection(1100, 1100))  # what was on its way when it was asked
    assert seen.only.state == "gone"
    seen.look(a_connection(1200, 1200))
    assert (seen.only.state, seen.only.paths) == ("mounted", (CLONE.path,))
    assert seen.clients.is_busy(CLONE)


def test_what_the_log_says_is_certain() -> None:
    seen = Seen(CLONE, SECOND, EVERYBODYS)
    seen.clients.leased(MACHINE, MAC)
    seen.clients.hear(Mounted(MACHINE, SECOND.path, "3"))
    assert what(seen.look(a_connection())) == [("mounted", (SECOND.path,), True)]
    assert not seen.clients.is_busy(CLONE)
    seen.clients.hear(Mounted(MACHINE, EVERYBODYS.path, "3"))
    seen.clients.hear(Unmounted(MACHINE, SECOND.path))
    seen.look(a_connection())
    assert seen.only.paths == (EVERYBODYS.path,)


def test_what_a_machine_has_open_is_certain() -> None:
    seen = Seen(CLONE, SECOND, EVERYBODYS)
    seen.clients.hear(Attached(MACHINE, "4.2"))
    seen.look(a_connection(), uses={MACHINE: frozenset({EVERYBODYS.path})})
    assert (seen.only.paths, seen.only.certain) == ((EVERYBODYS.path,), True)


def test_of_two_layers_that_a_machine_may_have_mounted_both_are_named_as_possible() -> None:
    seen = Seen(CLONE, SECOND, ANOTHERS)
    seen.clients.leased(MACHINE, MAC)
    both = tuple(sorted((CLONE.path, SECOND.path)))
    assert seen.look(a_connection()) == []
    assert seen.look(a_connection()) == []
    assert what(seen.look(a_connection())) == [("mounted", both, False)]
    assert seen.clients.is_in_doubt
    assert seen.clients.is_busy(CLONE)
    assert seen.clients.is_busy(SECOND)


def test_the_one_of_its_layers_that_is_open_is_a_machines() -> None:
    seen = Seen(CLONE, SECOND, EVERYBODYS)
    seen.clients.leased(MACHINE, MAC)
    opened = frozenset({SECOND.path, EVERYBODYS.path})
    assert what(seen.look(a_connection(), opened=opened)) == [("mounted", (SECOND.path,), True)]
    seen.look(a_connection())
    assert (seen.only.paths, seen.only.certain) == ((SECOND.path,), True)
    assert not seen.clients.is_in_doubt


def test_a_root_that_all_share_is_a_machines_when_it_has_no_other() -> None:
    seen = Seen(EVERYBODYS, ANOTHERS)
    seen.look(a_connection(), neighbours={MACHINE: MAC})
    assert (seen.only.paths, seen.only.certain) == ((EVERYBODYS.path,), True)


def test_the_kernels_own_default_path_is_its_machines() -> None:
    default = Export(default_path(MACHINE), fsid("fedora", VERSION, "default"))
    seen = Seen(default, ANOTHERS)
    seen.look(a_connection())
    assert seen.only.paths == (default_path(MACHINE),)


def test_behind_the_kernels_default_path_any_of_the_machines_layers_may_be() -> None:
    default = Export(default_path(MACHINE), fsid("fedora", VERSION, "default"))
    seen = Seen(default, CLONE, SECOND, ANOTHERS)
    seen.clients.leased(MACHINE, MAC)
    seen.clients.hear(Mounted(MACHINE, default.path, "3"))
    seen.look(a_connection())
    busy = [each for each in (default, CLONE, SECOND, ANOTHERS) if seen.clients.is_busy(each)]
    assert busy == [default, CLONE, SECOND]


def test_of_several_that_it_may_have_mounted_a_machine_keeps_those_that_were_seen_open() -> None:
    default = Export(default_path(MACHINE), fsid("fedora", VERSION, "default"))
    seen = Seen(default, CLONE, SECOND)
    seen.clients.leased(MACHINE, MAC)
    both = tuple(sorted((CLONE.path, SECOND.path)))
    told = []
    # Ganesha's files are not looked at each time, and need not be open each time.
    for opened in ([CLONE, SECOND], [], [], [SECOND], [CLONE], []):
        told += what(seen.look(a_connection(), opened=frozenset(each.path for each in opened)))
        assert (seen.only.paths, seen.only.certain) == (both, False)
    assert told == [("mounted", both, False)]


def test_a_mount_is_told_once_however_the_ways_to_see_it_change() -> None:
    default = Export(default_path(MACHINE), fsid("fedora", VERSION, "default"))
    seen = Seen(default, CLONE, SECOND)
    seen.clients.leased(MACHINE, MAC)
    seen.clients.hear(Mounted(MACHINE, default.path))
    told = []
    # The kernel shows a layer that is open at each path of it, until the client's lease is over.
    uses = {MACHINE: frozenset({default.path, CLONE.path})}
    for _ in range(3):
        told += what(seen.look(a_connection()))
        told += what(seen.look(a_connection(), uses=uses))
        seen.clients.hear(Detached(MACHINE))
    told += what(seen.look(a_connection(), exports=(default, SECOND)))  # settled a moment later
    told += what(seen.look(a_connection(), uses=uses))
    both = tuple(sorted((default.path, CLONE.path)))
    assert told == [("mounted", (default.path,), True), ("mounted", both, True)]


def test_what_was_possible_is_told_again_when_it_is_certain() -> None:
    seen = Seen(CLONE, SECOND)
    seen.clients.leased(MACHINE, MAC)
    for _ in range(3):
        changes = seen.look(a_connection())
    assert what(changes) == [("mounted", tuple(sorted((CLONE.path, SECOND.path))), False)]
    seen.clients.hear(Mounted(MACHINE, SECOND.path, "3"))
    assert what(seen.look(a_connection())) == [("mounted", (SECOND.path,), True)]
    seen.clients.hear(Mounted(MACHINE, CLONE.path, "3"))
    (change,) = seen.look(a_connection())
    assert change.client.paths == tuple(sorted((CLONE.path, SECOND.path)))


def test_a_machine_that_nobody_knows_may_have_nothing_of_others() -> None:
    seen = Seen(CLONE, ANOTHERS)
    seen.look(a_connection(address=OTHER))
    assert (seen.only.paths, seen.only.certain) == ((), False)


def test_the_table_is_bounded_and_who_is_gone_makes_room(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("appliance.nfs.clients._MOST_CLIENTS", 3)
    addresses = [IPv4Address(f"192.168.10.{number}") for number in range(10, 20)]
    seen = Seen()
    made = [a_connection(cookie=str(number), address=each) for number, each in enumerate(addresses)]
    seen.look(*made)
    assert [each.address for each in seen.clients.clients()] == addresses[:3]
    seen.look(*made[1:3], after=10)
    seen.look(*made[1:3], after=100)
    seen.look(*made[1:5])
    assert [each.address for each in seen.clients.clients()] == addresses[1:4]


def test_a_thousand_machines_of_which_nothing_is_certain_hold_nobody_up() -> None:
    macs = [f"52:54:00:00:{number >> 8:02x}:{number & 255:02x}" for number in range(1000)]
    roots = ("a", "b")  # either may be mounted
    exports = [an_export(root, mac.replace(":", "-")) for mac in macs for root in roots]
    addresses = [IPv4Address(0x0A000001 + number) for number in range(len(macs))]
    seen = Seen(*exports)
    for mac, address in zip(macs, addresses, strict=True):
        seen.clients.leased(address, mac)
    begun = time.process_time()
    seen.look(*(a_connection(1, 1, str(each), each) for each in addresses))
    assert all(map(seen.clients.is_busy, exports))
    assert time.process_time() - begun < 2  # 0.05; where each asks for all exports, 30
