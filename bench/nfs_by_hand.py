"""The appliance's own NFS server, set up by hand beside it: its program, other exports."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.lab.lab import Lab
from tests.lab.project import SERVER, LabError

NFS_PORT, MOUNT_PORT = 12049, 12050  # the appliance has those that one would use
EXPORT = "/by-hand"

# Known to be quick: large transfers are the server's default, only TCP, nothing squashed, no
# translation of names, as many threads as the appliance has. Clients are told its ports.
_GANESHA = f"""
NFS_CORE_PARAM {{
    allow_set_io_flusher_fail = true;
    Protocols = 3, 4;
    NFS_Port = {NFS_PORT};
    MNT_Port = {MOUNT_PORT};
    Enable_UDP = false;
    Enable_NLM = false;
    Enable_RQUOTA = false;
    mount_path_pseudo = true;
}}
NFSv4 {{ Only_Numeric_Owners = true; Graceless = true; RecoveryRoot = /run/ganesha; }}
EXPORT {{
    Export_Id = 1;
    Path = /exported;
    Pseudo = {EXPORT};
    Access_Type = RW;
    Squash = No_Root_Squash;
    SecType = sys;
    Transports = TCP;
    FSAL {{ Name = VFS; }}
}}
"""
# It does not start unless a port mapper takes its numbers: its own, by its own socket, as the other
# one on this network has those of the appliance.
_START = """
rpcbind
mkdir -p /run/ganesha && printf '%s' "$1" >/run/ganesha.conf
exec ganesha.nfsd -F -f /run/ganesha.conf -L /dev/stdout -N NIV_EVENT
"""
_RUNS = b"NFS SERVER INITIALIZED"


@dataclass(frozen=True)
class Mount:
    """Options that a person would try."""

    name: str
    options: str

    def command(self, target: str) -> str:
        """Return the shell's line by which a machine mounts what `served` serves."""
        common = f"addr={SERVER},port={NFS_PORT},proto=tcp,hard,rsize=1048576,wsize=1048576"
        return f"mount -i -t nfs -o {common},{self.options} {SERVER}:{EXPORT} {target}"


_VERSION_3 = f"vers=3,mountport={MOUNT_PORT},mountproto=tcp,nolock"
MOUNTS = (
    Mount("by hand, v3", _VERSION_3),
    Mount("by hand, v3, nconnect=4", f"{_VERSION_3},nconnect=4"),
    Mount("by hand, v4.2", "vers=4.2"),
    Mount("by hand, v4.2, nconnect=4", "vers=4.2,nconnect=4"),
)


@contextmanager
def served(lab: Lab, folder: Path) -> Iterator[None]:
    """Serve a plain folder of the host on a lab's network; from the first answer to the end.

    Raises LabError with what the server said when it does not start.
    """
    container = lab.docker.containers.run(
        lab.project.image("appliance"),
        ["sh", "-c", _START, "sh", _GANESHA],
        detach=True,
        init=True,
        network_mode=f"container:{lab.network.id}",
        cap_add=["SYS_ADMIN", "DAC_READ_SEARCH"],  # files are opened by handle
        volumes={str(folder): {"bind": "/exported", "mode": "rw"}},
    )
    try:
        said = b""
        for piece in container.logs(stream=True, follow=True):
            said += piece
            if _RUNS in said:
                break
        else:
            raise LabError(f"NFS by hand: its container ended: {said.decode().strip()[-2000:]}")
        yield
    finally:
        container.remove(force=True)
