"""The appliance's state as one value: what `bootdrop status` shows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Literal

from appliance.catalog.model import InitrdMaker, PublishedKernel
from appliance.layers.layer import Layer
from appliance.layers.sizes import Size
from appliance.menu.nfs_boot import initrd_lacks, mounted_by, version_by
from appliance.menu.nfs_preflight import NfsRoot, Preflight, preflight
from appliance.settings import Settings

# failed: no machine can boot, as something that every boot needs was given up; it is tried again.
State = Literal["starting", "ready", "degraded", "failed"]
# failing: it does not serve; failed: nor does it stay up, so it is started with growing pauses.
Phase = Literal["idle", "starting", "serving", "failing", "failed"]


@dataclass(frozen=True)
class DaemonStatus:
    """One daemon, seen from outside."""

    name: str
    phase: Phase
    reason: str = ""  # why it is idle, failing or failed
    vital: bool = True  # without it no machine boots


@dataclass(frozen=True)
class RefusedFile:
    """A file in the drop folder that is not served."""

    path: str
    reason: str


@dataclass(frozen=True)
class KernelNfs:
    """Whether a kernel can mount its root over NFS, by its configuration."""

    works: bool | None = None  # None: its configuration is not known
    # What the initrd that is to mount it lacks: "nfs.ko in its initrd", …
    initrd: tuple[str, ...] = ()
    lacking: tuple[str, ...] = ()  # "CONFIG_ROOT_NFS=y", …, in order of their dependencies
    advised: tuple[str, ...] = ()  # the same, of what it can do without
    cards: tuple[str, ...] = ()  # a sentence for each network card that was seen and has no driver
    command: str = ""  # sets all that in a configuration; "" where there is nothing to set


@dataclass(frozen=True)
class KernelStatus:
    """A kernel in the menu."""

    name: str
    version: str
    arch: str
    id: str
    nfs: KernelNfs = KernelNfs()


@dataclass(frozen=True)
class RootStatus:
    """A root in the menu, or one that is being built or could not be."""

    name: str
    id: str = ""  # of the version in the menu; "" while there is none
    title: str = ""
    arch: str = ""
    formats: tuple[str, ...] = ()
    size: int = 0  # bytes
    # Of the last build: queued, building, done or failed.
    state: str = ""
    step: str = ""
    done: int = 0
    total: int = 0
    unit: str = ""  # of done and total: packages, bytes or ""
    message: str = ""
    error: str = ""
    log: str = ""  # relative to roots/NAME
    started: float = 0.0  # seconds since the epoch
    updated: float = 0.0
    request: float = 0.0  # the time in the request that was answered last


@dataclass(frozen=True)
class NfsStatus:
    """What serves roots over NFS."""

    server: Literal["kernel", "ganesha"] | None = None
    reason: str = ""  # why this server, or why none
    way: str = ""  # how machines' writable layers are made
    exports: int = 0


@dataclass(frozen=True)
class ClientStatus:
    """A machine that has, or within a day had, something mounted over NFS."""

    address: str
    mac: str = ""  # "" where it is not known
    root: str = ""  # name of the root
    version: str = ""  # ID of the root's version
    share: str = ""  # clone, rw or ro
    paths: tuple[str, ...] = ()  # exports that it has mounted
    certain: bool = True  # False: it has one of `paths` mounted, or several
    nfs: str = ""  # 3, 4.0, 4.1, 4.2; "" while it is not known
    since: float = 0.0  # seconds since the epoch
    idle: float = 0.0  # seconds since it used what it mounted
    read: int = 0  # bytes that TCP carried to it
    written: int = 0  # bytes that TCP carried from it
    # idle: an NFSv3 client closed its connection as nothing went over it; it makes another
    state: Literal["mounted", "idle", "gone"] = "mounted"


@dataclass(frozen=True)
class MachineStatus:
    """A writable layer over a version of a root."""

    holder: str  # the machine's hardware address; rw or ro where all share it
    root: str
    version: str
    size: int | None = None  # bytes that it takes beside the version; None: not measured yet
    files: int | None = None
    made: float = 0.0  # seconds since the epoch
    seen: float = 0.0  # when the machine last asked for an address, or had it mounted
    is_current: bool = True  # of the version that a boot gets now
    is_kept: bool = False  # the machine stays on this version
    is_over: bool = False  # larger than BOOTDROP_NFS_LAYER_SIZE allows, so it can only be read
    is_writable: bool = True
    is_busy: bool = False  # mounted by a machine now


@dataclass(frozen=True)
class Status:
    """Everything at one moment."""

    state: State = "starting"
    reasons: tuple[str, ...] = ()  # why degraded
    daemons: tuple[DaemonStatus, ...] = ()
    address: str = ""  # server's IPv4 address, "" without a network
    kernels: tuple[KernelStatus, ...] = ()  # newest first
    roots: tuple[RootStatus, ...] = ()  # sorted by name
    nfs: NfsStatus = NfsStatus()
    clients: tuple[ClientStatus, ...] = ()  # of NFS; those that are gone last
    machines: tuple[MachineStatus, ...] = ()  # layers, sorted by holder and root
    default: str = ""  # title of the entry that boots when nobody chooses
    notices: tuple[str, ...] = ()
    refused: tuple[RefusedFile, ...] = ()
    pending: tuple[str, ...] = ()  # still being written

    def as_json(self) -> dict[str, Any]:
        """Return what the control socket sends."""
        return asdict(self)


def summary(
    daemons: tuple[DaemonStatus, ...], faults: tuple[str, ...]
) -> tuple[State, tuple[str, ...]]:
    """Return the state and its reasons: faults and failing daemons degrade, all else must serve."""
    reasons = faults + tuple(
        f"{each.name}: {each.reason}" for each in daemons if each.phase in ("failing", "failed")
    )
    if any(each.vital and each.phase == "failed" for each in daemons):
        return "failed", reasons
    if reasons:
        return "degraded", reasons
    if not daemons or any(each.phase == "starting" for each in daemons):
        return "starting", ()
    return "ready", ()


def kernel_nfs(kernel: PublishedKernel, settings: Settings, cards: Mapping[str, str]) -> KernelNfs:
    """Tell whether a kernel can mount a root over NFS as the settings have it.

    `cards` names each network card that was seen with the address of a machine that has it.
    """
    found = by_itself = _preflight(kernel, settings, cards, None)
    maker = mounted_by(kernel, lambda: by_itself.works is True)
    if maker is not None:
        found = _preflight(kernel, settings, cards, maker)
    initrd = () if maker is None else initrd_lacks(kernel)
    return KernelNfs(
        False if initrd else found.works,
        initrd,
        tuple(f"CONFIG_{option}=y" for option in found.lacking),
        tuple(f"CONFIG_{option}=y" for option in found.advised),
        tuple(each.reason for each in found.missing_drivers),
        found.command,
    )


def _preflight(
    kernel: PublishedKernel,
    settings: Settings,
    cards: Mapping[str, str],
    maker: InitrdMaker | None,  # None: the kernel mounts its root by itself
) -> Preflight:
    version = version_by(maker, settings, kernel)
    root = NfsRoot(version, str(settings.nfs_ip), settings.nfs_share, maker is not None)
    return preflight(kernel.config, root, cards, kernel.version)


def layer_status(  # noqa: PLR0913
    layer: Layer,
    size: Size | None,
    *,
    limit: int,
    is_current: bool,
    is_writable: bool,
    is_busy: bool,
) -> MachineStatus:
    """Return what is told of a layer; `limit` is what it may take, in bytes.

    `size` is None where it was not measured since the start.
    """
    record = layer.record
    return MachineStatus(
        holder=layer.who,
        root=record.root,
        version=record.version,
        size=None if size is None else size.bytes,
        files=None if size is None else size.files,
        made=record.made_at,
        seen=record.last_seen,
        is_current=is_current,
        is_kept=record.keep,
        is_over=size is not None and size.bytes > limit,
        is_writable=is_writable,
        is_busy=is_busy,
    )
