from __future__ import annotations

import json
import time
from dataclasses import replace
from typing import Any

import pytest

from appliance.cli import main, nfs, nfs_report, report
from appliance.cli.nfs import find_root, mac_of
from appliance.cli.roots import CannotDo
from appliance.status import ClientStatus, MachineStatus, NfsStatus, Status

MAC = "52:54:00:12:34:56"
NOON = 1795694400  # 2026-11-26 12:00 UTC
CLIENT = ClientStatus(
    address="192.168.10.5",
    mac=MAC,
    root="fedora",
    version="0011223344556677",
    share="clone",
    paths=("/fedora/0011223344556677/52-54-00-12-34-56",),
    nfs="4.2",
    since=NOON,
    idle=3.2,
    read=123_456_789,
    written=1_500_000,
)
LAYER = MachineStatus(
    holder=MAC,
    root="fedora",
    version="0011223344556677",
    size=2_500_000,
    files=41,
    made=NOON,
    seen=NOON + 60,
)


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("time.localtime", time.gmtime)


def through_the_socket(status: Status) -> dict[str, Any]:
    said = json.loads(json.dumps(status.as_json()))
    assert isinstance(said, dict)
    return said


def clients(*clients: ClientStatus) -> list[str]:
    said = through_the_socket(Status(clients=clients))["clients"]
    return nfs_report.clients(said).splitlines()


def machines(*layers: MachineStatus) -> list[dict[str, Any]]:
    said = through_the_socket(Status(machines=layers))["machines"]
    assert isinstance(said, list)
    return said


def changed(value: Any, **fields: object) -> Any:  # noqa: ANN401
    return replace(value, **fields)


def test_clients_are_a_table() -> None:
    gone = changed(CLIENT, address="192.168.10.16", mac="", nfs="", state="gone", idle=4000)
    assert clients(CLIENT, gone) == [
        "MACHINE            ADDRESS        ROOT    VERSION           SHARE  VERS  SINCE"
        "             READ      WRITTEN  IDLE",
        "52:54:00:12:34:56  192.168.10.5   fedora  0011223344556677  clone  4.2   2026-11-26 12:00"
        "  123.5 MB  1.5 MB   3 s",
        "-                  192.168.10.16  fedora  0011223344556677  clone  -     2026-11-26 12:00"
        "  123.5 MB  1.5 MB   gone",
    ]


def test_what_is_not_certain_is_marked_and_explained() -> None:
    paths = ("/fedora/0011223344556677/52-54-00-12-34-56", "/lab/8899aabbccddeeff/rw")
    lines = clients(
        changed(CLIENT, certain=False, paths=paths),
        changed(CLIENT, certain=False, paths=(), root="", version="", share="", mac=""),
    )
    assert " fedora?  " in lines[1]
    assert lines[3:] == [
        f"{MAC}: has one of these mounted, or several: {paths[0]}, {paths[1]}",
        "192.168.10.5: is connected; nothing shows what it has mounted",
    ]


def test_without_clients_or_layers_it_is_said() -> None:
    assert nfs_report.clients([]) == "no machine has a root mounted over NFS"
    assert nfs_report.machines([]).startswith("no layers yet")
    said = "no root is served over NFS: BOOTDROP_NFS=off"
    assert nfs_report.clients([], "BOOTDROP_NFS=off") == said
    assert nfs_report.machines([], "BOOTDROP_NFS=off") == said


@pytest.mark.parametrize(
    ("seconds", "text"),
    [(0.4, "0 s"), (119, "119 s"), (120, "2 min"), (7199, "119 min"), (7200, "2 h")],
)
def test_a_time_span_is_written_in_its_unit(seconds: float, text: str) -> None:
    assert nfs_report.duration(seconds) == text


def test_layers_are_a_table_with_what_is_to_be_known_of_each() -> None:
    layers = machines(
        LAYER,
        changed(
            LAYER,
            root="my root",
            is_current=False,
            is_kept=True,
            is_over=True,
            is_writable=False,
            is_busy=True,
            seen=0.0,
        ),
    )
    assert nfs_report.machines(layers).splitlines() == [
        "MACHINE            ROOT     VERSION           SIZE    FILES  MADE              LAST-SEEN"
        "         STATE",
        "52:54:00:12:34:56  fedora   0011223344556677  2.5 MB  41     2026-11-26 12:00"
        "  2026-11-26 12:01  current",
        "52:54:00:12:34:56  my root  0011223344556677  2.5 MB  41     2026-11-26 12:00"
        "  -                 old version, kept, over its size, read-only, mounted",
    ]


def test_what_was_not_measured_since_the_start_is_not_taken_for_nothing() -> None:
    layers = machines(changed(LAYER, size=None, files=None))
    assert nfs_report.machines(layers).splitlines()[1] == (
        "52:54:00:12:34:56  fedora  0011223344556677  -     -      2026-11-26 12:00"
        "  2026-11-26 12:01  current"
    )


@pytest.mark.parametrize(
    ("status", "line"),
    [
        (Status(), []),
        (
            Status(nfs=NfsStatus(None, "BOOTDROP_NFS=off")),
            ["nfs: none: BOOTDROP_NFS=off"],
        ),
        (
            Status(
                nfs=NfsStatus("ganesha", "this kernel has no nfsd", "overlayfs", 12),
                clients=(CLIENT, changed(CLIENT, state="gone")),
            ),
            [
                "nfs: ganesha, layers by overlayfs, 12 exports, 1 machine has one mounted; "
                "this kernel has no nfsd"
            ],
        ),
        (
            Status(nfs=NfsStatus("kernel", "", "overlayfs", 3)),
            [
                "nfs: the kernel's server, layers by overlayfs, 3 exports, "
                "0 machines have one mounted"
            ],
        ),
    ],
)
def test_the_status_has_one_line_of_nfs(status: Status, line: list[str]) -> None:
    lines = report.status(through_the_socket(status)).splitlines()
    assert [each for each in lines if each.startswith("nfs")] == line


@pytest.mark.parametrize(
    "text",
    [
        "52:54:00:12:34:56",
        "52-54-00-12-34-56",
        "525400123456",
        "5254.0012.3456",
        "52:54:0:12:34:56",
        "52:54:00:12:34:56".upper(),
    ],
)
def test_a_hardware_address_is_taken_in_any_usual_spelling(text: str) -> None:
    assert mac_of(text) == MAC


@pytest.mark.parametrize(
    "text", ["", "fedora", "52:54:00:12:34", "5254001234567", "52:54:00:12:34:5g"]
)
def test_what_is_no_hardware_address_is_told(text: str) -> None:
    with pytest.raises(CannotDo, match="no hardware address; one looks like 52:54"):
        mac_of(text)


def test_the_root_is_found_where_a_machine_has_but_one() -> None:
    layers = machines(LAYER, changed(LAYER, version="8899aabbccddeeff", is_current=False))
    assert find_root(layers, MAC, None, False) == "fedora"
    assert find_root(layers, MAC, None, True) is None
    assert find_root(layers, MAC, "fedora", True) == "fedora"


@pytest.mark.parametrize(
    ("mac", "root", "said"),
    [
        (
            "52:54:00:99:99:99",
            None,
            f"52:54:00:99:99:99: has no layer; machines with layers are: {MAC}, rw",
        ),
        (MAC, None, f"{MAC}: has layers of several roots; name one of: fedora, my root"),
        (MAC, "suse", f"suse: {MAC} has no layer of it; it has of: fedora, my root"),
    ],
)
def test_a_wrong_machine_or_root_is_told_with_what_there_is(
    mac: str, root: str | None, said: str
) -> None:
    layers = machines(LAYER, changed(LAYER, root="my root"), changed(LAYER, holder="rw"))
    with pytest.raises(CannotDo) as error:
        find_root(layers, mac, root, False)
    assert str(error.value) == said


def test_of_many_machines_a_few_are_named() -> None:
    layers = machines(*(changed(LAYER, holder=f"52:54:00:00:00:{n:02x}") for n in range(20)))
    with pytest.raises(CannotDo, match=r"00:09 and 10 more$"):
        find_root(layers, MAC, None, False)


def test_the_help_has_examples(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main.main(["machines", "--help"])
    assert "bootdrop machines reset 52:54:00:12:34:56" in capsys.readouterr().out


def asked(
    monkeypatch: pytest.MonkeyPatch, answer: dict[str, Any], layer: MachineStatus = LAYER
) -> list[dict[str, Any]]:
    """Let a machine with one layer be known, and every request be answered so."""
    requests: list[dict[str, Any]] = []

    def ask(_: object, request: str) -> list[dict[str, Any]]:
        if request == "status":
            return [through_the_socket(Status(machines=(layer,), clients=(CLIENT,)))]
        requests.append(json.loads(request))
        return [answer]

    monkeypatch.setattr(nfs, "ask", ask)
    return requests


def test_a_reset_is_asked_for_and_its_answer_shown(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = asked(monkeypatch, {"ok": True, "message": "fresh at the next boot"})
    assert main.main(["machines", "reset", "52-54-00-12-34-56", "--force"]) == 0
    assert requests == [{"layer": "reset", "mac": MAC, "root": "fedora", "force": True}]
    assert capsys.readouterr().out == "fresh at the next boot\n"


def test_what_all_machines_share_is_reset_by_what_the_table_calls_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    requests = asked(monkeypatch, {"ok": True, "message": "done"}, changed(LAYER, holder="rw"))
    assert main.main(["machines", "reset", "rw"]) == 0
    assert requests == [{"layer": "reset", "mac": "rw", "root": "fedora", "force": False}]


@pytest.mark.parametrize(
    ("words", "asked_for"),
    [
        (["--old"], {"layer": "forget-old", "mac": None, "root": None, "force": False}),
        (
            ["--old", "--force", MAC],
            {"layer": "forget-old", "mac": MAC, "root": None, "force": True},
        ),
        ([MAC, "fedora"], {"layer": "forget", "mac": MAC, "root": "fedora", "force": False}),
    ],
)
def test_what_is_old_is_forgotten_of_all_machines_and_all_else_of_one(
    monkeypatch: pytest.MonkeyPatch, words: list[str], asked_for: dict[str, Any]
) -> None:
    requests = asked(monkeypatch, {"ok": True, "message": "done"})
    assert main.main(["machines", "forget", *words]) == 0
    assert requests == [asked_for]


def test_nobodys_layers_are_forgotten_unless_it_is_said_which(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    requests = asked(monkeypatch, {"ok": True, "message": "done"})
    assert main.main(["machines", "forget"]) == 1
    assert requests == []
    assert "say whose layers: MAC, or --old" in capsys.readouterr().err


@pytest.mark.parametrize("words", [["reset", MAC], ["keep", MAC], ["forget", "--old"]])
def test_where_nothing_is_served_that_is_told_and_not_that_there_are_no_layers(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], words: list[str]
) -> None:
    off = through_the_socket(Status(nfs=NfsStatus(None, "BOOTDROP_NFS=off")))
    monkeypatch.setattr(nfs, "ask", lambda *_: [off])
    assert main.main(["machines", *words]) == 1
    assert capsys.readouterr().err == (
        "bootdrop: no root is served over NFS: BOOTDROP_NFS=off; "
        "what machines wrote stays as it is until one is\n"
    )


def test_a_refusal_is_one_line_and_an_exit_status(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(monkeypatch, {"ok": False, "message": f"{MAC} has fedora mounted; --force resets it"})
    assert main.main(["machines", "keep", MAC, "fedora"]) == 1
    assert capsys.readouterr().err == f"bootdrop: {MAC} has fedora mounted; --force resets it\n"


@pytest.mark.parametrize("verb", ["clients", "machines"])
def test_programs_get_json(
    verb: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    asked(monkeypatch, {})
    assert main.main([verb, "--json"]) == 0
    (only,) = json.loads(capsys.readouterr().out)
    assert only["root"] == "fedora"
