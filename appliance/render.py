"""From a situation to the text of every generated file; pure but for reading the templates."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import jinja2

from appliance.daemons.base import ASKING_MAC, PROBE_MAC
from appliance.menu import Firmware
from appliance.situation import Situation

# Path to text. `etc/…` is a daemon's, under the run folder; `tftp/…` is a machine's, published.
Tree: TypeAlias = dict[PurePosixPath, str]

_HELP = "tftp/help.txt"  # the front page of HTTP
_MENUS = ("tftp/autoexec.ipxe", "tftp/boot.ipxe", "tftp/pxelinux.cfg/default")
# In an entry's folder, which is KEY for the template.
_OF_ENTRY = "tftp/entry/{key}/pxelinux.cfg/default"


class Renderer:
    """Renders the templates of one folder; a template lies at the path that it produces."""

    def __init__(self, templates: Path) -> None:
        self._environment = jinja2.Environment(
            loader=jinja2.FileSystemLoader(templates),
            undefined=jinja2.StrictUndefined,
            keep_trailing_newline=True,
            # Text for daemons and firmware, not HTML: what goes in is checked at the border.
            autoescape=False,
        )
        self._environment.globals["Firmware"] = Firmware
        self._environment.filters |= {"screen": screen, "ipxe": ipxe, "menu_c32": menu_c32}

    def boot_files(self, situation: Situation) -> Tree:
        """Return the front page, and on a network the menus in every loader's language."""
        if not situation.network:
            return self.files((_HELP,), situation)
        return self.files((_HELP, *_MENUS), situation) | self._entries(situation)

    @staticmethod
    def boot_file_names(situation: Situation) -> tuple[PurePosixPath, ...]:
        """Return the paths of boot_files."""
        if not situation.network:
            return (PurePosixPath(_HELP),)
        entries = (_OF_ENTRY.format(key=each.entry.key) for each in situation.firmware_menu.kernels)
        return tuple(map(PurePosixPath, (_HELP, *_MENUS, *entries)))

    def files(self, names: Iterable[str], situation: Situation) -> Tree:
        """Render templates by the paths that they produce."""
        return {PurePosixPath(name): self._text(name, situation) for name in names}

    def _entries(self, situation: Situation) -> Tree:
        """Return what pxelinux finds beside itself when the firmware's menu named a kernel."""
        template = _OF_ENTRY.format(key="KEY")
        return {
            PurePosixPath(_OF_ENTRY.format(key=item.entry.key)): self._render(
                template, entry=item.entry
            )
            for item in situation.firmware_menu.kernels
        }

    def program(self, name: str, argv: Sequence[str]) -> Tree:
        """Return supervisord's section for a program; `%` starts an expansion there."""
        program = {"name": name, "command": shlex.join(argv).replace("%", "%%")}
        text = self._render("etc/supervisor/conf.d/program.conf", program=program)
        return {PurePosixPath(f"etc/supervisor/conf.d/{name}.conf"): text}

    def supervisord(self, situation: Situation, python: str) -> Tree:
        """Return supervisord's own configuration; `python` runs the orchestrator."""
        name = "etc/supervisor/supervisord.conf"
        return {PurePosixPath(name): self._render(name, paths=situation.paths, python=python)}

    def _text(self, name: str, situation: Situation) -> str:
        return self._render(
            name,
            settings=situation.settings,
            network=situation.network,
            menu=situation.menu,
            paths=situation.paths,
            loaders=situation.loaders,
            firmware_menu=situation.firmware_menu,
            nfs=situation.nfs,
            base_url=situation.base_url,
            serial=serial_port(situation.settings.console),
            probe_mac=PROBE_MAC,
            asking_mac=ASKING_MAC,
        )

    def _render(self, name: str, **values: Any) -> str:  # noqa: ANN401
        return self._environment.get_template(f"{name}.j2").render(**values)


def serial_port(console: str) -> int | None:
    """Return the serial port that the kernels' console is on, so that menus show there too."""
    match = re.search(r"console=ttyS(\d)", console)
    return int(match[1]) if match else None


# Text in the language of each loader. What goes in is printable ASCII.

# Columns. Of 80, iPXE leaves 74 (src/hci/tui/menu_ui.c), the last 5 of which it counts down in.
_SCREEN = 68
_IPXE_SEPARATORS = frozenset({"||", "&&", ";"})


def screen(text: str) -> str:
    """Shorten a text in its middle to what fits on a line of a menu."""
    if len(text) <= _SCREEN:
        return text
    half = (_SCREEN - 3) // 2
    return f"{text[: _SCREEN - 3 - half]}...{text[-half:]}"


def ipxe(text: str) -> str:
    """Escape a text for the end of a line in an iPXE script (src/core/exec.c, settings.c).

    `${` would be expanded; as nothing quotes it, it is shown as `$(`. Words that end a command or
    begin a comment are none behind a setting that does not exist, which expands to nothing.
    """
    words = text.replace("${", "$(").split(" ")
    return " ".join(
        f"${{nothing}}{word}" if word in _IPXE_SEPARATORS or word.startswith("#") else word
        for word in words
    )


def menu_c32(text: str) -> str:
    """Escape a text for a label of syslinux's menu.c32, where `^` marks a key and is not shown."""
    return text.replace("^", "?")
