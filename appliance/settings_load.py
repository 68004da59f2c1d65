"""Reads the settings from the environment and the YAML file, and says of each wrong one what is."""

from __future__ import annotations

import difflib
import os
from collections.abc import Callable
from pathlib import Path

import yaml
from pydantic import ValidationError
from pydantic_core import ErrorDetails
from pydantic_settings import SettingsConfigDict, SettingsError

from appliance.settings import COMPOSE_VARIABLES, PREFIX, Settings, allowed, variable


class InvalidSettings(Exception):
    """Wrong settings; `problems` has one line for each, ready to be shown."""

    def __init__(self, problems: tuple[str, ...]) -> None:
        super().__init__("\n".join(problems))
        self.problems = problems


def load(yaml_file: Path | None = None, *, must_exist: bool = False) -> Settings:
    """Read the settings; InvalidSettings names each wrong one, where it stands and what may be."""

    if yaml_file is not None and must_exist and not yaml_file.is_file():
        raise InvalidSettings((f"{yaml_file}: there is no such file",))

    class FromFile(Settings):
        model_config = SettingsConfigDict(yaml_file=yaml_file)

    def said(field: str, value: object) -> str:
        if variable(field) in os.environ:
            return f"{variable(field)}={value}"
        return f"{yaml_file}: {field}: {value}"

    problems = _misspelt_variables()
    try:
        settings = FromFile()
    except ValidationError as error:
        # The first of a field's errors is enough: each comes with all that is allowed.
        by_field = {str(each["loc"][0]): each for each in reversed(error.errors())}
        for field, each in reversed(by_field.items()):
            if each["type"] == "extra_forbidden":
                reason = f"no such setting{_nearest(field)}"
            else:
                reason = f"not allowed here{_why(each)}; allowed: {allowed(field)}"
            problems.append(f"{said(field, each['input'])}: {reason}")
        raise InvalidSettings(tuple(problems)) from None
    except yaml.YAMLError as error:
        mark, problem = getattr(error, "problem_mark", None), getattr(error, "problem", error)
        where = f"{yaml_file}:{mark.line + 1}:{mark.column + 1}" if mark else f"{yaml_file}"
        raise InvalidSettings((*problems, f"{where}: not YAML: {problem}")) from None
    except (OSError, ValueError, SettingsError) as error:
        reason = f"{yaml_file}: must hold `name: value` lines, such as `http_port: 80`: {error}"
        raise InvalidSettings((*problems, reason)) from None
    if settings.max_lease_time < settings.lease_time:
        field = "max_lease_time" if "max_lease_time" in settings.model_fields_set else "lease_time"
        problems.append(
            f"{said(field, getattr(settings, field))}: not allowed here; the longest lease "
            f"({settings.max_lease_time} s) must not be under lease_time ({settings.lease_time} s)"
        )
    if problems:
        raise InvalidSettings(tuple(problems))
    return settings


def _why(error: ErrorDetails) -> str:
    """Return what one of our own checks found wrong; pydantic's tell no more than is allowed."""
    reason = error.get("ctx", {}).get("error") if error["type"] == "value_error" else None
    return f": {reason}" if reason else ""


def _misspelt_variables() -> list[str]:
    known = {variable(field) for field in Settings.model_fields} | set(COMPOSE_VARIABLES)
    return [
        f"{name}={value}: no such setting{_nearest(name.removeprefix(PREFIX).lower(), variable)}"
        for name, value in os.environ.items()
        if name.startswith(PREFIX) and name not in known
    ]


def _nearest(name: str, spell: Callable[[str], str] = str) -> str:
    near = difflib.get_close_matches(name, Settings.model_fields, n=1)
    return f"; did you mean {spell(near[0])}?" if near else "; docs/settings.md lists them"
