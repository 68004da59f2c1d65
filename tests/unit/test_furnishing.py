"""Which layer gets which kernel's modules, by what machines fetch."""

from __future__ import annotations

from pathlib import Path, PurePosixPath

import pytest

from appliance.catalog.model import ModulesLayer
from appliance.events.hub import Event
from appliance.furnishing import Fetched, Furnishing, Offered
from appliance.nfs.layer import Layer, Record
from appliance.paths import Paths

MAC = "52:54:00:12:34:56"
OTHER = "52:54:00:12:34:57"
KERNEL = PurePosixPath("kernels/bzImage/00112233445566aa/kernel")
FETCH = f"192.168.10.10 GET 200 2917376 0.110 /over-nfs/fedora/{KERNEL}"
MODULES = ModulesLayer("1" * 16, "6.1.192", "modules.tar", PurePosixPath("modules/1/m.gz"), 0)


@pytest.fixture
def furnishing(tmp_path: Path) -> Furnishing:
    known = Furnishing(Paths(boot=tmp_path), print)
    known.offers(Offered({KERNEL: MODULES}))
    for mac, address in ((MAC, "192.168.10.10"), (OTHER, "192.168.10.11")):
        known.hear(Event("dhcpd", f"DHCPACK on {address} to {mac} via br0", "dhcp", mac))
    return known


def a_layer(mac: str, root: str = "fedora", holder: str = "") -> Layer:
    record = Record(
        root=root,
        key=root,
        version="00112233445566aa",
        holder=holder or mac.replace(":", "-"),
        made_at=1,
        last_seen=1,
    )
    return Layer(record, Path("/nowhere"))


def due(furnishing: Furnishing, *layers: Layer) -> list[Layer]:
    return [layer for layer, _ in furnishing.due(layers)]


@pytest.mark.parametrize(
    ("event", "fetched"),
    [
        (Event("nginx", FETCH, "http", "192.168.10.10"), Fetched(MAC, "fedora", KERNEL)),
        (
            Event(
                "tftpd",
                f"RRQ from 192.168.10.10 filename over-nfs/my_root~ab12/{KERNEL}",
                "tftp",
                "192.168.10.10",
            ),
            Fetched(MAC, "my_root~ab12", KERNEL),
        ),
        (Event("nginx", FETCH, "http", "192.168.10.99"), None),
        (Event("nginx", FETCH.replace("/over-nfs/fedora", ""), "http", "192.168.10.10"), None),
        (Event("neopxe", FETCH, "log", "192.168.10.10"), None),
    ],
    ids=["HTTP", "TFTP", "nobody known", "into memory", "another daemon"],
)
def test_a_kernels_path_tells_who_is_going_to_mount_what(
    furnishing: Furnishing, event: Event, fetched: Fetched | None
) -> None:
    assert furnishing.hear(event) == fetched


def test_the_machine_that_boots_a_root_gets_its_kernels_modules_once(
    furnishing: Furnishing,
) -> None:
    own, another, of_other = a_layer(MAC), a_layer(MAC, "debian"), a_layer(OTHER)
    assert due(furnishing, own, another, of_other) == []
    furnishing.hear(Event("nginx", FETCH, "http", "192.168.10.10"))
    assert due(furnishing, own, another, of_other) == [own]
    assert due(furnishing, own, another, of_other) == []
    assert due(furnishing, own.changed(made_at=2)) == [own.changed(made_at=2)]


def test_a_shared_layer_gets_the_modules_of_whoever_boots_it(furnishing: Furnishing) -> None:
    shared, other = a_layer("", holder="rw"), a_layer("", "debian", holder="rw")
    furnishing.hear(Event("nginx", FETCH, "http", "192.168.10.11"))
    assert due(furnishing, shared, other) == [shared]


def test_what_boots_by_default_has_its_modules_before_it_is_asked_for(
    furnishing: Furnishing,
) -> None:
    furnishing.offers(Offered({KERNEL: MODULES}, (), KERNEL, "fedora"))
    assert due(furnishing, a_layer(MAC), a_layer(MAC, "debian")) == [a_layer(MAC)]
