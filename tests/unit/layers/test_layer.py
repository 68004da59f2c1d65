from __future__ import annotations

import json
import os
from ipaddress import IPv4Address
from pathlib import Path, PurePosixPath
from types import SimpleNamespace
from typing import Any

import pytest

from appliance.layers import room
from appliance.layers.layer import Layer, Record, Shelf, shelf_of
from appliance.layers.sizes import Size, du_marks, du_sizes
from appliance.nfs.export import default_path, fsid

VERSION, NEWER = "00112233445566aa", "ffeeddccbbaa9988"
HOLDER = "52-54-00-12-34-56"


def a_record(**changed: Any) -> Record:  # noqa: ANN401
    values: dict[str, Any] = {
        "root": "my lab",
        "key": "my-lab~1234",
        "version": VERSION,
        "holder": HOLDER,
        "made_at": 5.0,
        "last_seen": 7.0,
    }
    return Record(**values | changed)


def a_layer(**changed: Any) -> Layer:  # noqa: ANN401
    return Layer(a_record(**changed), Path("/nowhere"))


@pytest.fixture
def shelf(tmp_path: Path) -> Shelf:
    (tmp_path / "tree").mkdir()
    found = Shelf(tmp_path / "machines")
    found.open()
    return found


def test_a_layer_that_was_written_is_read_again(shelf: Shelf, tmp_path: Path) -> None:
    layer = shelf.make(a_record(), tmp_path / "tree")
    assert layer.folder == tmp_path / "machines" / HOLDER / "my-lab~1234" / VERSION
    changed = layer.changed(keep=True, also=(f"/my-lab~1234/{NEWER}/{HOLDER}",))
    shelf.write(changed)
    assert shelf.scan() == ((changed,), ())
    assert str(changed) == f"root my lab {VERSION}, layer of 52:54:00:12:34:56"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        json.dumps({"root": "x", "made_at": -1}),
        a_record(version=NEWER).model_dump_json(),
        a_record().model_dump_json()[:-1] + ', "also": ["/../../etc"]}',
        a_record(also=(f"/my-lab~1234/{NEWER}/ro",)).model_dump_json(),
        a_record(also=(f"/other/{NEWER}/{HOLDER}",)).model_dump_json(),
        a_record().model_dump_json().replace("my lab", "my\\u001b[2Jlab"),
        a_record().model_dump_json().replace("5.0", "1e30"),
    ],
)
def test_a_layer_that_is_not_what_it_says_is_told_of_and_left(
    shelf: Shelf, tmp_path: Path, text: str
) -> None:
    layer = shelf.make(a_record(), tmp_path / "tree")
    (layer.folder / "layer.json").write_text(text)
    assert shelf.scan() == (
        (),
        (
            f"boot/machines: {HOLDER}/my-lab~1234/{VERSION}/layer.json: not what it should be: "
            "this layer is not served; it can be deleted when nothing in it is missed",
        ),
    )
    assert (layer.folder / "upper").is_dir()


def test_a_layer_on_the_shelf_of_other_holders_is_not_read(tmp_path: Path) -> None:
    (tmp_path / "tree").mkdir()
    either = Shelf(tmp_path / "machines")
    either.open()
    either.make(a_record(holder="ro"), tmp_path / "tree")
    layer = either.make(a_record(), tmp_path / "tree")
    shelves = [
        Shelf(tmp_path / "machines", takes=lambda holder: holder != "ro"),
        Shelf(tmp_path / "ro", takes=lambda holder: holder == "ro"),
    ]
    layers, faults = shelves[0].scan()
    assert (layers, len(faults)) == ((layer,), 1)
    assert [shelf_of(shelves, holder) for holder in ("rw", HOLDER, "ro")] == [
        *[shelves[0]] * 2,
        shelves[1],
    ]


def test_a_volume_without_the_folder_has_no_layers(tmp_path: Path) -> None:
    assert Shelf(tmp_path / "machines").scan() == ((), ())


def test_links_among_the_layers_are_none(shelf: Shelf, tmp_path: Path) -> None:
    layer = shelf.make(a_record(), tmp_path / "tree")
    os.rename(layer.folder.parent.parent, tmp_path / "elsewhere")
    layer.folder.parent.parent.symlink_to(tmp_path / "elsewhere")
    assert shelf.scan() == ((), ())


def test_what_a_crash_left_is_put_aside_and_deleted(shelf: Shelf, tmp_path: Path) -> None:
    machines = tmp_path / "machines"
    for name in (".new-x", ".old-y", ".probe-z"):
        (machines / name / "deep").mkdir(parents=True)
    layer = shelf.make(a_record(), tmp_path / "tree")
    shelf.open()
    shelf.put_aside(layer)
    assert {each.name[:5] for each in machines.iterdir()} == {".old-"}
    assert shelf.sweep()
    assert list(machines.iterdir()) == []
    assert not shelf.sweep()


def test_each_path_of_a_layer_is_an_export_of_its_own() -> None:
    layer = a_layer()
    newer = PurePosixPath(f"/my-lab~1234/{NEWER}/{HOLDER}")
    address = default_path(IPv4Address("192.168.10.100"))
    numbers = [layer.fsid(path) for path in (layer.path, newer, address)]
    assert numbers[:2] == [fsid("my-lab~1234", each, HOLDER) for each in (VERSION, NEWER)]
    other = a_layer(holder="52-54-00-00-00-01")
    assert len({*numbers, other.fsid(address), other.fsid(other.path)}) == 5


def test_a_machines_writing_shows_in_the_mark_and_the_size(tmp_path: Path) -> None:
    folders = [tmp_path / "one", tmp_path / "a\n\ttwo"]
    for folder in folders:
        folder.mkdir()
    before = du_marks([*folders, tmp_path / "gone"])
    assert before == du_marks([*folders, tmp_path / "gone"])
    assert before[2] == ""
    (folders[1] / "file").write_bytes(b"x" * 10000)
    after = du_marks(folders)
    assert (after[0] == before[0], after[1] == before[1]) == (True, False)
    one, two, gone = du_sizes([*folders, tmp_path / "gone"])
    assert one and two and gone is None
    assert (two.files - one.files, two.bytes - one.bytes) == (1, 12288)
    (folders[1] / "file").chmod(0o600)  # as many files as before
    assert du_marks(folders)[1] != after[1]
    assert isinstance(one, Size)


def test_only_what_no_machine_has_anything_in_makes_room() -> None:
    unused = [a_layer(holder=f"02-00-00-00-00-0{n}", last_seen=float(9 - n)) for n in range(3)]
    others = [
        a_layer(used=True),
        a_layer(keep=True),
        a_layer(holder="rw"),
        a_layer(holder="ro"),
        a_layer(last_seen=1000.0),  # it may be booting
    ]
    found = room.candidates([*unused, *others], now=1000.0 + room.BOOTING - 1)
    assert found == unused[::-1]


@pytest.mark.parametrize(
    ("changed", "outdated"),
    [
        ({}, True),
        ({"version": NEWER}, False),
        ({"holder": "ro"}, True),
        ({"used": True}, False),
        ({"keep": True}, False),
        ({"also": ("/tftpboot/192.168.10.100",)}, False),
        ({"last_seen": 990.0}, False),
    ],
)
def test_layers_of_replaced_versions_go_unless_something_is_in_them(
    changed: dict[str, Any], outdated: bool
) -> None:
    wanted = {("my-lab~1234", NEWER, "clone")}
    assert room.is_outdated(a_layer(**changed), wanted, 1000.0) is outdated


@pytest.mark.parametrize(
    ("gib", "free_mib", "refused"),
    [(100, 1025, False), (100, 1023, True), (1, 52, False), (1, 50, True)],
)
def test_a_part_of_the_volume_stays_free(
    monkeypatch: pytest.MonkeyPatch, gib: int, free_mib: int, refused: bool
) -> None:
    volume = SimpleNamespace(
        f_files=0, f_favail=0, f_frsize=4096, f_blocks=gib << 18, f_bavail=free_mib << 8
    )
    monkeypatch.setattr(room.os, "statvfs", lambda _: volume)
    try:
        room.require_free_space(Path("/"), "boot/machines")
    except room.NoRoom as reason:
        assert refused, reason
    else:
        assert not refused


def test_a_layer_is_seen_when_what_it_is_lies_on_the_disk(
    shelf: Shelf, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A power cut would leave an empty layer.json, and a machine without a root for good."""
    did: list[str] = []
    fsync, rename = os.fsync, os.rename

    def synced(file: int) -> None:
        fsync(file)
        did.append(f"fsync {Path(os.readlink(f'/proc/self/fd/{file}')).name}")

    def renamed(source: Path, target: Path) -> None:
        rename(source, target)
        did.append(f"rename to {target.name}")

    monkeypatch.setattr(os, "fsync", synced)
    monkeypatch.setattr(os, "rename", renamed)
    shelf.make(a_record(), tmp_path / "tree")
    assert did == ["fsync .layer.json.new", "rename to layer.json", f"rename to {VERSION}"]
