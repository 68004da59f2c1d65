"""Writes .env.example and docs/settings.md from the table of settings."""

from __future__ import annotations

from pathlib import Path

from appliance.settings import COMPOSE_VARIABLES, Settings, metadata, variable

ENV_EXAMPLE = Path(".env.example")
SETTINGS_PAGE = Path("docs/settings.md")


def env_example() -> str:
    """Return the text of .env.example: every variable with its default, commented out."""
    lines = [
        "# Copy to .env, set the interface, then: docker compose up -d",
        "# Generated from appliance/settings.py by `make settings-docs`.",
    ]
    for section, names in _sections().items():
        lines += ["", f"# --- {section} ---"]
        for name in names:
            info = Settings.model_fields[name]
            lines.append(f"# {info.description}")
            lines.append(f"# Allowed: {metadata(info)['allowed']}.")
            lines.append(f"#{variable(name)}={_default(name)}")
    lines += ["", "# --- Compose, on the host ---"]
    for name, sentence in COMPOSE_VARIABLES.items():
        lines += [f"# {sentence}", f"#{name}="]
    return "\n".join(lines).replace("\n#BOOTDROP_INTERFACE=", "\nBOOTDROP_INTERFACE=") + "\n"


def settings_page() -> str:
    """Return the text of docs/settings.md."""
    lines = [
        "# Settings",
        "",
        "Generated from `appliance/settings.py` by `make settings-docs`.",
        "",
        "A variable of the environment (`.env`) wins over `config/bootdrop.yaml`, which wins over",
        "the default. In the YAML file a setting has the same name without `BOOTDROP_`, in small",
        "letters: `http_port: 8069`. A wrong value ends the start with exit status 2 and a line",
        "that names the variable, the value and what is allowed. Settings are read at start:",
        "`docker compose up -d` after a change of `.env`, `docker compose restart` after one of",
        "the YAML file.",
    ]
    for section, names in _sections().items():
        lines += [
            "",
            f"## {section}",
            "",
            "| variable | default | allowed | |",
            "|---|---|---|---|",
        ]
        for name in names:
            info = Settings.model_fields[name]
            default = f"`{_default(name)}`" if _default(name) else "not set"
            lines.append(
                f"| `{variable(name)}` | {default} | {metadata(info)['allowed']} "
                f"| {info.description} |"
            )
    lines += ["", "## Compose, on the host", "", "| variable | |", "|---|---|"]
    lines += [f"| `{name}` | {sentence} |" for name, sentence in COMPOSE_VARIABLES.items()]
    return "\n".join(lines) + "\n"


def write(root: Path) -> None:
    """Write both files into the checkout at `root`."""
    (root / ENV_EXAMPLE).write_text(env_example(), encoding="utf-8")
    (root / SETTINGS_PAGE).write_text(settings_page(), encoding="utf-8")


def _sections() -> dict[str, list[str]]:
    sections: dict[str, list[str]] = {}
    for name, info in Settings.model_fields.items():
        sections.setdefault(metadata(info)["section"], []).append(name)
    return sections


def _default(name: str) -> str:
    value = Settings.model_fields[name].default
    if value is None or value == ():
        return ""
    return str(value).lower() if isinstance(value, bool) else str(value)
