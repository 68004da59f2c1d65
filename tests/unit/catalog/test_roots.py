from __future__ import annotations

import json
import os
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from appliance.catalog.model import Arch, RamdiskFormat
from appliance.catalog.root import (
    BrokenBuild,
    BrokenRoot,
    BuildStatus,
    LayerManifest,
    RootManifest,
    RootsScan,
    is_root_name,
    read_json,
)
from appliance.catalog.roots import SeenRoots, scan_roots
from tests.unit.built_roots import (
    ID,
    LAYER,
    add_layer,
    add_root,
    add_status,
    add_variant,
    make_current,
)


def scanned(roots: Path) -> RootsScan:
    return scan_roots(roots, SeenRoots())


def why(roots: Path) -> str:
    """Return why the only root is not used."""
    scan = scanned(roots)
    assert scan.roots == ()
    (broken,) = scan.broken
    return broken.reason


def test_a_missing_folder_is_empty(tmp_path: Path) -> None:
    assert scanned(tmp_path / "roots") == RootsScan()


def test_a_root_is_what_root_json_says(tmp_path: Path) -> None:
    add_root(tmp_path, "fedora 42", default=True, cmdline="selinux=0", init="/lib/systemd/systemd")
    (root,) = scanned(tmp_path).roots
    manifest = root.manifest
    assert (manifest.name, manifest.id, manifest.arch) == ("fedora 42", ID, Arch.X86_64)
    assert (manifest.default, manifest.cmdline, manifest.init) == (
        True,
        "selinux=0",
        "/lib/systemd/systemd",
    )
    assert manifest.formats.names == ("ext2", "cpio", "nfs")
    assert manifest.formats.ramdisks.keys() == set(RamdiskFormat)


def test_what_a_newer_builder_adds_is_passed_over(tmp_path: Path) -> None:
    add_root(tmp_path, colour="green")
    assert len(scanned(tmp_path).roots) == 1


def test_a_root_of_files_alone_has_no_ramdisk(tmp_path: Path) -> None:
    add_root(tmp_path, formats={"nfs": {"file": "tree"}})
    (root,) = scanned(tmp_path).roots
    assert root.manifest.formats.ramdisks == {}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("id", "../../../../etc"),
        ("arch", "vax"),
        ("cmdline", "quiet || shell"),
        ("cmdline", "a\nkernel evil"),
        ("cmdline", "${net0/mac}"),
        ("init", "sbin/init"),
        ("init", "/sbin/init quiet"),
        ("formats", "all"),
    ],
)
def test_a_root_that_says_what_cannot_be_is_not_used_and_named(
    tmp_path: Path, key: str, value: object
) -> None:
    add_root(tmp_path, **{key: value})
    assert why(tmp_path).startswith(f"current/root.json: {key}: ")


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("file", "../../../etc/shadow"),
        ("file", ".hidden"),
        ("bytes", -1),
        ("sha256", "0"),
        ("uncompressed_kib", 1 << 40),
        ("compression", "rot13"),
    ],
)
def test_a_ramdisk_that_cannot_be_spoils_its_root(tmp_path: Path, key: str, value: object) -> None:
    described: dict[str, Any] = add_root(tmp_path)
    described["formats"]["cpio"][key] = value
    (tmp_path / "fedora" / ID / "root.json").write_text(json.dumps(described))
    assert why(tmp_path).startswith(f"current/root.json: formats.cpio.{key}: ")


@pytest.mark.parametrize("text", [b"", b"{", b"[]", b"[" * 100_000, b"\xff\xfe", b"null"])
def test_what_is_no_json_is_named(tmp_path: Path, text: bytes) -> None:
    add_root(tmp_path)
    (tmp_path / "fedora" / ID / "root.json").write_bytes(text)
    assert why(tmp_path).startswith("current/root.json: ")


def test_a_root_that_is_too_long_is_not_read(tmp_path: Path) -> None:
    add_root(tmp_path)
    os.truncate(tmp_path / "fedora" / ID / "root.json", 1 << 30)
    assert why(tmp_path) == "current/root.json: longer than 16777216 bytes"


@pytest.mark.parametrize("target", ["/etc", "../other", ".", "tree", f"{ID}/"])
def test_a_current_that_leads_elsewhere_is_not_followed(tmp_path: Path, target: str) -> None:
    add_root(tmp_path)
    make_current(tmp_path, "fedora", target)
    assert "a link to other than a version beside it" in why(tmp_path)


def test_a_version_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    add_root(tmp_path)
    os.rename(tmp_path / "fedora" / ID, tmp_path / "elsewhere")
    (tmp_path / "fedora" / ID).symlink_to(tmp_path / "elsewhere")
    assert "current/root.json: " in scanned(tmp_path).broken[-1].reason
    assert scanned(tmp_path).roots == ()


@pytest.mark.parametrize("make", [os.mkfifo, lambda path: path.symlink_to("/etc/passwd")])
def test_a_root_json_that_is_no_file_is_not_read(tmp_path: Path, make: Any) -> None:  # noqa: ANN401
    add_root(tmp_path)
    path = tmp_path / "fedora" / ID / "root.json"
    path.unlink()
    make(path)
    assert why(tmp_path).startswith("current/root.json: ")


def test_a_folder_of_another_roots_name_is_not_used(tmp_path: Path) -> None:
    add_root(tmp_path, "fedora")
    os.rename(tmp_path / "fedora", tmp_path / "debian")
    assert why(tmp_path) == "current/root.json: of another root"


def test_a_build_is_told_with_its_progress(tmp_path: Path) -> None:
    add_status(tmp_path, "fedora", state="building", step="install", done=3, total=40, id="")
    (build,) = scanned(tmp_path).builds
    assert (build.name, build.status.step, build.status.done) == ("fedora", "install", 3)


def test_what_a_build_says_fits_on_a_line(tmp_path: Path) -> None:
    add_status(tmp_path, "fedora", state="failed", error="a\x1b[31mb\nc" + "x" * 10_000)
    (build,) = scanned(tmp_path).builds
    assert build.status.error.startswith("a [31mb cxxx")
    assert len(build.status.error) <= 400


def test_a_build_that_says_nothing_of_use_is_named(tmp_path: Path) -> None:
    add_status(tmp_path, "fedora", state="dreaming")
    assert scanned(tmp_path).broken[0].reason.startswith("status.json: state: ")


@pytest.mark.parametrize("said", [{"done": 10**400}, {"total": 1 << 63}, {"started": 1e308}])
def test_a_number_that_cannot_be_shown_is_no_status(tmp_path: Path, said: dict[str, float]) -> None:
    add_status(tmp_path, "fedora", state="building", **said)
    assert scanned(tmp_path).builds == ()


@pytest.mark.parametrize(
    ("name", "shown"), [(b"a;b", "a;b"), (b"a\x1b[2Jb\nc", r"a\x1b[2Jb\nc"), (b"a\xff", r"a\udcff")]
)
def test_a_name_that_no_recipe_can_have_is_named(tmp_path: Path, name: bytes, shown: str) -> None:
    (tmp_path / os.fsdecode(name)).mkdir()
    assert scanned(tmp_path).broken == (
        BrokenBuild(shown, "a name with other than letters, digits, ._- and spaces"),
    )


def test_hidden_folders_are_the_builders_own(tmp_path: Path) -> None:
    add_root(tmp_path)
    os.rename(tmp_path / "fedora", tmp_path / ".building")
    assert scanned(tmp_path) == RootsScan()


def test_layers_and_variants_are_found(tmp_path: Path) -> None:
    add_root(tmp_path)
    add_layer(tmp_path)
    add_variant(tmp_path)
    (tmp_path / ".modules" / "half").mkdir()
    scan = scanned(tmp_path)
    assert [layer.id for layer in scan.layers] == [LAYER]
    assert scan.roots[0].variants == (LAYER,)


def test_a_version_is_read_once(tmp_path: Path) -> None:
    add_root(tmp_path)
    seen = SeenRoots()
    first = scan_roots(tmp_path, seen).roots[0]
    assert scan_roots(tmp_path, seen).roots[0].manifest is first.manifest


@pytest.mark.parametrize(
    ("name", "allowed"),
    [
        ("fedora", True),
        ("Fedora 42_x-y.z", True),
        ("-x", True),
        ("", False),
        (".hidden", False),
        ("..", False),
        ("a/b", False),
        ("a\nb", False),
        (" a", False),
        ("a ", False),
        ("ü", False),
        ("x" * 65, False),
    ],
)
def test_a_roots_name_is_plain(name: str, allowed: bool) -> None:
    assert is_root_name(name) is allowed


KEYS = st.sampled_from(["name", "id", "arch", "formats", "cpio", "file", "bytes", "state", "done"])
SCALARS = st.none() | st.booleans() | st.floats() | st.integers() | st.text()
JSON = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(KEYS, inner), max_leaves=20
)


@given(st.binary() | JSON.map(lambda value: json.dumps(value).encode()))
def test_whatever_a_builder_writes_is_read_or_refused_and_nothing_worse(text: bytes) -> None:
    for model in (RootManifest, BuildStatus, LayerManifest):
        with suppress(BrokenRoot):
            read_json(model, text)
