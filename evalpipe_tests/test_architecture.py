"""The house: who may import whom, and in which room each outside library lives."""

import ast
import subprocess
import sys
from collections.abc import Iterator
from graphlib import TopologicalSorter
from pathlib import Path

import pytest

import evalpipe

ROOT = Path(evalpipe.__file__).parent

ROOMS = (
    "errors",
    "extras",
    "ids",
    "settings",
    "tables",
    "files",
    "garbage",
    "outgoing",
    "pages",
    "redaction",
    "ranges",
    "lake",
    "quality",
    "otlp",
    "traces",
    "signals",
    "review",
    "issues",
    "evaluators",
    "generation",
    "gate",
    "pruning",
    "backtest",
    "report",
    "demo",
    "home",
    "plan",
    "alerts",
    "upkeep",
    "supervise",
    "dagster_home",
    "web",
    "defs",
    "definitions",
    "materialise",
    "gate_worker",
    "walkthrough",
    "cli",
    "__main__",
    "pytest_gate",
    "pytest_plugin",
)
"""Each room imports only from rooms before it."""

STRANGERS = (("signals", "review", "issues"), ("generation", "gate", "pruning", "report"), ("backtest", "report"))
"""Rooms of one group never import one another; they meet at the tables."""

LIBRARIES = {
    "deltalake": {"lake"},
    "phonenumbers": {"redaction"},
    # The demo's application is instrumented with the SDK, as a user's is; the gate sends events with its exporter.
    "opentelemetry": {"otlp", "demo", "gate"},
    "google": {"otlp", "demo"},
    "sklearn": {"signals", "issues", "evaluators"},
    "dspy": {"evaluators", "generation"},
    "litellm": {"evaluators", "generation"},
    "gepa": {"generation"},
    "isal": {"otlp"},
    "arro3": {"otlp"},
    "starlette": {"web"},
    "uvicorn": {"web"},
    "limits": {"web"},
    "grpc": {"web"},
    "dagster": {"defs", "definitions", "materialise", "walkthrough", "dagster_home", "gate_worker"},
    "typer": {"cli"},
    "rich": {"cli", "gate"},
    "altair": {"report"},
    "pytest": {"pytest_gate", "pytest_plugin"},
    "jinja2": {"pages", "gate", "report", "web"},
}

FILES = sorted(ROOT.rglob("*.py"))


def imported_modules(file: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: imports are absolute, so that an arrow can be read"
            yield node.module or ""


def room_of(file: Path) -> str:
    return file.relative_to(ROOT).parts[0].removesuffix(".py")


def own_imports(file: Path) -> set[str]:
    return {name for name in imported_modules(file) if name.startswith("evalpipe.")}


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_a_file_imports_only_from_rooms_above_it(file: Path):
    room = room_of(file)
    if room == "__init__":  # the public Python reaches down lazily
        return
    for name in own_imports(file):
        other = name.split(".")[1]
        assert ROOMS.index(other) <= ROOMS.index(room), f"{room} imports {name}, which stands below it"


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_siblings_meet_at_the_tables(file: Path):
    room = room_of(file)
    for group in STRANGERS:
        if room in group:
            strangers = {name for name in own_imports(file) if name.split(".")[1] in set(group) - {room}}
            assert not strangers


@pytest.mark.parametrize("file", FILES, ids=lambda file: str(file.relative_to(ROOT)))
def test_an_outside_library_lives_in_its_room(file: Path):
    for name in imported_modules(file):
        allowed = LIBRARIES.get(name.split(".")[0])
        assert allowed is None or room_of(file) in allowed, f"{name} does not live in {room_of(file)}"


def test_no_files_import_one_another_in_a_circle():
    modules = {".".join(("evalpipe", *file.relative_to(ROOT).with_suffix("").parts)): file for file in FILES}
    graph = {name: own_imports(file) & set(modules) for name, file in modules.items()}
    assert list(TopologicalSorter(graph).static_order())  # raises CycleError, naming the circle


@pytest.mark.parametrize(
    ("statement", "heavy"),
    [
        ("import evalpipe", "polars dagster dspy sklearn gepa litellm altair scipy"),
        ("import evalpipe.gate.on_lake", "dagster dspy sklearn gepa litellm altair"),
        ("import evalpipe.cli", "polars dagster dspy sklearn gepa litellm altair scipy deltalake"),
    ],
)
def test_what_must_start_fast_loads_nothing_heavy(statement: str, heavy: str):
    program = f"import sys; {statement}; print(*sorted(set('{heavy}'.split()) & set(sys.modules)))"
    loaded = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert loaded.strip() == ""


def test_both_ways_to_load_dagster_name_the_same_module_and_location():
    """With [tool.dg.project] in pyproject, Dagster silently ignores workspace.yaml, so the two must agree."""
    import tomllib

    import yaml

    top = ROOT.parent
    project = tomllib.loads((top / "pyproject.toml").read_text())["tool"]["dg"]["project"]
    location = yaml.safe_load((top / "workspace.yaml").read_text())["load_from"][0]["python_module"]
    assert (location["module_name"], location["location_name"]) == (
        project["code_location_target_module"],
        project["code_location_name"],
    )


def test_no_tracked_text_names_an_index_or_a_host():
    pins = (ROOT.parent / "constraints.txt").read_text().split()
    assert all("==" in pin and "/" not in pin and "@" not in pin for pin in pins)
