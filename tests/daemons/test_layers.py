"""Machines' writable roots on real file systems, made and mounted in the appliance's container.

The containers have the capabilities that compose.yaml names and no network.
"""

from __future__ import annotations

import os
import stat

import pytest

from tests.daemons.layers_played import NEW, OLD, Volume, exports, notices

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("lab_images")]

MAC, OTHER = "52:54:00:00:00:01", "52:54:00:00:00:02"
HOLDER, OTHER_HOLDER = MAC.replace(":", "-"), OTHER.replace(":", "-")


def test_a_machine_gets_a_root_of_its_own_and_finds_it_after_a_restart(volume: Volume) -> None:
    root = volume.root()
    life = volume.born()
    assert volume.said == "overlayfs in boot/machines/layers.ext4, over boot/machines/trees.ext4"
    life.do("want", root)
    assert exports(life) == {}
    life.do("seen", MAC)
    life.do("seen", OTHER)
    mine, theirs = f"/fedora/{OLD}/{HOLDER}", f"/fedora/{OLD}/{OTHER_HOLDER}"
    assert exports(life) == {mine: "rw", theirs: "rw"}
    life.do("write", f"{mine[1:]}/etc/mine", "kept")
    assert life.do("names", f"{mine[1:]}/etc") == ["hostname", "mine", "os-release"]
    assert life.do("names", f"{theirs[1:]}/etc") == ["hostname", "os-release"]
    before = life.do("told")
    life.kill()
    again = volume.born()
    assert again.do("told") == before  # fsids too
    assert again.do("read", f"{mine[1:]}/etc/mine") == "kept"
    assert again.do("read", f"{theirs[1:]}/etc/hostname") == OTHER_HOLDER
    assert sorted(os.listdir(volume.boot / "roots/fedora" / OLD / "tree/etc")) == ["os-release"]


def test_nobody_but_root_gets_into_machines_and_roots(volume: Volume) -> None:
    (volume.boot / "machines").mkdir(mode=0o755)
    (volume.boot / "roots").chmod(0o755)
    life = volume.born()
    life.do("want", volume.root())
    life.do("seen", MAC)
    folders = [volume.boot / "machines", volume.boot / "roots"]
    assert {stat.S_IMODE(each.stat().st_mode) for each in folders} == {0o700}
    assert life.do("stored") == {HOLDER: 0o700}
    assert life.do("stored", HOLDER) == {"fedora": 0o700}
    assert life.do("store", "layers")["mode"] == 0o700


@pytest.mark.parametrize("name", ["my lab", "-o rw", "a..b", "n" * 64])
def test_names_of_roots_lead_nowhere_else(volume: Volume, name: str) -> None:
    life = volume.born()
    life.do("want", volume.root(name, key="key~1"))
    life.do("seen", MAC)
    path = f"key~1/{OLD}/{HOLDER}"
    assert life.do("read", f"{path}/etc/os-release") == f"{name} {OLD}"
    assert life.do("told")["in_use"] == {name: [OLD]}
    life.kill()
    assert volume.born().do("read", f"{path}/etc/os-release") == f"{name} {OLD}"


def test_a_new_version_gives_a_fresh_layer_and_leaves_the_old_one(volume: Volume) -> None:
    life = volume.born()
    life.do("want", volume.root())
    life.do("seen", MAC)
    old, new = f"fedora/{OLD}/{HOLDER}", f"fedora/{NEW}/{HOLDER}"
    life.do("write", f"{old}/etc/mine", "kept")
    life.do("want", volume.root(version=NEW))  # the machine was seen lately
    assert exports(life) == {f"/{old}": "rw", f"/{new}": "rw"}
    assert life.do("read", f"{new}/etc/os-release") == f"fedora {NEW}"
    assert life.do("read", f"{new}/etc/mine") is None
    assert life.do("read", f"{old}/etc/mine") == "kept"
    assert life.do("told")["in_use"] == {"fedora": [OLD, NEW]}


def test_an_old_versions_layer_that_nobody_wrote_to_goes(volume: Volume) -> None:
    life = volume.born()
    life.do("want", volume.root(), volume.root("rescue", share="ro"))
    life.do("seen", MAC)
    life.do("seen", OTHER)
    life.do("set", "busy", [f"/fedora/{OLD}/{OTHER_HOLDER}"])
    life.do("set", "now", 1e9 + 3600)
    life.do("want", volume.root(version=NEW), volume.root("rescue", NEW, share="ro"))
    assert exports(life) == {f"/fedora/{OLD}/{OTHER_HOLDER}": "rw", f"/rescue/{NEW}/ro": "ro"}
    assert life.do("settle") is True
    assert life.do("told")["in_use"] == {"fedora": [OLD], "rescue": [NEW]}
    assert list(life.do("stored")) == [OTHER_HOLDER, "ro"]
    assert life.do("copies") == [f"{OLD}/fedora", f"{NEW}/fedora", f"{NEW}/rescue"]


def test_what_all_share_is_there_at_once(volume: Volume) -> None:
    life = volume.born(nfs_share="rw")
    life.do("want", volume.root("a"), volume.root("b", share="ro"), volume.root("c", share="clone"))
    assert exports(life) == {f"/a/{OLD}/rw": "rw", f"/b/{OLD}/ro": "ro"}
    life.do("seen", MAC)
    assert sorted(exports(life)) == [f"/a/{OLD}/rw", f"/b/{OLD}/ro", f"/c/{OLD}/{HOLDER}"]


def test_a_kept_layer_is_what_newer_versions_show_until_told_otherwise(volume: Volume) -> None:
    life = volume.born()
    life.do("want", volume.root())
    life.do("seen", MAC)
    old, new = f"fedora/{OLD}/{HOLDER}", f"fedora/{NEW}/{HOLDER}"
    life.do("write", f"{old}/etc/mine", "kept")
    life.do("keep", MAC, "fedora", True)
    life.do("want", volume.root(version=NEW))
    assert life.do("read", f"{new}/etc/mine") == "kept"
    life.do("write", f"{new}/etc/more", "one file system")
    assert life.do("read", f"{old}/etc/more") == "one file system"
    told = life.do("told")
    assert len(set(told["fsids"].values())) == 2
    life.kill()
    life = volume.born()
    assert life.do("told") == told  # before anybody says which roots there are
    assert life.do("read", f"{new}/etc/more") == "one file system"
    life.do("want", volume.root(version=NEW))
    life.do("keep", MAC, "fedora", False)
    assert exports(life) == {f"/{old}": "rw"}  # the servers drop the other first
    assert life.do("settle") is True
    assert life.do("read", f"{new}/etc/mine") is None
    assert life.do("read", f"{new}/etc/os-release") == f"fedora {NEW}"
    assert life.do("read", f"{old}/etc/mine") == "kept"


def test_keeping_a_layer_takes_the_place_of_an_unused_newer_one(volume: Volume) -> None:
    life = volume.born()
    life.do("want", volume.root())
    life.do("seen", MAC)
    old, new = f"fedora/{OLD}/{HOLDER}", f"fedora/{NEW}/{HOLDER}"
    life.do("write", f"{old}/etc/mine", "kept")
    life.do("want", volume.root(version=NEW))
    assert life.do("read", f"{new}/etc/mine") is None
    life.do("keep", MAC, "fedora", True)
    assert exports(life) == {f"/{old}": "rw"}  # the servers drop the other first
    life.do("settle")
    assert exports(life) == {f"/{old}": "rw", f"/{new}": "rw"}
    assert life.do("read", f"{new}/etc/mine") == "kept"


def test_a_reset_gives_a_fresh_layer_when_the_servers_dropped_the_old_one(volume: Volume) -> None:
    life = volume.born()
    life.do("want", volume.root())
    life.do("seen", MAC)
    path = f"fedora/{OLD}/{HOLDER}"
    life.do("write", f"{path}/etc/mine", "old")
    life.do("set", "busy", [f"/{path}"])
    assert life.do("reset", MAC, "fedora", False) == {
        "error": f"root fedora {OLD}, layer of {MAC}: the machine runs from it: shut it down, or "
        "say --force"
    }
    life.do("hold", f"{path}/etc/mine")
    assert life.do("reset", MAC, "fedora", True) is None
    assert exports(life) == {}
    assert life.do("settle") is False
    life.do("let_go")
    assert life.do("settle") is True
    assert exports(life) == {f"/{path}": "rw"}
    assert life.do("names", f"{path}/etc") == ["hostname", "os-release"]
    assert life.do("reset", OTHER, "fedora", False) == {
        "error": f"{OTHER}: it has no layer of a root of the name fedora"
    }
    assert life.do("told")["notices"] == []


def test_what_all_machines_write_is_reset_as_well(volume: Volume) -> None:
    life = volume.born()
    life.do("want", volume.root(share="rw"))
    path = f"fedora/{OLD}/rw"
    life.do("write", f"{path}/etc/mine", "old")
    assert life.do("reset", "rw", "fedora", False) is None
    assert life.do("settle") is True
    assert exports(life) == {f"/{path}": "rw"}
    assert life.do("names", f"{path}/etc") == ["hostname", "os-release"]


def test_the_kernels_default_path_leads_to_the_default_root(volume: Volume) -> None:
    life = volume.born(nfs_default_path=True)
    roots = volume.root(), volume.root("rescue", share="ro")
    life.do("want", *roots, default="fedora")
    life.do("seen", MAC, "192.168.10.100")
    life.do("seen", OTHER, "192.168.10.101")
    life.do("write", "tftpboot/192.168.10.100/etc/mine", "kept")
    assert life.do("read", f"fedora/{OLD}/{HOLDER}/etc/mine") == "kept"
    assert life.do("read", "tftpboot/192.168.10.101/etc/mine") is None
    told = life.do("told")
    assert len(set(told["fsids"].values())) == len(told["exports"]) == 5
    # The address becomes another machine's, as soon as the one that has it is off.
    life.do("set", "busy", ["/tftpboot/192.168.10.100"])
    life.do("seen", OTHER, "192.168.10.100")
    life.do("settle")
    assert life.do("read", "tftpboot/192.168.10.100/etc/hostname") == HOLDER
    life.do("set", "busy", [])
    life.do("seen", OTHER, "192.168.10.100")
    life.do("settle")
    assert life.do("read", "tftpboot/192.168.10.100/etc/hostname") == OTHER_HOLDER
    now = life.do("told")["fsids"]["/tftpboot/192.168.10.100"]
    assert now != told["fsids"]["/tftpboot/192.168.10.100"]
    # Another default root is for its next start.
    life.do("want", *roots, default="rescue")
    life.do("settle")
    assert life.do("told")["fsids"]["/tftpboot/192.168.10.100"] == now
    life.do("seen", OTHER, "192.168.10.100")
    life.do("settle")
    assert life.do("told")["fsids"]["/tftpboot/192.168.10.100"] != now
    before = life.do("told")
    life.kill()
    assert volume.born(nfs_default_path=True).do("told") == before


@pytest.mark.parametrize("store", ["image", "volume"])
def test_forged_machines_make_room_and_written_layers_never_do(volume: Volume, store: str) -> None:
    life = volume.born(nfs_layers=5, nfs_layer_size=16, nfs_store=store)
    life.do("want", volume.root())
    for number in range(3):
        life.do("seen", f"52:54:00:00:00:0{number}")
    life.do("write", f"fedora/{OLD}/52-54-00-00-00-00/var/log/boot", "written")
    life.do("mounted", f"/fedora/{OLD}/52-54-00-00-00-01")
    for number in range(100):
        life.do("set", "now", 1e9 + 300 * number)
        life.do("seen", f"02:00:00:00:01:{number:02x}")
        assert life.do("settle") is True
    holders = [path.split("/")[-1] for path in exports(life)]
    assert holders == [f"02-00-00-00-01-{number:02x}" for number in (97, 98, 99)] + [
        "52-54-00-00-00-00",
        "52-54-00-00-00-01",
    ]
    for number in (97, 98, 99):
        life.do("mounted", f"/fedora/{OLD}/02-00-00-00-01-{number:02x}")
    life.do("set", "now", 1e9 + 1e6)
    life.do("seen", OTHER)
    assert notices(life) == [
        "boot/machines: 5 layers of machines are there, as many as BOOTDROP_NFS_LAYERS allows, all "
        "in use or written to: reset some, or allow more"
    ]
    assert [path.split("/")[-1] for path in exports(life)] == holders


def test_a_layer_that_grew_too_large_can_only_be_read(volume: Volume) -> None:
    life = volume.born(nfs_layer_size=16)
    life.do("want", volume.root())
    life.do("seen", MAC)
    path = f"fedora/{OLD}/{HOLDER}"
    assert life.do("sizes")[f"/{path}"][0] == 3  # the root, etc and hostname
    life.do("write", f"{path}/large", "x" * (17 << 20))
    files, size = life.do("sizes")[f"/{path}"]
    assert (files, size >> 20) == (4, 17)
    assert exports(life) == {f"/{path}": "ro"}
    assert notices(life) == [
        f"root fedora {OLD}, layer of {MAC}: larger than 16 MiB, which is "
        "BOOTDROP_NFS_LAYER_SIZE: its machine can only read it until it is reset"
    ]
    life.do("reset", MAC, "fedora", False)
    life.do("settle")
    life.do("sizes")
    assert exports(life) == {f"/{path}": "rw"}
    assert notices(life) == []


def test_what_a_machine_planted_is_neither_followed_nor_opened(volume: Volume) -> None:
    life = volume.born()
    life.do("want", volume.root())
    life.do("seen", MAC)
    path = f"fedora/{OLD}/{HOLDER}"
    # Devices are made, for the machine, and none can be opened here.
    assert life.do("plant", path) == ["null", "disk"]
    planted = ["a\n\t name'\"\\", "deep", "disk", "etc-link", "fifo", "link", "null", "setuid"]
    assert life.do("names", path) == sorted([*planted, "etc", "usr"])
    assert life.do("sizes")[f"/{path}"][0] == 3 + len(planted) + 2999
    life.kill()
    life = volume.born()
    life.do("want", volume.root())
    life.do("reset", MAC, "fedora", False)
    assert life.do("settle") is True
    assert life.do("names", path) == ["etc", "usr"]
    assert list(life.do("stored")) == [HOLDER]
    assert (volume.boot / "roots/fedora" / OLD / "tree/etc/os-release").exists()


@pytest.mark.parametrize("step", ["make", "show", "write", "put_aside", "sweep", "unmount"])
def test_a_kill_at_any_step_leaves_nothing_half_done(volume: Volume, step: str) -> None:
    life = volume.born()
    life.do("want", volume.root())
    life.do("seen", OTHER)
    life.do("write", f"fedora/{OLD}/{OTHER_HOLDER}/etc/mine", "kept")
    if step in ("put_aside", "sweep", "unmount"):
        life.do("seen", MAC)
        life.do("reset", MAC, "fedora", False)
        life.do("die_in", step)
        assert life.do("settle") == "dead"
    else:
        life.do("die_in", step)
        assert life.do("seen", MAC) == "dead"
    life.end()
    life = volume.born()
    life.do("want", volume.root())
    life.do("seen", MAC)
    assert life.do("settle") is True
    assert sorted(exports(life)) == [f"/fedora/{OLD}/{each}" for each in (HOLDER, OTHER_HOLDER)]
    assert life.do("read", f"fedora/{OLD}/{HOLDER}/etc/hostname") == HOLDER
    assert life.do("read", f"fedora/{OLD}/{OTHER_HOLDER}/etc/mine") == "kept"
    assert list(life.do("stored")) == [HOLDER, OTHER_HOLDER]
    assert notices(life) == []


def test_an_orchestrator_that_is_started_anew_finds_its_mounts(volume: Volume) -> None:
    life = volume.born()
    life.do("want", volume.root())
    life.do("seen", MAC)
    life.do("keep", MAC, "fedora", True)
    life.do("want", volume.root(version=NEW))
    before = life.do("told"), life.do("mounts")
    life.do("hold", f"fedora/{OLD}/{HOLDER}/etc/hostname")  # a server goes on with it
    life.do("start")
    assert (life.do("told"), life.do("mounts")) == before
    life.do("let_go")
    life.do("stop")
    assert life.do("mounts") == {}


def test_a_layer_that_cannot_be_furnished_is_never_shown(volume: Volume) -> None:
    life = volume.born()
    life.do("want", volume.root())
    life.do("set", "refuse", True)
    life.do("seen", MAC)
    assert exports(life) == {}
    (said,) = notices(life)
    assert said.startswith(f"root fedora: no layer for {HOLDER}: ")
    assert said.endswith("/etc/hostname: No space left on device")
    assert life.do("mounts") == {}
    life.do("set", "refuse", False)
    life.do("seen", MAC)
    assert exports(life) == {f"/fedora/{OLD}/{HOLDER}": "rw"}
    assert notices(life) == []


def test_on_the_volume_a_version_that_is_gone_or_made_anew_is_told_of(volume: Volume) -> None:
    life = volume.born(nfs_store="volume")
    assert volume.said == "overlayfs on ext4, the volume itself"
    life.do("want", volume.root())
    life.do("seen", MAC)
    life.kill()
    tree = volume.boot / "roots/fedora" / OLD / "tree"
    tree.rename(tree.with_name("elsewhere"))
    life = volume.born(nfs_store="volume")
    what = f"root fedora {OLD}, layer of {MAC}: not served: "
    (said,) = notices(life)
    assert said == f"{what}No such file or directory: its version is gone"
    assert life.do("told")["in_use"] == {"fedora": [OLD]}
    volume.root()
    life.do("settle")
    (said,) = notices(life)
    assert said.startswith(f"{what}Stale file handle: it belongs to another copy of the version")
    tree.rename(tree.with_name("another"))
    tree.with_name("elsewhere").rename(tree)
    life.do("settle")
    assert notices(life) == []
    assert exports(life) == {f"/fedora/{OLD}/{HOLDER}": "rw"}


def test_a_folder_of_the_version_can_be_renamed_as_packages_do(volume: Volume) -> None:
    life = volume.born()
    life.do("want", volume.root())
    life.do("seen", MAC)
    path = f"fedora/{OLD}/{HOLDER}"
    assert life.do("rename", f"{path}/etc", f"{path}/conf") is None
    life.kill()
    assert volume.born().do("read", f"{path}/conf/os-release") == f"fedora {OLD}"


def test_a_hundred_roots_for_one_machine_and_machines_by_the_hundred(volume: Volume) -> None:
    life = volume.born()
    roots = [volume.root(f"root {number}", key=f"root-{number}~1") for number in range(100)]
    life.do("want", *roots)
    life.do("seen", MAC)
    assert exports(life) == {}  # it has those that it boots
    took = sum(life.do("boots", MAC, root["key"]) for root in roots)
    assert len(exports(life)) == 100
    again = life.do("seen", MAC)
    print(f"100 layers in {took:.2f} s; looked at again in {again:.3f} s")
    assert again < took / 4  # nothing is new
    life.kill()
    again = volume.born()
    assert len(exports(again)) == 100
    print(f"100 layers in {took:.2f} s")
