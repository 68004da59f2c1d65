"""A recipe: what a root is made from, as recipes/NAME.yaml says it."""

from __future__ import annotations

import difflib
import re
from pathlib import Path, PurePosixPath
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from rootfs_builder import document
from rootfs_builder.ramdisk import Format, RamdiskOptions

SHIPPED = Path("/usr/share/rootfs-builder")  # tar files that the image brings
KEYS = Path("/usr/share/distribution-gpg-keys")  # by the package of that name
KEYRINGS = Path("/usr/share/keyrings")  # debootstrap's
SUFFIXES = (".yaml", ".yml")

# What the article installs: `yum -y --installroot=… install basesystem filesystem bash`.
ARTICLE_PACKAGES = ("basesystem", "filesystem", "bash")

_NAME = re.compile(r"[A-Za-z0-9_-](?:[A-Za-z0-9._ -]{0,62}[A-Za-z0-9_-])?")
_PACKAGE = re.compile(r"[A-Za-z0-9@/][A-Za-z0-9@/+._:~()=-]{0,254}")
_RELEASE = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
_URL = re.compile(r"https?://[!-~]{1,2000}")
_SERVICE = re.compile(r"[A-Za-z0-9][A-Za-z0-9@._:\\-]{0,200}")
_HOSTNAME = re.compile(r"[A-Za-z0-9](?:[A-Za-z0-9.-]{0,62}[A-Za-z0-9])?")
_HASH = re.compile(r"[!*]?|\$[0-9a-z]{1,3}\$[A-Za-z0-9./$=,]{8,300}")
_SSH_KEY = re.compile(r"[a-z0-9@.-]{3,64} [A-Za-z0-9+/=]{16,8192}(?: [ -~]*)?")
_PROGRAM = re.compile(r"/[A-Za-z0-9/._+-]{1,200}")
_PLAIN = re.compile(r"(?:[ -#%-~]|\$(?!\{))*")
_IPXE = frozenset({";", "||", "&&"})
_TTY = re.compile(r"tty[A-Za-z]{1,8}[0-9]{1,3}")


class RecipeError(Exception):
    """A recipe that cannot be built: file, line, what, and what to write instead."""


def _matching(pattern: re.Pattern[str], what: str) -> AfterValidator:
    def check(value: str) -> str:
        if not pattern.fullmatch(value):
            raise ValueError(f"{value[:80]!r} is no {what}")
        return value

    return AfterValidator(check)


def _cmdline(value: str) -> str:
    """As the appliance takes it: iPXE runs some of what stands in its scripts, and cannot quote."""
    words = value.split()
    if not _PLAIN.fullmatch(value) or any(word in _IPXE or word[0] == "#" for word in words):
        raise ValueError("printable ASCII is taken, without ${ and without the words ; || && #…")
    return value


def _words(value: object) -> object:
    return value.split() if isinstance(value, str) else value


def _one(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _inside(*homes: Path) -> AfterValidator:
    """A path below the recipes' folder, or below one of the image's own folders."""

    def check(value: str) -> str:
        path = PurePosixPath(value)
        if not value or ".." in path.parts or not value.isprintable():
            raise ValueError(f"{value[:80]!r} leads out of the folder of the recipes")
        if path.is_absolute() and not any(path.is_relative_to(home) for home in homes):
            rather = f" or below {homes[0]}" if homes else ""
            raise ValueError(f"{value[:80]!r} is absolute; name a path beside the recipe{rather}")
        return value

    return AfterValidator(check)


def _key(value: str) -> str:
    if value.lstrip().startswith("-----BEGIN PGP PUBLIC KEY BLOCK-----"):
        return value.lstrip()
    if "://" in value:
        raise ValueError("a key from the network proves nothing; put its file beside the recipe")
    check: str = _inside(KEYS, KEYRINGS).func(value)  # type: ignore[call-arg]
    return check


def _texts(value: object) -> object:
    """Check the paths of files that a recipe holds itself; a folder's name passes."""
    for name in value if isinstance(value, dict) else ():
        path = PurePosixPath(str(name))
        if not path.is_absolute() or ".." in path.parts or len(path.parts) < 2:
            raise ValueError(f"{str(name)[:80]!r}: a file's path begins with / and has no ..")
    return value


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class Repository(_Part):
    """Where packages come from."""

    url: Annotated[str, _matching(_URL, "http:// or https:// address")]
    gpgkey: Annotated[str, AfterValidator(_key)] = ""
    unsigned: bool = False  # take packages that nobody signed
    priority: int = Field(default=99, ge=1, le=999)
    components: Annotated[tuple[str, ...], BeforeValidator(_words)] = ()  # debootstrap's

    @model_validator(mode="after")
    def _is_checked(self) -> Self:
        if self.gpgkey and self.unsigned:
            raise ValueError("it has a gpgkey and is unsigned; keep one of the two")
        return self


class Recipe(_Part):
    """What to build; `source` is its key `from`."""

    source: Literal["dnf", "zypper", "debootstrap", "tar"] = Field(alias="from")
    title: Annotated[str, Field(max_length=100)] = ""
    release: Annotated[str, _matching(_RELEASE, "release, such as 42")] | Literal[""] = ""
    repositories: tuple[Repository, ...] = ()
    packages: Annotated[
        tuple[Annotated[str, _matching(_PACKAGE, "package's name")], ...], BeforeValidator(_words)
    ] = ()
    tar: Annotated[str, _inside(SHIPPED)] | Literal[""] = ""
    rpmdb: Literal["", "/var/lib/rpm", "/usr/lib/sysimage/rpm"] = ""
    files: Annotated[
        Annotated[str, _inside()] | dict[str, str] | Literal[""], BeforeValidator(_texts)
    ] = ""
    run: Annotated[tuple[str, ...], BeforeValidator(_one)] = ()
    run_seconds: int = Field(default=600, ge=1, le=86400)
    stall_seconds: int = Field(default=60, ge=1, le=3600)
    install_seconds: int = Field(default=3600, ge=1, le=86400)
    hostname: Annotated[str, _matching(_HOSTNAME, "host name")] | Literal[""] = ""
    root_password: Annotated[str, _matching(_HASH, "hash (openssl passwd -6 prints one)")] = ""
    ssh_keys: Annotated[
        tuple[Annotated[str, _matching(_SSH_KEY, "line of a .pub file")], ...],
        BeforeValidator(_one),
    ] = ()
    serial_login: Annotated[str, _matching(_TTY, "serial line, such as ttyS0")] | Literal[""] = ""
    services: Annotated[
        tuple[Annotated[str, _matching(_SERVICE, "service")], ...], BeforeValidator(_words)
    ] = ()
    formats: Annotated[tuple[Format, ...], BeforeValidator(_words)] = (
        Format.NFS,
        Format.EXT2,
        Format.CPIO,
    )
    compression: Literal["zstd", "gzip"] = "zstd"
    level: Annotated[int, Field(ge=1, le=19)] | None = None
    headroom_mib: int = Field(default=64, ge=0, le=65536)
    keep: int = Field(default=1, ge=0, le=100)  # replaced versions that stay
    default: bool = False
    cmdline: Annotated[str, Field(max_length=1000), AfterValidator(_cmdline)] = ""
    init: Annotated[str, _matching(_PROGRAM, "program's path")] = "/sbin/init"
    share: Literal["clone", "ro", "rw"] | None = None  # over NFS; None: as the appliance is set

    @property
    def wanted(self) -> tuple[str, ...]:
        """The packages to install: the article's where a recipe for RPMs names none."""
        if self.packages or self.source in ("debootstrap", "tar"):
            return self.packages
        return ARTICLE_PACKAGES

    @property
    def database(self) -> str:
        """Where the target's own rpm looks for its database.

        Fedora 36, RHEL 10 and openSUSE moved it to /usr/lib/sysimage/rpm.
        """
        if self.rpmdb:
            return self.rpmdb
        major = self.release.partition(".")[0]
        moved = int(major) == 10 or int(major) >= 36 if major.isdigit() else bool(major)
        return "/usr/lib/sysimage/rpm" if moved or self.source == "zypper" else "/var/lib/rpm"

    @property
    def ramdisk_options(self) -> RamdiskOptions:
        """What the makers of ramdisks are to know."""
        return RamdiskOptions(self.compression, self.level, self.headroom_mib * 1024, self.init)

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if self.source in ("dnf", "zypper"):
            if not self.repositories:
                raise ValueError(f"from: {self.source} needs `repositories:`, each with its url")
            if any(not one.gpgkey and not one.unsigned for one in self.repositories):
                raise ValueError(
                    "a repository has no gpgkey; name the file, or write `unsigned: true`"
                )
        if self.source == "debootstrap":
            if not self.release:
                raise ValueError("from: debootstrap needs `release:`, such as trixie")
            if len(self.repositories) > 1 or any(one.unsigned for one in self.repositories):
                raise ValueError("from: debootstrap takes one repository, and a signed one")
        if (self.source == "tar") != bool(self.tar):
            raise ValueError("`tar:` names the file to unpack, and belongs to `from: tar`")
        if self.source == "tar" and self.packages:
            raise ValueError("from: tar installs no packages; `run:` may")
        if not self.formats:
            raise ValueError("`formats:` is empty; name some of nfs ext2 cpio squashfs")
        return self


def name_of(file: Path) -> str | None:
    """Return the root's name that a file in recipes/ stands for; None: it is no recipe."""
    if file.name.startswith(".") or file.suffix not in SUFFIXES:
        return None
    return file.stem


def check_name(name: str) -> None:
    """Raise RecipeError for a name that cannot be a folder, a menu's title and a message's word."""
    if not _NAME.fullmatch(name):
        raise RecipeError(
            f"{name[:80]!r} is no name for a root; letters, digits, `.`, `_`, `-` and spaces are"
            " (64 at most), not in front a dot or a space; rename the recipe"
        )


def read(file: Path) -> Recipe:
    """Read a recipe. Raises RecipeError."""
    check_name(file.stem)
    try:
        written = document.read(file)
    except document.DocumentError as error:
        raise RecipeError(str(error)) from None
    except OSError as error:
        raise RecipeError(f"{file.name}: cannot be read: {error.strerror}") from None
    try:
        return Recipe.model_validate(written.values)
    except ValidationError as error:
        raise RecipeError(_explain(written, error)) from None


def _explain(written: document.Document, error: ValidationError) -> str:
    """Say the first fault: unknown keys before others, as they are why others are missing."""
    faults = sorted(error.errors(), key=lambda fault: fault["type"] != "extra_forbidden")
    fault = faults[0]
    place = [one for one in fault["loc"] if one in written.values or isinstance(one, int)]
    line = written.line(fault["loc"])
    where = f"{written.name}:{line}"
    if fault["type"] == "extra_forbidden":
        return f"{where}: {_unknown(fault['loc'])}"
    key = ".".join(str(one) for one in place)
    why = str(fault["msg"]).removeprefix("Value error, ")
    if fault["type"] == "missing":
        return f"{where}: `{fault['loc'][-1]}:` is missing"
    return f"{where}: {key + ': ' if key else ''}{why}"


def _unknown(path: tuple[Any, ...]) -> str:
    model: type[_Part] = Repository if path[0] == "repositories" else Recipe
    known = [field.alias or name for name, field in model.model_fields.items()]
    near = difflib.get_close_matches(str(path[-1]), known, n=1, cutoff=0.6)
    rather = f"did you mean `{near[0]}:`?" if near else "known are " + " ".join(sorted(known))
    return f"unknown key {str(path[-1])[:80]!r}; {rather}"
