"""The layout that the design promises: who may import whom, how long a file may be."""

from __future__ import annotations

import ast
import subprocess
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

CHECKOUT = Path(__file__).parents[1]
PACKAGE = CHECKOUT / "appliance"
LONGEST_FILE = 500

# From the rim to the core: a module may import those below its line, and those on its own.
LAYERS = (
    ("cli",),
    ("orchestrator",),
    ("kernels", "roots", "nfs_roots"),
    ("control", "health", "watch", "neighbours", "silence", "cards"),
    ("routers", "dhcp_servers"),
    ("reconcile", "status", "supervision"),
    ("daemons", "render", "provisions"),
    ("events", "situation"),
    ("menu", "root_store"),
    ("store", "network"),
    ("layers",),
    ("nfs",),
    ("volume",),
    ("catalog", "configurations", "copies", "settings_docs", "settings_load"),
    ("ports",),
    ("neopxe", "ethernet"),
    ("settings", "paths", "run", "files", "alarm", "bounded", "supervisord"),
    ("hosts", "ip_parameter", "settings_types"),
)
ORDER = {module: depth for depth, layer in enumerate(LAYERS) for module in layer}

# Libraries that know nothing of the appliance.
ALONE = ("neopxe",)


def sources() -> list[Path]:
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "*.py"],
        cwd=CHECKOUT,
        check=True,
        capture_output=True,
        text=True,
    )
    return [CHECKOUT / line for line in listed.stdout.splitlines() if (CHECKOUT / line).exists()]


def module_of(file: Path) -> str:
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def imports_of(file: Path) -> set[str]:
    """Return which of the appliance's modules a file imports."""
    found = set()
    for node in ast.walk(ast.parse(file.read_text())):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module == "appliance":
            names = [f"appliance.{alias.name}" for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module:
            names = [node.module]
        else:
            continue
        found |= {name.split(".")[1] for name in names if name.startswith("appliance.")}
    return found


APPLIANCE = sorted(
    file for file in PACKAGE.rglob("*.py") if file.parent != PACKAGE or file.stem != "__init__"
)


@pytest.mark.parametrize("file", APPLIANCE, ids=lambda file: str(file.relative_to(PACKAGE)))
def test_dependencies_point_one_way(file: Path) -> None:
    own = module_of(file)
    upwards = {name for name in imports_of(file) - {own} if ORDER[name] < ORDER[own]}
    assert upwards == set()


def test_each_room_has_its_place() -> None:
    assert ORDER.keys() == {module_of(file) for file in APPLIANCE}


def test_no_module_imports_itself_by_way_of_others() -> None:
    names = {
        ".".join(file.relative_to(CHECKOUT).with_suffix("").parts).removesuffix(".__init__"): file
        for file in APPLIANCE
    }
    graph: dict[str, set[str]] = {}
    for name, file in names.items():
        imports = [
            n for n in ast.walk(ast.parse(file.read_text())) if isinstance(n, ast.ImportFrom)
        ]
        assert not any(each.level for each in imports), (
            f"{file}: a relative import is not seen here"
        )
        said = {f"{each.module}.{alias.name}" for each in imports for alias in each.names}
        graph[name] = (said | {each.module or "" for each in imports}) & names.keys() - {name}
    tuple(TopologicalSorter(graph).static_order())  # CycleError names them


@pytest.mark.parametrize("library", ALONE)
def test_a_protocol_library_knows_nothing_of_the_appliance(library: str) -> None:
    files = (PACKAGE / library).rglob("*.py")
    assert {name for file in files for name in imports_of(file)} <= {library}


def test_only_run_starts_processes() -> None:
    starters = {
        str(file.relative_to(CHECKOUT))
        for file in APPLIANCE
        for node in ast.walk(ast.parse(file.read_text()))
        if isinstance(node, ast.Name | ast.Attribute)
        and (node.id if isinstance(node, ast.Name) else node.attr)
        in {"subprocess", "create_subprocess_exec", "create_subprocess_shell", "execvpe", "Popen"}
    }
    assert starters == {"appliance/run.py"}


def test_no_file_is_too_long_to_read() -> None:
    lengths = {str(file): len(file.read_text().splitlines()) for file in sources()}
    assert {name: count for name, count in lengths.items() if count > LONGEST_FILE} == {}


def test_every_folder_says_what_lives_there() -> None:
    silent = [
        str(file.relative_to(CHECKOUT))
        for file in PACKAGE.rglob("__init__.py")
        if not ast.get_docstring(ast.parse(file.read_text()))
    ]
    assert silent == []
