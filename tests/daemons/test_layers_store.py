"""The file systems that layers and their trees lie in: made, filled, grown and broken."""

from __future__ import annotations

import os
import re
import stat

import pytest

from tests.daemons.layers_played import NEW, OLD, Volume, exports, notices

pytestmark = [pytest.mark.lab, pytest.mark.usefixtures("lab_images")]

MAC = "52:54:00:00:00:01"
HOLDER = MAC.replace(":", "-")


def test_the_store_is_set_aside_whole_written_past_the_cache_and_grows(volume: Volume) -> None:
    life = volume.born()
    machines = volume.boot / "machines"
    store = [machines / "trees.ext4", machines / "layers.ext4"]
    assert list(machines.iterdir()) == []  # nobody has a root to serve yet
    life.do("want", volume.root())
    life.do("seen", MAC)
    for each in store:  # half of what the setting says
        assert each.stat().st_size == 64 << 20
        assert each.stat().st_blocks * 512 >= 64 << 20
        assert stat.S_IMODE(each.stat().st_mode) == 0o600
    found = {image: life.do("store", image) for image in ("trees", "layers")}
    assert [(each["direct"], each["mode"]) for each in found.values()] == [("1", 0o700)] * 2
    life.do("write", f"fedora/{OLD}/{HOLDER}/etc/mine", "kept")
    before = life.do("told")
    life.kill()
    life = volume.born(nfs_store_size=512)
    assert life.do("told") == before
    assert life.do("read", f"fedora/{OLD}/{HOLDER}/etc/mine") == "kept"
    for image in found:
        assert life.do("store", image)["mib"] > found[image]["mib"] * 3
        assert (machines / f"{image}.ext4").stat().st_blocks * 512 >= 256 << 20
    life.kill()
    life = volume.born(nfs_store_size=64)  # never smaller
    assert life.do("told") == before
    assert [each.stat().st_size for each in store] == [256 << 20, 256 << 20]
    life.do("stop")
    assert "bootdrop" not in life.do("shell", "grep bootdrop /proc/self/mountinfo")


def test_a_full_store_is_told_of_and_hinders_no_new_version(volume: Volume) -> None:
    life = volume.born()
    life.do("want", volume.root())
    life.do("seen", MAC)
    path = f"fedora/{OLD}/{HOLDER}"
    assert "No space left" in life.do("write", f"{path}/large", "x" * (200 << 20))["error"]
    (said,) = notices(life)
    assert said.replace(": 1 MiB", ": 0 MiB") == (
        "boot/machines/layers.ext4: 0 MiB are free: machines' writes fail when none is left: raise "
        "BOOTDROP_NFS_STORE_SIZE and start anew, or reset layers"
    )
    life.do("want", volume.root(), volume.root("rescue", share="ro"))
    assert exports(life) == {f"/{path}": "rw", f"/rescue/{OLD}/ro": "ro"}
    assert life.do("copies") == [f"{OLD}/fedora", f"{OLD}/rescue"]


def test_a_version_that_would_not_fit_is_not_copied_and_hinders_no_other(volume: Volume) -> None:
    life = volume.born()
    large = volume.root("large")
    (volume.boot / "roots/large" / OLD / "tree/file").write_bytes(b"x" * (64 << 20))
    life.do("want", large, volume.root())
    life.do("seen", MAC)
    assert exports(life) == {f"/fedora/{OLD}/{HOLDER}": "rw"}
    (said,) = notices(life)
    assert re.fullmatch(
        r"root large: not served by NFS: boot/machines/trees.ext4: 6\d MiB are needed and 5\d MiB "
        r"are free: raise BOOTDROP_NFS_STORE_SIZE \(half of it is for versions\) and start anew, "
        "or delete old versions: `bootdrop machines forget --old`",
        said,
    )
    assert life.do("copies") == [f"{OLD}/fedora"]
    life.do("stop")
    life.end()
    life = volume.born(nfs_store_size=512)
    life.do("want", large, volume.root())
    assert notices(life) == []
    assert life.do("copies") == [f"{OLD}/fedora", f"{OLD}/large"]


def test_what_machines_only_read_lies_where_no_machine_writes(volume: Volume) -> None:
    life = volume.born()
    roots = [volume.root(), volume.root("all", share="rw"), volume.root("rescue", share="ro")]
    life.do("want", *roots)
    life.do("seen", MAC)
    shown = life.do("shell", "cd /run/bootdrop/store; ls -A . trees trees/machines layers/machines")
    assert shown.split("\n\n") == [
        "0 .:\nlayers\ntrees",
        f"layers/machines:\n{HOLDER}\nrw",
        "trees:\nlost+found\nmachines\nversions",
        "trees/machines:\nro\n",
    ]
    before = life.do("told")
    life.kill()
    assert volume.born().do("told") == before


def test_a_layer_that_claims_to_be_everybodys_is_not_served(volume: Volume) -> None:
    """A machine can write to its layer.json by a forged handle, and end the server."""
    life = volume.born()
    roots = [volume.root(share="ro"), volume.root("own")]
    life.do("want", *roots)
    life.do("seen", MAC)
    path = f"/run/bootdrop/store/layers/machines/{HOLDER}/own/{OLD}/layer.json"
    claim = f'"also": ["/fedora/{OLD}/ro"]'
    life.do("shell", f"sed -i 's|\"also\": \\[\\]|{claim}|' {path}")
    assert claim in life.do("shell", f"cat {path}")
    life.kill()
    life = volume.born()
    assert exports(life) == {f"/fedora/{OLD}/ro": "ro"}
    assert notices(life) == [
        f"boot/machines/layers.ext4: {HOLDER}/own/{OLD}/layer.json: not what it should be: this "
        "layer is not served; it can be deleted when nothing in it is missed"
    ]


def test_a_start_makes_what_was_moved_away_and_tells_whose_tree_went(volume: Volume) -> None:
    life = volume.born()
    life.do("want", volume.root(), volume.root("rescue", share="ro"))
    life.do("seen", MAC)
    life.do("stop")
    life.end()
    (volume.boot / "machines/trees.ext4").rename(volume.boot / "trees.ext4")
    life = volume.born()
    life.do("want", volume.root(), volume.root("rescue", share="ro"))
    assert exports(life) == {f"/rescue/{OLD}/ro": "ro"}
    life.do("settle")
    (said,) = notices(life)
    assert "Stale file handle: it belongs to another copy of the version" in said


def test_a_copy_has_everything_that_the_tree_has(volume: Volume) -> None:
    life = volume.born()
    root = volume.root()
    tree = f"/boot/roots/fedora/{OLD}/tree"
    life.do(
        "shell",
        f"cd {tree} && ln etc/os-release etc/hard && ln -s /boot/secret link && mkfifo fifo && "
        "mknod console c 5 1 && cp /bin/true setuid && chown 1000:1001 setuid && chmod 4755 setuid "
        "&& cp /bin/true ping && truncate -s 1G sparse && chown 5:6 . && chmod 751 . && "
        f"""/opt/venv/bin/python -c 'import os; os.setxattr("ping", "security.capability", """
        """bytes.fromhex("0100000200200000000000000000000000000000"))'""",
    )
    life.do("want", root)
    script = (
        "find . -printf '%p %y %m %U %G %n %s %l %t\\n' | grep -v '^\\S* d' | sort; "
        "stat -c '%a %u %g' .; stat -c %t:%T console; [ $(stat -c %b sparse) -lt 100 ] "
        "&& echo sparse;"
        """/opt/venv/bin/python -c 'import os; print(os.getxattr("ping", "security.capability"))'"""
    )
    wanted = life.do("shell", f"cd {tree} && {script}")
    assert "sparse\nb'\\x01\\x00" in wanted
    assert (
        life.do("shell", f"cd /run/bootdrop/store/trees/versions/{OLD}/fedora && {script}")
        == wanted
    )


def test_half_a_copy_is_made_anew(volume: Volume) -> None:
    life = volume.born()
    life.do("want", volume.root())
    life.do("shell", f"mkdir -p /run/bootdrop/store/trees/versions/.new-{NEW}/half")
    life.kill()
    life = volume.born()
    life.do("want", volume.root(), volume.root(version=NEW, name="new"))
    life.do("seen", MAC)
    assert life.do("read", f"new/{NEW}/{HOLDER}/etc/os-release") == f"new {NEW}"
    assert life.do("shell", "ls -A /run/bootdrop/store/trees/versions") == f"0 {OLD}\n{NEW}\n"


@pytest.mark.parametrize("image", ["trees", "layers"])
def test_a_store_that_cannot_be_repaired_is_never_overwritten(volume: Volume, image: str) -> None:
    life = volume.born()
    life.do("want", volume.root())
    life.do("stop")
    life.end()
    store = volume.boot / f"machines/{image}.ext4"
    store.write_bytes(b"what somebody may miss" * 100000)
    life = volume.born()
    assert volume.said.startswith(f"boot/machines/{image}.ext4: cannot be repaired by itself (")
    assert "superblock could not be read" in volume.said
    assert volume.said.endswith("may, or move it away to begin anew")
    life.do("want", volume.root())
    life.do("seen", MAC)
    assert exports(life) == life.do("mounts") == {}
    assert store.read_bytes() == b"what somebody may miss" * 100000


@pytest.mark.parametrize("image", ["trees", "layers"])
def test_a_store_with_errors_is_repaired_at_the_next_start(volume: Volume, image: str) -> None:
    life = volume.born()
    life.do("want", volume.root())
    life.do("seen", MAC)
    before = life.do("told")
    life.do("stop")
    store = f"/boot/machines/{image}.ext4"
    life.do("shell", f"debugfs -w -R 'set_super_value state 2' {store}")
    life.do("shell", f"debugfs -w -R 'set_super_value free_blocks_count 7' {store}")
    life.end()
    assert volume.born().do("told") == before


def test_two_appliances_never_have_the_same_store(volume: Volume) -> None:
    first = volume.born()
    first.do("want", volume.root())
    volume.born()
    assert volume.said == ("boot/machines: another appliance has it: give each a volume of its own")


def test_without_loop_devices_one_line_says_why_and_what_to_do(volume: Volume) -> None:
    life = volume.born(loop=False)
    assert volume.said == (
        "boot/machines (ext4): no loop device (Operation not permitted): "
        "device_cgroup_rules: ['c 10:237 rmw', 'b 7:* rmw'] in compose.yaml gives them to the "
        "container; without, BOOTDROP_NFS_STORE=volume (docs/security.md says at what price)"
    )
    life.do("want", volume.root())
    life.do("seen", MAC)
    assert exports(life) == life.do("mounts") == {}
    assert os.listdir(volume.boot / "machines") == []


def test_without_the_right_to_mount_one_line_says_so(volume: Volume) -> None:
    life = volume.born(cap_drop="SYS_ADMIN")
    assert volume.said == (
        "boot/machines (ext4): Operation not permitted: the container lacks the "
        "capability SYS_ADMIN, or a security module denies mounts"
    )
    life.do("stop")
    life.end()
    volume.born(cap_drop="SYS_ADMIN", nfs_store="volume")
    assert volume.said.startswith(
        "no layers can be made in boot/machines (ext4): Operation not permitted: the container "
        "lacks the capability SYS_ADMIN"
    )


def test_a_volume_without_room_for_a_store_has_none(volume: Volume) -> None:
    volume.born(nfs_store_size=16777216)
    assert volume.said.startswith("boot/machines: 16777216 MiB are needed and ")
    assert volume.said.endswith(" MiB are free: free some room or set BOOTDROP_NFS_STORE_SIZE")


def test_a_start_deletes_nothing_that_is_mounted_in_its_folder(volume: Volume) -> None:
    """What `bootdrop start` empties, /run/bootdrop, has the store and all exports in it."""
    life = volume.born()
    life.do("want", volume.root())
    life.do("seen", MAC)
    path = f"fedora/{OLD}/{HOLDER}"
    life.do("write", f"{path}/etc/mine", "kept")
    clear = (
        "/opt/venv/bin/python -c 'from appliance.cli.start import clear; from pathlib import Path; "
        'clear(Path("/run/bootdrop"))\' 2>&1 | tail -1'
    )
    life.do("hold", f"{path}/etc/mine")
    assert "Device or resource busy" in life.do("shell", clear)
    assert life.do("read", f"{path}/etc/mine") == "kept"
    life.do("let_go")
    assert life.do("shell", clear) == "0 "
    assert life.do("shell", "ls -A /run/bootdrop; grep -c bootdrop /proc/self/mountinfo") == "1 0\n"
    life.kill()
    assert volume.born().do("read", f"{path}/etc/mine") == "kept"
