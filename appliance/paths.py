"""Where things are inside the container."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Paths:
    """The container's folders; a test or `bootdrop render` has its own."""

    boot: Path = Path("/srv/boot")  # the volume that people drop kernels into
    state: Path = Path("/var/lib/bootdrop")  # leases: what must outlive the container
    run: Path = Path("/run/bootdrop")  # generated configuration and sockets, thrown away
    templates: Path = Path("/usr/share/bootdrop/config")
    provisions: Path = Path("/usr/lib/bootdrop")  # what the image brings: loaders/, rescue/
    recipes_brought: Path = Path("/usr/share/bootdrop/recipes")  # to begin one's own with
    settings: Path = Path("/etc/bootdrop/bootdrop.yaml")

    @property
    def kernels(self) -> Path:
        """The drop folder."""
        return self.boot / "kernels"

    @property
    def roots(self) -> Path:
        """What the root builder made; it alone writes there."""
        return self.boot / "roots"

    @property
    def recipes(self) -> Path:
        """What the root builder is to make."""
        return self.boot / "recipes"

    @property
    def machines(self) -> Path:
        """Writable layers of machines over roots' versions; ours alone."""
        return self.boot / "machines"

    @property
    def trees_image(self) -> Path:
        """The file with the file system of what machines only read: versions, read-only layers."""
        return self.machines / "trees.ext4"

    @property
    def layers_image(self) -> Path:
        """The file with the file system that machines write to."""
        return self.machines / "layers.ext4"

    @property
    def store(self) -> Path:
        """Where these are mounted, each by the name of its file."""
        return self.run / "store"

    @property
    def exports(self) -> Path:
        """What NFS serves: a small file system of its own, of mount points and nothing else."""
        return self.run / "exports"

    @property
    def nfs_state(self) -> Path:
        """What NFS servers must remember: clients to wait for after a start, numbers given away."""
        return self.state / "nfs"

    @property
    def published(self) -> Path:
        """Root of TFTP and HTTP: immutable copies and menus."""
        return self.boot / "published"

    @property
    def control(self) -> Path:
        """Socket on which the running appliance answers the command line."""
        return self.run / "control.sock"

    @property
    def supervisor(self) -> Path:
        """Socket on which supervisord answers XML-RPC."""
        return self.run / "supervisor.sock"

    @property
    def leases(self) -> Path:
        """The lease file of dhcpd."""
        return self.state / "dhcpd" / "dhcpd.leases"
