from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from appliance.control import ControlServer, NotRunning, ask
from appliance.events.hub import Hub
from appliance.layers.commands import CannotDo, LayerCommands
from appliance.status import Status

MAC = "52:54:00:12:34:56"


class Layers:
    """Notes what it was asked for, and does what a test says instead."""

    def __init__(self, instead: Exception | None = None) -> None:
        self.asked: list[tuple[object, ...]] = []
        self._instead = instead

    def _note(self, *what: object) -> str:
        self.asked.append(what)
        if self._instead is not None:
            raise self._instead
        return "done"

    async def reset(self, mac: str, root: str | None, force: bool) -> str:
        return self._note("reset", mac, root, force)

    async def keep(self, mac: str, root: str | None) -> str:
        return self._note("keep", mac, root)

    async def follow(self, mac: str, root: str | None) -> str:
        return self._note("follow", mac, root)

    async def forget(self, mac: str, root: str | None, force: bool) -> str:
        return self._note("forget", mac, root, force)

    async def forget_old(self, mac: str | None, root: str | None, force: bool) -> str:
        return self._note("forget-old", mac, root, force)


@pytest.fixture
def answers(tmp_path: Path) -> Callable[..., list[dict[str, Any]]]:
    """Ask a control server that listens on a real socket."""

    def answers(request: str, layers: LayerCommands | None = None) -> list[dict[str, Any]]:
        async def asked() -> list[dict[str, Any]]:
            control = ControlServer(Hub(), Status, layers)
            async with await control.serve(tmp_path / "control.sock"):
                return await asyncio.to_thread(
                    lambda: list(ask(tmp_path / "control.sock", request))
                )

        return asyncio.run(asked())

    return answers


def request(**fields: object) -> str:
    return json.dumps(fields)


@pytest.mark.parametrize(
    ("fields", "asked"),
    [
        (
            {"layer": "reset", "mac": MAC, "root": "my root", "force": True},
            ("reset", MAC, "my root", True),
        ),
        ({"layer": "reset", "mac": MAC}, ("reset", MAC, None, False)),
        ({"layer": "reset", "mac": "rw"}, ("reset", "rw", None, False)),
        ({"layer": "keep", "mac": MAC, "root": "fedora"}, ("keep", MAC, "fedora")),
        ({"layer": "follow", "mac": MAC, "root": "fedora"}, ("follow", MAC, "fedora")),
        ({"layer": "forget", "mac": MAC, "root": None}, ("forget", MAC, None, False)),
        ({"layer": "forget-old", "force": True}, ("forget-old", None, None, True)),
        ({"layer": "forget-old", "mac": MAC, "root": "lab"}, ("forget-old", MAC, "lab", False)),
    ],
)
def test_a_request_is_carried_out_and_answered_by_one_line(
    answers: Callable[..., list[dict[str, Any]]],
    fields: dict[str, object],
    asked: tuple[object, ...],
) -> None:
    layers = Layers()
    assert answers(request(**fields), layers) == [{"ok": True, "message": "done"}]
    assert layers.asked == [asked]


@pytest.mark.parametrize(
    ("line", "begins"),
    [
        ("{", "request: Invalid JSON"),
        (request(layer="burn", mac=MAC), "layer: Input should be 'reset'"),
        (request(layer="reset"), "mac: Field required"),
        (request(layer="reset", mac="../../x"), "mac: String should match pattern"),
        (request(layer="reset", mac="rwx"), "mac: String should match pattern"),
        (request(layer="reset", mac=MAC, root="a/b"), "root: String should match pattern"),
        (request(layer="reset", mac=MAC, root=""), "root: String should have at least"),
        (request(layer="reset", mac=MAC, force="yes"), "force: Input should be a valid boolean"),
        (request(layer="reset", mac=MAC, tree="/"), "tree: Extra inputs are not permitted"),
    ],
)
def test_what_is_no_request_is_refused_with_its_fault(
    answers: Callable[..., list[dict[str, Any]]], line: str, begins: str
) -> None:
    layers = Layers()
    (answer,) = answers(line, layers)
    assert (answer["ok"], answer["message"][: len(begins)]) == (False, begins)
    assert layers.asked == []


@pytest.mark.parametrize(
    ("instead", "said"),
    [
        (CannotDo("it is mounted; --force resets it"), "it is mounted; --force resets it"),
        (
            OSError(28, "No space left on device", "/srv/boot/machines/x"),
            "the layer could not be changed: /srv/boot/machines/x: No space left on device",
        ),
    ],
)
def test_what_cannot_be_done_is_answered_with_the_reason(
    answers: Callable[..., list[dict[str, Any]]], instead: Exception, said: str
) -> None:
    line = request(layer="reset", mac=MAC)
    assert answers(line, Layers(instead)) == [{"ok": False, "message": said}]


def test_without_layers_nothing_can_be_asked_of_them(
    answers: Callable[..., list[dict[str, Any]]],
) -> None:
    (answer,) = answers(request(layer="reset", mac=MAC))
    assert answer == {"ok": False, "message": "no roots are served over NFS: BOOTDROP_NFS=off"}


def test_a_request_that_is_too_long_is_not_read(
    answers: Callable[..., list[dict[str, Any]]],
) -> None:
    layers = Layers()
    assert answers(request(layer="reset", mac=MAC, root="x" * 5000), layers) == []
    assert layers.asked == []


def test_the_status_is_still_asked_for_by_a_word(
    answers: Callable[..., list[dict[str, Any]]],
) -> None:
    (status,) = answers("status")
    assert status["kind"] == "status"
    assert status["nfs"] == {"server": None, "reason": "", "way": "", "exports": 0}
    assert (status["clients"], status["machines"]) == ([], [])


def test_where_no_appliance_answers_it_is_told_where_the_reason_stands(tmp_path: Path) -> None:
    with pytest.raises(NotRunning, match=r"cannot; its log says why: `docker compose logs app"):
        next(ask(tmp_path / "control.sock", "status"))
