"""The daemons that the appliance runs: one file each, all behind the Protocol in `base`.

A new daemon is a new file here and its line in ALL; docs/adding-a-daemon.md shows one.
"""

from appliance.daemons.base import Daemon
from appliance.daemons.dhcpd import Dhcpd
from appliance.daemons.ganesha import Ganesha
from appliance.daemons.mountd import Mountd
from appliance.daemons.neopxe import Neopxe
from appliance.daemons.nfsd import Nfsd
from appliance.daemons.nfsdcld import Nfsdcld
from appliance.daemons.nginx import Nginx
from appliance.daemons.radvd import Radvd
from appliance.daemons.rarpd import Rarpd
from appliance.daemons.rpcbind import Rpcbind
from appliance.daemons.tftpd import Tftpd

# In the order in which a machine meets them, last first: who answers DHCP must mean it.
ALL: tuple[Daemon, ...] = (
    Nginx(),
    Tftpd(),
    # An NFS server tells rpcbind its ports, and ends when there is none.
    Rpcbind(),
    Ganesha(),
    # The kernel's asks nfsdcld once, when it starts, and mountd whenever a machine is new to it.
    Nfsdcld(),
    Mountd(),
    Nfsd(),
    Neopxe(),
    Radvd(),
    Rarpd(),
    Dhcpd(),
)
