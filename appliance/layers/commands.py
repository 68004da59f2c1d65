"""What can be asked for with machines' writable layers: a line of JSON, and who does it."""

from __future__ import annotations

from typing import Annotated, Literal, Protocol

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, ValidationError

# A hardware address as `mac_of` writes it, or what all share (export.EVERYBODY).
_Who = Annotated[str, StringConstraints(pattern=r"^([0-9a-f]{2}(:[0-9a-f]{2}){5}|rw|ro)$")]
_Root = Annotated[str, StringConstraints(min_length=1, max_length=255, pattern=r"^[^/\x00-\x1f]+$")]

LONGEST_REQUEST = 1024  # bytes


class CannotDo(Exception):
    """A layer cannot be changed as it was asked; one line says why and what to do."""


class LayerCommands(Protocol):
    """Changes machines' layers.

    `mac` is a machine, or `rw` or `ro` for what all share, which can be neither kept nor followed.
    `root` is the name of a root; None where the machine has layers of one root only. Each returns
    one line that says what was done, and raises CannotDo.
    """

    async def reset(self, mac: str, root: str | None, force: bool) -> str:
        """Give a machine a fresh layer; one that is mounted only with `force`."""
        ...

    async def keep(self, mac: str, root: str | None) -> str:
        """Leave a machine on the version that it has."""
        ...

    async def follow(self, mac: str, root: str | None) -> str:
        """Give a machine the newest version at its next boot, as is the rule."""
        ...

    async def forget(self, mac: str, root: str | None, force: bool) -> str:
        """Delete a machine's layers of a root, or of all; mounted ones only with `force`."""
        ...

    async def forget_old(self, mac: str | None, root: str | None, force: bool) -> str:
        """Delete layers of versions that nobody will boot again: one machine's, or everybody's."""
        ...


class LayerRequest(BaseModel):
    """One request on the control socket."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True)

    layer: Literal["reset", "keep", "follow", "forget", "forget-old"]
    mac: _Who | None = None  # only what is old may be forgotten of all
    root: _Root | None = None
    force: bool = False


class LayerAnswer(BaseModel):
    """What became of it; `message` is one line."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    ok: bool
    message: str = Field(max_length=10_000)


async def carry_out(line: bytes, commands: LayerCommands | None) -> LayerAnswer:
    """Do what a line of JSON asks for; None as commands: there are no layers."""
    try:
        request = LayerRequest.model_validate_json(line)
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False, include_context=False)[0]
        where = ".".join(map(str, first["loc"])) or "request"
        return LayerAnswer(ok=False, message=f"{where}: {first['msg']}")
    if commands is None:
        return LayerAnswer(ok=False, message="no roots are served over NFS: BOOTDROP_NFS=off")
    try:
        return LayerAnswer(ok=True, message=await _do(request, commands))
    except CannotDo as reason:
        return LayerAnswer(ok=False, message=str(reason))
    except OSError as error:
        what = f"{error.filename}: {error.strerror}" if error.filename else str(error)
        return LayerAnswer(ok=False, message=f"the layer could not be changed: {what}")


async def _do(request: LayerRequest, commands: LayerCommands) -> str:
    mac, root = request.mac, request.root
    if request.layer == "forget-old":
        return await commands.forget_old(mac, root, request.force)
    if mac is None:
        raise CannotDo("mac: Field required")
    match request.layer:
        case "reset":
            return await commands.reset(mac, root, request.force)
        case "keep":
            return await commands.keep(mac, root)
        case "follow":
            return await commands.follow(mac, root)
        case "forget":
            return await commands.forget(mac, root, request.force)
