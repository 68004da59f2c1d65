"""Which layer gets which kernel's modules, by what machines fetch."""

from __future__ import annotations

import threading
from dataclasses import replace
from pathlib import Path, PurePosixPath

import pytest

from appliance.catalog.model import ModulesLayer
from appliance.events.hub import Event
from appliance.layers.layer import Layer
from appliance.nfs_roots.furnishing import Fetched, Furnishing, Offered
from appliance.paths import Paths
from tests.unit.builders import a_record, a_root

MAC = "52:54:00:12:34:56"
OTHER = "52:54:00:12:34:57"
KERNEL = PurePosixPath("kernels/bzImage/00112233445566aa/kernel")
FETCH = f"192.168.10.10 GET 200 2917376 0.110 /over-nfs/fedora/{KERNEL}"
ROOTS = (a_root("fedora"), a_root("my root"))
MODULES = ModulesLayer("1" * 16, "6.1.192", "modules.tar", PurePosixPath("modules/1/m.gz"), 0)
OFFERED = Offered({KERNEL: MODULES}, ROOTS)


@pytest.fixture
def furnishing(tmp_path: Path) -> Furnishing:
    known = Furnishing(Paths(boot=tmp_path), print)
    known.offers(OFFERED)
    for mac, address in ((MAC, "192.168.10.10"), (OTHER, "192.168.10.11")):
        known.hear(Event("dhcpd", f"DHCPACK on {address} to {mac} via br0", "dhcp", mac))
    return known


def a_layer(mac: str, root: str = "fedora", holder: str = "") -> Layer:
    record = a_record(holder or mac.replace(":", "-"), root=root, key=root)
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
                f"RRQ from 192.168.10.10 filename over-nfs/{ROOTS[1].key}/{KERNEL}",
                "tftp",
                "192.168.10.10",
            ),
            Fetched(MAC, ROOTS[1].key, KERNEL),
        ),
        (Event("nginx", FETCH, "http", "192.168.10.99"), None),
        (Event("nginx", FETCH.replace("/over-nfs/fedora", ""), "http", "192.168.10.10"), None),
        (Event("nginx", FETCH.replace("fedora", "invented"), "http", "192.168.10.10"), None),
        (Event("neopxe", FETCH, "log", "192.168.10.10"), None),
    ],
    ids=["HTTP", "TFTP", "nobody known", "into memory", "no such root", "another daemon"],
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
    furnishing.offers(Offered({KERNEL: MODULES}, ROOTS, KERNEL, "fedora"))
    assert due(furnishing, a_layer(MAC), a_layer(MAC, "debian")) == [a_layer(MAC)]


def test_a_machine_of_another_dhcp_server_is_known_by_the_kernels_neighbours(
    tmp_path: Path,
) -> None:
    known = Furnishing(Paths(boot=tmp_path), print, {"192.168.10.10": MAC}.get)
    known.offers(OFFERED)
    fetch = Event("nginx", FETCH, "http", "192.168.10.10")
    assert known.hear(fetch) == Fetched(MAC, "fedora", KERNEL)


def test_modules_that_come_back_are_put_in_again(furnishing: Furnishing) -> None:
    other = replace(MODULES, id="2" * 16)
    furnishing.hear(Event("nginx", FETCH, "http", "192.168.10.10"))
    for offered in (MODULES, other, MODULES):
        furnishing.offers(replace(OFFERED, modules={KERNEL: offered}))
        assert due(furnishing, a_layer(MAC)) == [a_layer(MAC)]
        assert due(furnishing, a_layer(MAC)) == []


@pytest.mark.parametrize("holder", ["", "rw"])
def test_of_two_kernels_of_one_version_the_one_that_was_fetched_last_has_its_modules(
    furnishing: Furnishing, holder: str
) -> None:
    another = PurePosixPath("kernels/another/ffeeddccbbaa9988/kernel")
    modules = {KERNEL: MODULES, another: replace(MODULES, id="2" * 16)}
    furnishing.offers(Offered(modules, ROOTS, KERNEL, "fedora"))
    layer = a_layer(MAC, holder=holder)

    def put() -> list[str]:
        return [each.args[0].id for _, each in furnishing.due([layer])]  # type: ignore[attr-defined]

    assert put() == ["1" * 16]
    for kernel, id_ in ((another, "2" * 16), (KERNEL, "1" * 16)):
        fetch = FETCH.replace(str(KERNEL), str(kernel))
        furnishing.hear(Event("nginx", fetch, "http", "192.168.10.10"))
        assert put() == [id_]
        assert put() == []


def test_layers_that_went_leave_nothing_behind(furnishing: Furnishing) -> None:
    furnishing.offers(Offered({KERNEL: MODULES}, ROOTS, KERNEL, "fedora"))
    for number in range(100):  # as forged hardware addresses make them
        assert due(furnishing, a_layer(f"52:54:00:00:00:{number:02x}"))
    assert len(furnishing._done) == 1


def test_what_is_found_in_a_thread_is_said_in_the_event_loop(tmp_path: Path) -> None:
    said: list[tuple[str, threading.Thread]] = []
    furnishing = Furnishing(
        Paths(boot=tmp_path, provisions=tmp_path),
        lambda line: said.append((line, threading.current_thread())),
    )
    furnishing.offers(OFFERED)
    shared = a_layer("", holder="ro")
    thread = threading.Thread(target=furnishing.furnish, args=(shared, tmp_path))
    thread.start()
    thread.join()
    furnishing.tell()
    assert [(shared.mac in line, of) for line, of in said] == [(True, threading.current_thread())]


def test_an_archive_that_is_none_is_told_of(tmp_path: Path) -> None:
    said: list[str] = []
    furnishing = Furnishing(Paths(boot=tmp_path), said.append)
    furnishing.offers(Offered({KERNEL: MODULES}, ROOTS, KERNEL, "fedora"))
    archive = tmp_path / "published" / MODULES.path
    archive.parent.mkdir(parents=True)
    archive.write_bytes(b"torn")
    ((layer, put),) = furnishing.due([a_layer(MAC)])
    put(layer, tmp_path)
    assert said == []
    furnishing.tell()
    (line,) = said
    assert line.startswith(f"{layer}: no modules of 6.1.192: {archive}: ")


def test_what_is_offered_again_is_no_news(furnishing: Furnishing) -> None:
    assert not furnishing.offers(replace(OFFERED))
    assert furnishing.offers(Offered({}))
