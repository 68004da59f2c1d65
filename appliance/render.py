"""From a situation to the text of every generated file; pure but for reading the templates."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath
from typing import Any, TypeAlias

import jinja2

from appliance.daemons.base import ASKING_MAC, PROBE_MAC
from appliance.menu.entries import Entry, Firmware, Menu, Submenu
from appliance.menu.nfs_boot import CLIENT_ID, HOLDER, HOSTNAME
from appliance.nfs.choice import MOUNTD_PORT
from appliance.nfs.export import holder_of
from appliance.situation import Situation

# Path to text. `etc/…` is a daemon's, under the run folder; `tftp/…` is a machine's, published.
Tree: TypeAlias = dict[PurePosixPath, str]

_HELP = "tftp/help.txt"  # the front page of HTTP
_IPXE = ("tftp/autoexec.ipxe", "tftp/boot.ipxe")
# What pxelinux looks for: its configuration for a machine, ARP type 01 being Ethernet, or for all.
_OF_ALL = "default"
_OF_MACHINE = "01-{holder}"
_PXELINUX = "tftp/pxelinux.cfg/{of}"
# In an entry's folder, which is KEY for the template.
_OF_ENTRY = "tftp/entry/{key}/pxelinux.cfg/{of}"


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
        self._environment.globals |= {
            "Firmware": Firmware,
            "ipxe_holder": IPXE_HOLDER,
            "client_id": CLIENT_ID,
        }
        self._environment.filters |= {
            "screen": screen,
            "ipxe": ipxe,
            "menu_c32": menu_c32,
            "dhcpd": dhcpd,
        }

    def boot_files(self, situation: Situation) -> Tree:
        """Return the front page, and on a network the menus in every loader's language."""
        tree = self.files((_HELP,), situation)
        if situation.network:
            tree |= self._ipxe(situation) | self._pxelinux(situation) | self._entries(situation)
        return tree

    @staticmethod
    def boot_file_names(situation: Situation) -> tuple[PurePosixPath, ...]:
        """Return the paths of boot_files."""
        names = [_HELP]
        if situation.network:
            names += _IPXE
            names += [_PXELINUX.format(of=of) for of in _whose_menu(situation)]
            names += [
                _OF_ENTRY.format(key=item.entry.key, of=of)
                for item in situation.firmware_menu.kernels
                for of in _whose(situation, item.entry)
            ]
        return tuple(map(PurePosixPath, names))

    def files(self, names: Iterable[str], situation: Situation) -> Tree:
        """Render templates by the paths that they produce."""
        return {PurePosixPath(name): self._text(name, situation) for name in names}

    def _ipxe(self, situation: Situation) -> Tree:
        """Return iPXE's scripts; it knows itself by which card it booted, and its name."""
        return {
            path: text.replace(HOLDER, IPXE_HOLDER).replace(HOSTNAME, "${hostname}")
            for path, text in self.files(_IPXE, situation).items()
        }

    def _pxelinux(self, situation: Situation) -> Tree:
        """Return pxelinux's menu for all, and with each known machine's own entries for it."""
        template = _PXELINUX.format(of=_OF_ALL)
        menus = {
            True: self._text(template, situation, situation.menu.for_any_machine),
            False: self._text(template, situation),
        }
        return {
            PurePosixPath(_PXELINUX.format(of=of)): _of_machine(menus[of == _OF_ALL], holder)
            for of, holder in _whose_menu(situation).items()
        }

    def _entries(self, situation: Situation) -> Tree:
        """Return what pxelinux finds beside itself when the firmware's menu named a kernel."""
        template = _OF_ENTRY.format(key="KEY", of=_OF_ALL)
        return {
            PurePosixPath(_OF_ENTRY.format(key=item.entry.key, of=of)): _of_machine(
                self._render(template, entry=item.entry, machine=holder), holder
            )
            for item in situation.firmware_menu.kernels
            for of, holder in _whose(situation, item.entry).items()
        }

    def program(self, name: str, argv: Sequence[str], stops_in: int) -> Tree:
        """Return supervisord's section for a program; `%` starts an expansion there.

        `stops_in` is in seconds (daemons.base.Program).
        """
        command = shlex.join(argv).replace("%", "%%")
        program = {"name": name, "command": command, "stops_in": stops_in}
        text = self._render("etc/supervisor/conf.d/program.conf", program=program)
        return {PurePosixPath(f"etc/supervisor/conf.d/{name}.conf"): text}

    def supervisord(self, situation: Situation, python: str) -> Tree:
        """Return supervisord's own configuration; `python` runs the orchestrator."""
        name = "etc/supervisor/supervisord.conf"
        return {PurePosixPath(name): self._render(name, paths=situation.paths, python=python)}

    def _text(self, name: str, situation: Situation, menu: Menu | None = None) -> str:
        return self._render(
            name,
            settings=situation.settings,
            network=situation.network,
            menu=menu or situation.menu,
            paths=situation.paths,
            mountd_port=MOUNTD_PORT,
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


def _whose_menu(situation: Situation) -> dict[str, str]:
    """Return whose menus pxelinux is given: that of all, and where it boots, each machine's own."""
    own = situation.settings.bios_loader == "pxelinux" and any(
        entry.is_of_one_machine for entry in situation.menu.offer(Firmware.BIOS).entries
    )
    return {_OF_ALL: ""} | (_machines(situation) if own else {})


def _whose(situation: Situation, entry: Entry) -> dict[str, str]:
    """Return whose an entry's files are."""
    return {_OF_ALL: ""} | (_machines(situation) if entry.is_of_one_machine else {})


def _machines(situation: Situation) -> dict[str, str]:
    """Return the name of each known machine's file, with its part of paths."""
    holders = map(holder_of, situation.machines)
    return {_OF_MACHINE.format(holder=holder): holder for holder in holders}


def _of_machine(text: str, holder: str) -> str:
    return text.replace(HOLDER, holder).replace(HOSTNAME, "")


def serial_port(console: str) -> int | None:
    """Return the serial port that the kernels' console is on, so that menus show there too."""
    match = re.search(r"console=ttyS(\d)", console)
    return int(match[1]) if match else None


# Text in the language of each loader. What goes in is printable ASCII.

# Columns. Of 80, iPXE leaves 74 (src/hci/tui/menu_ui.c), the last 5 of which it counts down in.
_SCREEN = 68
# netX is the card that was opened last, which is the one that it boots by (core/settings.c).
IPXE_HOLDER = "${netX/mac:hexhyp}"
_DHCPD_HOLDER = ', "-", '.join(
    f'suffix(concat("0", binary-to-ascii(16, 8, "", substring(hardware, {byte}, 1))), 2)'
    for byte in range(1, 7)
)
_IPXE_SEPARATORS = frozenset({"||", "&&", ";"})


def screen(line: Entry | Submenu) -> str:
    """Return the title of a menu's line, as much of it as fits there."""
    return line.fitted(_SCREEN)


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


def dhcpd(text: str) -> str:
    """Write a text as an expression of dhcpd.conf that puts each machine's address into it.

    Its own words for numbers leave out zeros in front, of which a hardware address has some.
    """
    before, holder, after = text.partition(HOLDER)
    if not holder:
        return f'"{text}"'
    parts = [f'"{before}"', _DHCPD_HOLDER, *([f'"{after}"'] if after else [])]
    return f"concat({', '.join(parts)})"


def menu_c32(text: str) -> str:
    """Escape a text for a label of syslinux's menu.c32, where `^` marks a key and is not shown."""
    return text.replace("^", "?")
