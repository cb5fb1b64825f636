"""docs/architecture.md names every room, and imports go the way that it says."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from toolbox import REPOSITORY

PACKAGE = REPOSITORY / "devtasks"
DOCUMENT = (REPOSITORY / "docs" / "architecture.md").read_text(encoding="utf-8")
APART = {"", "__main__", "runner"}  # the face and the program may call everything, the runner nothing

# What reaches up when it is called; nothing does when it is imported itself.
REACHING_UP = {
    ("inferring.compose", "export.images"),  # reads back the questions that an export wrote
    ("verbs", "monitoring.claim"),  # who watches, for stop and force-clean
}


def section(title: str) -> str:
    return DOCUMENT.partition(f"\n## {title}\n")[2].partition("\n## ")[0]


def floors() -> dict[str, int]:
    """The rooms in the document's drawing, each with its floor; the lowest is 0."""
    drawing = [
        line.strip() for line in section("The direction of imports").splitlines() if line.startswith("    ")
    ]
    lines = [line for line in drawing if line != "↑"]
    return {name: number for number, line in enumerate(lines) for name in line.split(", ")}


def modules() -> dict[str, Path]:
    """Every module by its name within the package; the package itself is ""."""
    found = {}
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE).with_suffix("").parts
        found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = path
    return found


FLOOR = floors()
MODULES = modules()


def imports(path: Path) -> Iterator[tuple[str, bool]]:
    """The modules of ours that a file imports, and whether a call does it; imports for types do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    types = [one for one in ast.walk(tree) if isinstance(one, ast.If) and ast.unparse(one.test) == "TYPE_CHECKING"]
    calls = [one for one in ast.walk(tree) if isinstance(one, ast.FunctionDef | ast.AsyncFunctionDef)]
    for_types, called = ({id(inner) for one in outer for inner in ast.walk(one)} for outer in (types, calls))
    for node in ast.walk(tree):
        names: list[str] = []
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.module is not None:
            names = [f"{node.module}.{alias.name}" for alias in node.names]
        for name in names:
            package, _, inner = name.partition(".")
            if package == "devtasks" and id(node) not in for_types:
                yield (inner if inner in MODULES else inner.rpartition(".")[0]), id(node) in called


def room(module: str) -> str:
    """What a module is drawn as: itself, or the nearest package around it."""
    parts = module.split(".")
    names = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((name for name in names if name in FLOOR), parts[0])


def test_every_room_is_in_the_table_and_in_the_drawing():
    table = set(re.findall(r"`([a-z_]+)(?:\.py|/)?`", section("The rooms")))
    rooms = {module.split(".")[0] for module in MODULES} - {"", "__main__"}
    assert rooms - table == set()
    assert rooms - APART - {room.split(".")[0] for room in FLOOR} == set()
    assert {name.split(".")[0] for name in FLOOR} - rooms == set(), "drawn, and not there"


def test_nothing_imports_upward():
    up = {
        (module, imported): called
        for module, path in MODULES.items()
        for imported, called in imports(path)
        if not {room(module), room(imported)} & APART and FLOOR[room(imported)] > FLOOR[room(module)]
    }
    assert [one for one, called in up.items() if not called] == []
    assert up.keys() == REACHING_UP


@pytest.mark.parametrize("module", ["runner", "store.logs.rotation"])
def test_a_run_needs_nothing_of_ours(module: str):
    assert list(imports(MODULES[module])) == []
