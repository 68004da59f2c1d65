"""Every setting in one table: name, default, unit, what is allowed and one sentence.

The environment (`BOOTDROP_…`) wins over the YAML file, which wins over the defaults. `.env.example`
and docs/settings.md are generated from this table (settings_docs.py); settings_load.py reads it.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, field_validator
from pydantic.fields import FieldInfo
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    YamlConfigSettingsSource,
)

from appliance.hosts import Hosts
from appliance.ip_parameter import Ip, IpParameter
from appliance.settings_types import (
    PRINTABLE,
    Range,
    checked_nfs_options,
    is_plain_cmdline,
    yaml_off,
)

PREFIX = "BOOTDROP_"

# Read by compose.yaml on the host, not by the appliance, which sees them all the same when
# they stand in .env.
COMPOSE_VARIABLES: Mapping[str, str] = {
    "BOOTDROP_BOOT_DIR": "Folder on the host that is the volume; ./boot by default.",
    "BOOTDROP_CA_BUNDLE": "CA bundle of the host that pip trusts while the image is built; "
    "/etc/ssl/certs/ca-certificates.crt by default.",
    "BOOTDROP_TAG": "Tag of the image bootdrop/appliance that is built and run; latest by default.",
}


_SHORTEST_LEASE = 60  # seconds
_INTERFACE = re.compile(r"[^\s/]{1,15}")


def _setting(default: Any, section: str, sentence: str, allowed: str, **limits: Any) -> Any:  # noqa: ANN401
    return Field(
        default,
        description=sentence,
        json_schema_extra={"section": section, "allowed": allowed},
        **limits,
    )


class Settings(BaseSettings):
    """The appliance's settings, checked each for itself; `network.resolve` checks them together."""

    model_config = SettingsConfigDict(
        env_prefix=PREFIX,
        env_ignore_empty=True,
        extra="forbid",
        frozen=True,
        arbitrary_types_allowed=True,
    )

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Put the environment over the YAML file; Compose has read .env already."""
        return init_settings, env_settings, YamlConfigSettingsSource(settings_cls)

    interface: str | None = _setting(
        None,
        "Network",
        "Interface of the boot network; nothing that speaks DHCP starts without it.",
        "the name of a network interface of the host, such as eth1",
    )
    server_address: IPv4Address | None = _setting(
        None,
        "Network",
        "Address that machines reach us at; the interface's first IPv4 address when not set.",
        "an IPv4 address of the interface, such as 192.168.10.1",
    )
    subnet: IPv4Network | None = _setting(
        None,
        "Network",
        "Subnet that is served; the interface's own when not set.",
        "ADDRESS/PREFIX without host bits, such as 192.168.10.0/24",
    )
    dhcp_range: Range | None = _setting(
        None,
        "Network",
        "Addresses that are leased; when not set, from the subnet's tenth to its last, "
        "without the server's and the gateway's.",
        "FIRST-LAST, such as 192.168.10.10-192.168.10.254",
    )
    gateway: IPv4Address | None = _setting(
        None,
        "Network",
        "Router that machines are told; none when not set.",
        "an IPv4 address in the subnet",
    )
    lease_time: int = _setting(
        1200,
        "Network",
        "Length of a lease when the machine asks for none, in seconds.",
        "60 to 604800 seconds",
        ge=60,
        le=604800,
    )
    max_lease_time: int = _setting(
        1800,
        "Network",
        "Longest lease that a machine can ask for, in seconds.",
        "60 to 604800 seconds",
        ge=60,
        le=604800,
    )
    dhcp: Annotated[Literal["auto", "force", "off"], BeforeValidator(yaml_off)] = _setting(
        "auto",
        "Network",
        "Whether addresses are given by DHCP: `auto` stops where another server answers, `force` "
        "does not, `off` leaves all to another server, which has to send machines here.",
        "auto, force or off",
    )
    bootp_lease_time: int = _setting(
        86400,
        "Network",
        "Time that a BOOTP client keeps its address after it asked last, in seconds; such clients "
        "never renew, so longer than a machine runs. 0 leaves BOOTP unanswered.",
        "0, or 60 to 31536000 seconds",
        ge=0,
        le=31536000,
    )
    rarp_hosts: Hosts = _setting(
        (),
        "Network",
        "Machines that are told their address by RARP, each with its hardware address; they have "
        "the same one by DHCP and BOOTP. Nothing answers RARP when not set.",
        "MAC=ADDRESS words, such as 52:54:00:12:34:56=192.168.10.5, each MAC and address once",
    )
    radvd: Annotated[Literal["auto", "off"], BeforeValidator(yaml_off)] = _setting(
        "auto",
        "Network",
        "Router advertisements without router or prefix, which spare iPXE a wait of seconds; "
        "`auto` is silent where another router advertises.",
        "auto or off",
    )
    bios_loader: Literal["ipxe", "pxelinux"] = _setting(
        "ipxe",
        "Boot",
        "What BIOS machines load: iPXE (transfers by HTTP), or pxelinux through the boot "
        "server's prompt (TFTP).",
        "ipxe or pxelinux",
    )
    prompt: str = _setting(
        "Press [F8] for menu...",
        "Boot",
        "Prompt of the PXE boot server.",
        "up to 69 printable ASCII characters",
        max_length=69,
    )
    prompt_timeout: int = _setting(
        0,
        "Boot",
        "Time that the prompt of the PXE boot server is shown, in seconds; 0 takes the first "
        "item at once, 255 waits for a key.",
        "0 to 255 seconds",
        ge=0,
        le=255,
    )
    firmware_menu: Literal["loader", "kernels"] = _setting(
        "loader",
        "Boot",
        "What the menu of the PXE boot server lists: the loader alone, which has a menu of its "
        "own, or also as many kernels as it has room for, each leading straight to its boot.",
        "loader or kernels",
    )
    ipxe_rom: Literal["script", "boot-server"] = _setting(
        "script",
        "Boot",
        "Where network cards whose ROM is iPXE are led: to the script of kernels at once, or "
        "like all others to the PXE boot server with its prompt and menu.",
        "script or boot-server",
    )
    menu_timeout: int = _setting(
        0,
        "Boot",
        "Time that the menu of kernels is shown, in seconds; 0 boots the default entry at once "
        "unless m (iPXE) or an arrow key (pxelinux) is held.",
        "0 to 3600 seconds",
        ge=0,
        le=3600,
    )
    default_entry: str = _setting(
        "newest",
        "Boot",
        "Entry that boots when nobody chooses.",
        "newest, local, the name of a kernel as it lies in kernels/, or an entry's key "
        "(docs/menu.md)",
        max_length=4096,
    )
    default_root: str | None = _setting(
        None,
        "Boot",
        "Root that boots when nobody chooses, with kernels that have no initrd of their own, or "
        "one that looks for a root over NFS. When not set: the one whose recipe says "
        "`default: true`, or the newest, or the rescue root.",
        "rescue, newest, or the name of a root as `bootdrop roots` lists it",
        max_length=100,
    )
    console: str = _setting(
        "console=tty0 console=ttyS0,115200n8",
        "Kernel",
        "Consoles of every x86 kernel; the last one gets init's output.",
        "console=… words",
        max_length=512,
    )
    console_arm64: str = _setting(
        "console=tty0 console=ttyAMA0,115200n8",
        "Kernel",
        "Consoles of every arm64 kernel; the last one gets init's output.",
        "console=… words",
    )
    cmdline: str = _setting(
        "",
        "Kernel",
        "Words added to every kernel's command line.",
        "printable ASCII, up to 1024 characters, without `${`, `;`, `||`, `&&` and `#` words",
        max_length=1024,
    )
    ramdisk: Literal["cpio", "ext2"] = _setting(
        "cpio",
        "Kernel",
        "Form of ramdisk roots: an initramfs (cpio), or a file system image on /dev/ram0 (ext2) "
        "for those kernels whose configuration is known to have what it takes.",
        "cpio or ext2",
    )
    tftp_block_size: int = _setting(
        1468,
        "Transfer",
        "Largest block that TFTP clients are given, in bytes.",
        "512 to 65464 bytes",
        ge=512,
        le=65464,
    )
    tftp_refuse_blksize: bool = _setting(
        False,
        "Transfer",
        "Refuse the blksize option, for ROMs that ask for it and fail (in.tftpd -r blksize).",
        "true or false",
    )
    http_port: int = _setting(
        8069,
        "Transfer",
        "TCP port of boot files over HTTP.",
        "1 to 65535",
        ge=1,
        le=65535,
    )
    nfs: Annotated[Literal["auto", "kernel", "ganesha", "off"], BeforeValidator(yaml_off)] = (
        _setting(
            "auto",
            "NFS",
            "What serves roots over NFS: the kernel's nfsd, or nfs-ganesha in user space; `auto` "
            "takes the kernel's where it can be had and nobody else uses it.",
            "auto, kernel, ganesha or off",
        )
    )
    nfs_version: Literal["auto", "3", "4.0", "4.1", "4.2"] = _setting(
        "auto",
        "NFS",
        "Version that machines mount their root with; `auto` is 4.2 where the kernel is known to "
        "have it, else 3.",
        "auto, 3, 4.0, 4.1 or 4.2",
    )
    nfs_options: Annotated[str, AfterValidator(checked_nfs_options)] = _setting(
        "rsize=1048576,wsize=1048576,hard",
        "NFS",
        "Options that machines mount their root with, besides version and tcp (nfs(5)).",
        "up to 80 characters, words joined by commas, without spaces",
        # The kernel has room for 256 (fs/nfs/nfsroot.c), and joins what DHCP says, what the command
        # line says and its own.
        max_length=80,
        pattern=r"^[A-Za-z0-9_=.:,-]*$",
    )
    nfs_ip: Ip = _setting(
        IpParameter(method="dhcp"),
        "NFS",
        "What kernels without an initrd are told of their network, the value of `ip=` "
        "(Documentation/admin-guide/nfs/nfsroot.rst); name and device are put in where known.",
        "dhcp, bootp, rarp, both, any, on, off, none, or CLIENT:SERVER:GATEWAY:NETMASK:NAME:DEVICE:"
        "METHOD[:DNS[:DNS[:NTP]]] with parts left empty",
    )
    nfs_share: Literal["clone", "ro", "rw"] = _setting(
        "clone",
        "NFS",
        "How machines share a root whose recipe does not say: each has a writable clone of its "
        "own; all read one, with changes in their memory (ro); or all write one (rw).",
        "clone, ro or rw",
    )
    nfs_writes: Literal["async", "sync"] = _setting(
        "async",
        "NFS",
        "When a machine's write is answered: at once, so that the last ones may be lost "
        "when the host's power fails, or when it is on the disk (exports(5); docs/nfs.md).",
        "async or sync",
    )
    nfs_threads: int = _setting(
        8,
        "NFS",
        "Threads of the kernel's NFS server.",
        "1 to 1024",
        ge=1,
        le=1024,
    )
    nfs_lease: int = _setting(
        15,
        "NFS",
        "Time that a machine that fell silent keeps its open files and locks by NFSv4, and that "
        "the kernel's NFS server waits after a restart for those that had some, in seconds.",
        "5 to 3600 seconds",
        ge=5,
        le=3600,
    )
    nfs_default_path: bool = _setting(
        False,
        "NFS",
        "Serve each machine's root also as /tftpboot/ADDRESS, where a kernel looks that is told "
        "root=/dev/nfs and no path.",
        "true or false",
    )
    nfs_first: bool = _setting(
        False,
        "NFS",
        "Boot a root over NFS when nobody chooses, rather than from memory, with kernels that can.",
        "true or false",
    )
    nfs_layers: int = _setting(
        256,
        "NFS",
        "How many machines' layers over NFS are kept. When there are as many, one that no machine "
        "used makes room for the next; where all were used, none is made.",
        "1 to 60000",
        ge=1,
        le=60000,
    )
    nfs_layer_size: int = _setting(
        16384,
        "NFS",
        "Size that a machine's layer may grow to before it can only be read, in MiB.",
        "16 to 16777216 MiB",
        ge=16,
        le=16777216,
    )
    nfs_store: Literal["image", "volume"] = _setting(
        "image",
        "NFS",
        "Where machines' layers lie: in file systems of their own (files, by loop devices), or "
        "on the volume, all of whose file system machines can then read by forged handles.",
        "image or volume",
    )
    nfs_store_size: int | None = _setting(
        None,
        "NFS",
        "Size of the two file systems that machines' layers and their roots' trees lie in, a half "
        "each; a third of what is free, 1024 to 65536 MiB, when not set. It can be raised, never "
        "lowered.",
        "64 to 16777216 MiB",
        ge=64,
        le=16777216,
    )
    keep: int = _setting(
        3,
        "Store",
        "Replaced versions of a kernel that are kept for falling back.",
        "0 to 1000",
        ge=0,
        le=1000,
    )

    @field_validator("interface")
    @classmethod
    def _interface_name(cls, value: str | None) -> str | None:
        if value is not None and not _INTERFACE.fullmatch(value):
            raise ValueError("not an interface's name")
        return value

    @field_validator("bootp_lease_time")
    @classmethod
    def _no_lease_of_seconds(cls, value: int) -> int:
        if 0 < value < _SHORTEST_LEASE:
            raise ValueError("too short")
        return value

    @field_validator("prompt")
    @classmethod
    def _printable(cls, value: str) -> str:
        if not PRINTABLE.fullmatch(value):
            raise ValueError("not printable ASCII")
        return value

    @field_validator("console", "console_arm64", "cmdline")
    @classmethod
    def _no_syntax_of_loaders(cls, value: str) -> str:
        if not is_plain_cmdline(value):
            raise ValueError("not for iPXE")
        return value

    @field_validator("console", "console_arm64")
    @classmethod
    def _only_consoles(cls, value: str) -> str:
        if not all(word.startswith("console=") for word in value.split()):
            raise ValueError("not a console")
        return value

    @field_validator("default_entry", "default_root")
    @classmethod
    def _one_line(cls, value: str | None) -> str | None:
        if value is not None and not value.isprintable():
            raise ValueError("not a name")
        return value


def variable(field: str) -> str:
    """Return the environment variable of a field: `http_port` is BOOTDROP_HTTP_PORT."""
    return PREFIX + field.upper()


def allowed(field: str) -> str:
    """Return what a field may hold, in words."""
    return metadata(Settings.model_fields[field])["allowed"]


def metadata(info: FieldInfo) -> dict[str, str]:
    """Return a field's section and allowed values."""
    extra = info.json_schema_extra
    assert isinstance(extra, dict)
    return {key: str(value) for key, value in extra.items()}
