"""Reads a YAML file that a user wrote: every value with its line, and none that can explode."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import yaml

LARGEST = 256 * 1024  # bytes; a recipe with a few keys and files in it has some thousand
_DEEPEST = 20  # levels; a recipe has four

_NO_TEXT = re.compile(r"[\0\ud800-\udfff]")

Value = str | list["Value"] | dict[str, "Value"]


class DocumentError(Exception):
    """A file that is no YAML, or none that is taken: file, line, what, in one line."""


@dataclass(frozen=True)
class Document:
    """A mapping, and where each of its values stands; `name` is what messages call the file."""

    name: str
    values: dict[str, Value]
    lines: dict[tuple[str | int, ...], int]

    def line(self, place: Sequence[str | int]) -> int:
        """Return the line of a value, or of the nearest one around it."""
        path = tuple(place)
        while path and path not in self.lines:
            path = path[:-1]
        return self.lines.get(path, 1)


def read(file: Path) -> Document:
    """Read a file whose top is a mapping; all scalars are strings, as typed.

    Anchors and aliases are refused: nine lines of them can stand for a thousand million values.
    Raises DocumentError, and OSError for a file that cannot be read.
    """
    with file.open("rb") as stream:
        content = stream.read(LARGEST + 1)
    if len(content) > LARGEST:
        raise DocumentError(f"{file.name}: longer than {LARGEST // 1024} KiB; no recipe is")
    try:
        _refuse_what_explodes(file.name, content)
        # BaseLoader: `release: 8.10` stays 8.10, and `no` is a word.
        root = yaml.compose(content, Loader=yaml.BaseLoader)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        line = mark.line + 1 if mark else 1
        raise DocumentError(f"{file.name}:{line}: no YAML: {error.problem}") from None
    except yaml.YAMLError as error:  # a byte that is no text
        raise DocumentError(f"{file.name}: no YAML: {str(error).splitlines()[0]}") from None
    except (ValueError, OverflowError):  # PyYAML gives any number to chr()
        raise DocumentError(f"{file.name}: no YAML: a \\U that names no character") from None
    lines: dict[tuple[str | int, ...], int] = {}
    if root is None:
        raise DocumentError(f"{file.name}: empty; it needs at least `from:`")
    values = _value(file.name, root, (), lines)
    if not isinstance(values, dict):
        raise DocumentError(f"{file.name}:1: a recipe is `key: value` lines, this is none")
    return Document(file.name, values, lines)


def _refuse_what_explodes(name: str, content: bytes) -> None:
    depth = 0
    for event in yaml.parse(content, Loader=yaml.BaseLoader):
        line = event.start_mark.line + 1 if event.start_mark else 1
        if isinstance(event, yaml.AliasEvent) or getattr(event, "anchor", None):
            raise DocumentError(f"{name}:{line}: anchors and aliases (& and *) are not taken")
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > _DEEPEST:
            raise DocumentError(f"{name}:{line}: nested deeper than {_DEEPEST} levels")


def _value(
    name: str,
    node: yaml.Node,
    path: tuple[str | int, ...],
    lines: dict[tuple[str | int, ...], int],
) -> Value:
    line = node.start_mark.line + 1
    lines.setdefault(path, line)
    if isinstance(node, yaml.MappingNode):
        values: dict[str, Value] = {}
        for key_node, value_node in node.value:
            key, key_line = key_node.value, key_node.start_mark.line + 1
            if not isinstance(key, str):
                raise DocumentError(f"{name}:{key_line}: a key is a word")
            key = _text(name, key, key_line)
            if key in values:
                raise DocumentError(f"{name}:{key_line}: {key} is there twice")
            lines[*path, key] = key_line
            values[key] = _value(name, value_node, (*path, key), lines)
        return values
    if isinstance(node, yaml.SequenceNode):
        return [_value(name, one, (*path, i), lines) for i, one in enumerate(node.value)]
    return _text(name, node.value, line)


def _text(name: str, value: object, line: int) -> str:
    """Return a scalar; escapes can name what neither a file nor a command line takes."""
    text = str(value)
    if _NO_TEXT.search(text):
        raise DocumentError(f"{name}:{line}: \\0 and \\uD800 to \\uDFFF are not taken")
    return text
