"""Who uses an export, by a real Ganesha, a real client and the appliance's own look at both."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import docker
import pytest
from docker.models.containers import Container

from appliance.nfs.mount_log import Refused, of_ganesha
from tests.lab.project import Project

pytestmark = pytest.mark.lab

SIZE = 30_000_000
FIRST, SECOND = "/lab/0011223344556677/rw", "/other/0011223344556677/rw"

GANESHA = """
NFS_CORE_PARAM {{ allow_set_io_flusher_fail = true; Protocols = 3,4; MNT_Port = 20048;
    Enable_UDP = False; Enable_NLM = false; Enable_RQUOTA = false; mount_path_pseudo = true; }}
NFSv4 {{ Only_Numeric_Owners = true; Graceless = true; RecoveryRoot = /recovery; }}
EXPORT_DEFAULTS {{ Squash = no_root_squash; Access_Type = None; SecType = sys; }}
{exports}
LOG {{ COMPONENTS {{ EXPORT = INFO; }} }}
"""
EXPORT = """
EXPORT {{ Export_Id = {number}; Path = /run/bootdrop/exports{path}; Pseudo = {path};
    Filesystem_Id = 77.{number}; FSAL {{ Name = VFS; }}
    CLIENT {{ Clients = {clients}; Access_Type = RW; }} }}
"""
SERVE = """
set -e
for path in {first} {second}; do
    mkdir -p /run/bootdrop/exports$path /data/$path/upper /data/$path/work /data/lower
    mount -t overlay layer /run/bootdrop/exports$path -o index=on,nfs_export=on \
        -o lowerdir=/data/lower,upperdir=/data/$path/upper,workdir=/data/$path/work
done
head -c {size} /dev/zero >/run/bootdrop/exports{first}/file
mkdir -p /recovery /run/ganesha
rpcbind
exec ganesha.nfsd -F -f /data/ganesha.conf -L /dev/stderr -N NIV_EVENT
"""
# As NfsClients does it, but for the probes' address, which is this client's here.
LOOK = """
import asyncio, json, sys
from pathlib import Path, PurePosixPath
from appliance.nfs import connections
from appliance.nfs.clients import Clients
from appliance.nfs.export import Export, NfsService, fsid
from appliance.nfs_roots.nfs_clients import see
exports = tuple(Export(PurePosixPath(each), fsid(each, "", "")) for each in sys.argv[1:])
service = NfsService("ganesha", exports=exports)
clients = Clients()
for _ in range(2):
    found = asyncio.run(connections.established())
    folder = Path("/recovery/v4recov/node0")
    clients.look(see(found, service, Path("/run/bootdrop/exports"), folder, True))
print(json.dumps([
    [str(each.address), [*map(str, each.paths)], each.version, each.read, each.written]
    for each in clients.clients()
]))
"""


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Container]:
    """Serve two exports, one of them to nobody here."""
    data = tmp_path_factory.mktemp("data")
    exports = EXPORT.format(number=1, path=FIRST, clients="127.0.0.1")
    exports += EXPORT.format(number=2, path=SECOND, clients="10.0.0.0/8")
    (data / "ganesha.conf").write_text(GANESHA.format(exports=exports))
    container = docker.from_env().containers.run(
        Project().image("appliance"),
        ["-c", SERVE.format(first=FIRST, second=SECOND, size=SIZE)],
        entrypoint="sh",
        network_mode="none",
        cap_add=["SYS_ADMIN", "DAC_READ_SEARCH"],
        security_opt=["apparmor=unconfined"],
        volumes={str(data): {"bind": "/data", "mode": "rw"}},
        detach=True,
    )
    try:
        for line in container.logs(stream=True):
            if b"NFS SERVER INITIALIZED" in line:
                break
        yield container
    finally:
        container.remove(force=True)


def seen(server: Container) -> list[Any]:
    said = server.exec_run(["/opt/venv/bin/python", "-c", LOOK, FIRST, SECOND])
    assert isinstance(said.output, bytes)
    assert said.exit_code == 0, said.output.decode()
    found = json.loads(said.output)
    assert isinstance(found, list)
    return found


@pytest.mark.parametrize("version", ["3", "4"])
def test_a_client_is_seen_with_its_export_its_version_and_its_bytes(
    server: Container, version: str
) -> None:
    begun = f"/begun-{version}"
    # The fifo is full after 64 KiB, so the client stays in the middle of the file until it is read.
    read_slowly = f"""
        rm -f /fifo && mkfifo /fifo
        nfs-cat 'nfs://127.0.0.1{FIRST}/file?version={version}' >/fifo &
        exec 3</fifo
        head -c 1 <&3 >{begun}
        exec sleep 60
    """
    server.exec_run(["sh", "-c", read_slowly], detach=True)
    until = f"until [ -s {begun} ]; do :; done"
    assert server.exec_run(["timeout", "20", "sh", "-c", until]).exit_code == 0
    ((address, paths, found, read, written),) = seen(server)
    assert (address, paths, found) == ("127.0.0.1", [FIRST], version)
    assert 0 < written < read < SIZE
    server.exec_run(["sh", "-c", "kill $(pidof nfs-cat sleep)"])


def test_a_refusal_is_told_by_ganesha_at_the_level_that_we_set(server: Container) -> None:
    for version in ("3", "4"):
        server.exec_run(["nfs-ls", f"nfs://127.0.0.1{SECOND}?version={version}"])
    lines = server.logs().decode().splitlines()
    refused = [said for line in lines if isinstance(said := of_ganesha(line), Refused)]
    assert [(str(each.address), each.path) for each in refused] == [("127.0.0.1", SECOND)] * 2
