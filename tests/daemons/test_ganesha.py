"""nfs-ganesha in the lab: what it holds when it is lied to, changed, killed and remounted."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from threading import Event, Thread

import pytest

from tests.daemons.forge import Refused, replaced
from tests.daemons.nfs import CLIENT, OUTSIDER, SETTINGS, Forger, Server
from tests.lab.lab import Lab

pytestmark = pytest.mark.lab

BOTH_VERSIONS = pytest.mark.parametrize("version", [3, 4])
SECRET = "/srv/boot/secret"
# What a client of either version hears of a handle that is none, or none any more.
NO_HANDLE = r"nfs[34] 70|operation 22 70|nfs[34] 10001|nfs3 5|nfs4 5|nfs[34] 22|nfs[34] 2$"
# Connect, and print how the server watches that connection once it took it.
_WATCHED = """
import socket, subprocess
connection = socket.create_connection(("192.168.10.1", 2049))
said = ""
while "keepalive" not in said:
    said = subprocess.run(["ss", "-Htno", "sport = :2049"], capture_output=True, text=True).stdout
print(said)
"""


@pytest.fixture(scope="module")
def lab(lab_images: None) -> Iterator[Lab]:
    with Lab("ganesha") as lab:
        lab.up(SETTINGS)
        lab.wait_ready()
        yield lab


@pytest.fixture(scope="module")
def server(lab: Lab) -> Iterator[Server]:
    """Every kind of export, once for all tests of this file."""
    server = Server(lab)
    for path in ("/plain", "/plain2"):
        server.plain_folder(path)
    for path in ("/shared/1/a", "/shared/1/b"):
        server.layer(path, images=False)
    for path in ("/own/1/a", "/own/1/b"):
        server.layer(path, images=True)
    server.layer("/own/1/ro", images=True, writable=False)
    server.sh(f"echo secret > {SECRET}; mkdir /srv/boot/secrets; echo in > /srv/boot/secrets/in")
    server.start()
    yield server
    # Mounts on loop devices go before the container does.
    server.stop()
    for path in ("/own/1/a", "/own/1/b", "/own/1/ro"):
        store = server.store(path)
        server.sh(f"umount {server.where(path)} {store}/tree {store}/layer")


@pytest.fixture
def client(server: Server) -> Iterator[Forger]:
    with Forger(server.lab) as client:
        yield client


# --- handles that were made up


def below(server: Server, path: str, name: str) -> str:
    """Return where the file of a layer lies that its handle is made from."""
    store = server.store(path)
    return {
        "plain": f"{store}/upper",
        "upper": f"{store}/layer/upper/upper",
        "lower": f"{store}/tree/etc/lower",
    }[name]


def forged(  # noqa: PLR0913
    client: Forger, server: Server, version: int, *, path: str, kind: str, to: str
) -> bytes:
    """Return the handle of an export's file, changed into one of a file of the server."""
    names = ("etc", "lower") if kind == "lower" else ("upper",)
    honest = client.lookup(version, client.mount(version, path), *names)
    real = client.kernel_handle(below(server, path, kind))
    return replaced(honest, real, client.kernel_handle(to))


@BOTH_VERSIONS
def test_a_forged_handle_leads_out_of_a_plain_folder(
    server: Server, client: Forger, version: int
) -> None:
    """The attack works: that it fails below means something."""
    handle = forged(client, server, version, path="/plain", kind="plain", to=SECRET)
    assert client.read(version, handle) == "secret\n"
    client.write(version, handle, "SECRET\n")
    assert server.sh(f"cat {SECRET}") == "SECRET\n"
    client.write(version, handle, "secret\n")


@BOTH_VERSIONS
@pytest.mark.parametrize("kind", ["upper", "lower"])
def test_an_overlay_alone_does_not_hold_a_forged_handle_of_a_file(
    server: Server, client: Forger, version: int, kind: str
) -> None:
    """Why layers and trees lie in a store (test_forged_handles.py has what is served).

    overlayfs asks of a folder whether it lies in the layer, of a file it does not (fs/overlayfs/
    namei.c, ovl_acceptable).
    """
    secret = f"/srv/boot/secret-{kind}-{version}"
    server.sh(f"echo {kind} > {secret}")
    handle = forged(client, server, version, path="/shared/1/a", kind=kind, to=secret)
    assert client.read(version, handle) == f"{kind}\n"


@BOTH_VERSIONS
@pytest.mark.parametrize("kind", ["upper", "lower"])
@pytest.mark.parametrize(
    "target", [SECRET, "/srv/boot/secrets", "/srv/boot/secrets/in", "/srv/boot", "another's"]
)
def test_a_forged_handle_never_leads_out_of_a_layer_on_file_systems_of_its_own(
    server: Server, client: Forger, version: int, kind: str, target: str
) -> None:
    if target == "another's":
        target = below(server, "/own/1/b", "upper")
        # The same inode number and generation can be the export's own: then it is that file.
        server.sh(f"echo of b > {target}")
    handle = forged(client, server, version, path="/own/1/a", kind=kind, to=target)
    with pytest.raises(Refused, match=NO_HANDLE):
        client.read(version, handle)
    with pytest.raises(Refused, match=NO_HANDLE):
        client.names(version, handle)
    with pytest.raises(Refused, match=NO_HANDLE):
        client.write(version, handle, "owned")


@BOTH_VERSIONS
def test_the_well_known_inodes_of_the_file_systems_below_are_not_served(
    server: Server, client: Forger, version: int
) -> None:
    """Inode 2 of generation 0 is the root of any ext4: nothing has to be known for it."""
    root = client.mount(version, "/own/1/a")
    real = client.kernel_handle(f"{server.store('/own/1/a')}/layer/upper")
    with pytest.raises(Refused, match=NO_HANDLE):
        client.names(version, replaced(root, real, (2).to_bytes(4, "little") + bytes(4)))


@BOTH_VERSIONS
def test_a_handle_of_one_export_is_none_of_another(
    server: Server, client: Forger, version: int
) -> None:
    """Bytes 2 and 3 are the export's number; with it come the rights to write."""
    mine = client.mount(version, "/own/1/a")
    others = client.lookup(version, client.mount(version, "/own/1/ro"), "upper")
    with pytest.raises(Refused, match="30"):  # NFS3ERR_ROFS, NFS4ERR_ROFS
        client.write(version, others, "owned")
    relabelled = others[:2] + mine[2:4] + others[4:]
    for attack in (client.read, client.names):
        with pytest.raises(Refused, match=NO_HANDLE):
            attack(version, relabelled)
    with pytest.raises(Refused, match=NO_HANDLE):
        client.write(version, relabelled, "owned")
    assert client.read(version, others) == "own_1_ro\n"


@BOTH_VERSIONS
def test_a_handle_that_is_only_a_file_systems_number_shows_nothing(
    server: Server, client: Forger, version: int
) -> None:
    """Ganesha has such handles for itself (FSAL_VFS, HANDLE_DUMMY): no kernel handle in them."""
    mine = client.mount(version, "/own/1/a")
    others = client.mount(version, "/own/1/b")
    dummy = others[:4] + bytes([9, others[5] & 0x1F | 0x20]) + others[6:14]
    dummy = dummy[:2] + mine[2:4] + dummy[4:]
    for attack in (client.read, client.names):
        with pytest.raises(Refused):
            attack(version, dummy + bytes(-len(dummy) % 4 if version == 3 else 0))


@BOTH_VERSIONS
def test_no_step_up_leads_out_of_an_export(server: Server, client: Forger, version: int) -> None:
    above = client.lookup(version, client.mount(version, "/own/1/a"), "..")
    if version == 3:
        assert {"etc", "upper"} <= set(client.names(version, above))
        return
    # By NFSv4 there is a tree of exports above, and nothing but their names.
    assert client.names(version, above) == ["a", "b", "ro"]
    top = client.lookup(version, above, "..", "..")
    assert client.names(version, top) == ["own", "plain", "plain2", "shared"]
    with pytest.raises(Refused):
        client.lookup(version, top, "..")


# --- who may ask


@BOTH_VERSIONS
def test_a_client_outside_of_the_subnet_is_refused_and_named(
    server: Server, client: Forger, version: int
) -> None:
    handle = client.lookup(version, client.mount(version, "/own/1/a"), "upper")
    before = len(server.log())
    with Forger(server.lab, OUTSIDER) as outsider:
        with pytest.raises(Refused, match=r"mount 13|nfs4 13"):
            outsider.mount(version, "/own/1/a")
        with pytest.raises(Refused, match=r"denied|nfs4 13"):
            outsider.read(version, handle)
    said = server.log()[before:]
    assert f"client ::ffff:{OUTSIDER}" in said
    assert CLIENT not in said


# --- changes while machines write


@contextmanager
def writing(client: Forger, handle: bytes, *, patient: bool) -> Iterator[Callable[[], list[float]]]:
    """Write to a file, over and over; give how long each took, in seconds.

    A patient client asks again until it is answered, as a hard mount does.
    """
    times: list[float] = []
    failed: list[BaseException] = []
    enough = Event()

    def write() -> None:
        while not enough.is_set():
            start = time.monotonic()
            while True:
                try:
                    client.write(3, handle, f"{len(times)}\n")
                    break
                except Refused as refused:
                    if not patient or time.monotonic() > start + 20:
                        failed.append(refused)
                        return
            times.append(time.monotonic() - start)

    thread = Thread(target=write)
    thread.start()
    try:
        yield lambda: list(times)
    finally:
        enough.set()
        thread.join()
    assert failed == []


def test_exports_come_and_go_without_a_pause_for_who_writes(server: Server, client: Forger) -> None:
    handle = client.lookup(3, client.mount(3, "/shared/1/b"), "upper")
    with Forger(server.lab) as second, writing(client, handle, patient=False) as times:
        for each in range(5):
            path = f"/shared/2/{each}"
            server.layer(path, images=False)
            server.reload()
            assert second.names(3, second.mount(3, path)) == ["etc", "upper"]
            server.drop(path)
            server.reload()
            with pytest.raises(Refused, match="mount 13"):
                second.mount(3, path)
            server.sh(f"umount {server.where(path)}")
    # Who is not patient would have failed at a server that was started anew.
    assert len(times()) > 50
    print(f"{len(times())} writes, the longest in {max(times()):.2f} s")


@BOTH_VERSIONS
@pytest.mark.parametrize("moves", [False, True], ids=["the same layer", "another layer"])
def test_a_path_that_went_and_came_back_is_found_by_who_knew_it_before(
    server: Server, client: Forger, version: int, moves: bool
) -> None:
    """As by `bootdrop machines reset`, and when an address is another machine's now."""
    path, other = f"/shared/back/{version}{moves}", "/shared/back/stays"
    for each in (path, other):
        server.layer(each, images=False)
    server.reload()
    for count in range(2):
        assert "upper" in client.names(version, client.mount(version, path))
        server.drop(path)
        server.reload()
        with pytest.raises(Refused):
            client.mount(version, path)
        server.sh(f"umount {server.where(path)}")
        if moves:
            server.sh(f"mv {server.store(path)} {server.store(path)}-{count}")
        server.layer(path, images=False)
        if moves:
            server.renumber(path)
        server.reload()
    assert "upper" in client.names(version, client.mount(version, path))
    for each in (path, other):
        server.drop(each)
        server.reload()
        server.sh(f"umount {server.where(each)}")


def test_an_export_becomes_read_only_and_writable_again_for_who_has_it(
    server: Server, client: Forger
) -> None:
    handle = client.lookup(4, client.mount(4, "/shared/1/b"), "upper")
    client.write(4, handle, "1\n")
    server.add("/shared/1/b", writable=False)
    server.reload()
    with pytest.raises(Refused, match="30"):
        client.write(4, handle, "2\n")
    server.add("/shared/1/b")
    server.reload()
    client.write(4, handle, "3\n")


def test_an_export_that_fails_takes_no_other_with_it(server: Server, client: Forger) -> None:
    handle = client.lookup(3, client.mount(3, "/own/1/a"), "upper")
    before = len(server.log())
    server.add("/not/there/rw")
    server.reload()
    said = server.log()[before:]
    assert ":CRIT :" in said
    client.write(3, handle, "still there\n")
    with pytest.raises(Refused, match="mount 13"):
        client.mount(3, "/not/there/rw")
    server.drop("/not/there/rw")
    server.reload()


def test_a_machine_that_is_off_is_asked_for_within_a_minute(server: Server) -> None:
    # Else the timer is the kernel's, of two hours.
    said = server.sh(f"/opt/venv/bin/python -c '{_WATCHED}'")
    assert re.search(r"timer:\(keepalive,\d\d(\.\d+)?sec,0\)", said), said


def test_it_is_killed_while_a_machine_writes_and_goes_on_with_the_same_handles(
    server: Server, client: Forger
) -> None:
    handle = client.lookup(3, client.mount(3, "/own/1/a"), "upper")
    with writing(client, handle, patient=True) as times:
        for _ in range(3):
            reached = len(times())
            server.stop("KILL")
            server.start()
            end = time.monotonic() + 20
            while len(times()) < reached + 20:
                assert time.monotonic() < end
        written = len(times())
    assert int(client.read(3, handle).splitlines()[0]) >= written - 1


def test_an_rpcbind_that_was_killed_is_told_again_by_a_new_start(
    server: Server, client: Forger
) -> None:
    handle = client.lookup(3, client.mount(3, "/own/1/a"), "upper")
    server.sh("kill -KILL $(pidof rpcbind)")
    server.wait("! pidof rpcbind >/dev/null")
    # Machines that have it mounted do not notice; the appliance's probe does.
    client.write(3, handle, "1\n")
    server.stop()
    server.start()
    client.write(3, handle, "2\n")


@pytest.mark.parametrize("path", ["/own/1/b", "/shared/1/a"])
def test_handles_outlive_that_their_layer_is_mounted_anew(
    server: Server, client: Forger, path: str
) -> None:
    handles = {
        (version, name): client.lookup(version, client.mount(version, path), *name.split("/"))
        for version in (3, 4)
        for name in ("etc", "etc/lower", "upper")
    }
    server.stop()
    server.sh(f"umount {server.where(path)}")
    images = path.startswith("/own")
    if images:
        server.sh(f"umount {server.store(path)}/layer")
    # Another layer takes the number that its device had.
    server.layer("/shared/3/first", images=False)
    server.layer(path, images=images)
    server.start()
    for version in (3, 4):
        assert client.names(version, handles[version, "etc"]) == ["lower"]
        assert client.read(version, handles[version, "etc/lower"]) == "lower\n"
        client.write(version, handles[version, "upper"], "again\n")
    server.drop("/shared/3/first")
    server.reload()
    server.sh(f"umount {server.where('/shared/3/first')}")


def test_a_hundred_exports_are_served(server: Server, client: Forger) -> None:
    paths = [f"/many/1/{number}" for number in range(100)]
    for path in paths:
        server.layer(path, images=False)
    start = time.monotonic()
    server.reload()
    assert time.monotonic() - start < 5
    server.wait_served()
    handle = client.lookup(4, client.mount(4, paths[-1]), "upper")
    assert client.read(4, handle) == "many_1_99\n"
    server.stop()
    start = time.monotonic()
    server.start()
    assert time.monotonic() - start < 10
    assert client.read(4, handle) == "many_1_99\n"
    for path in paths:
        server.drop(path)
    server.reload()
    server.sh("; ".join(f"umount {server.where(path)}" for path in paths))
