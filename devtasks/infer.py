"""What a project without configuration runs: from its Procfile, else its Python entry point and package.json."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from devtasks.inferring import node, procfile, python
from devtasks.inferring.tree import Found, Tree


@dataclass(frozen=True, slots=True, kw_only=True)
class Inference:
    """A table like `[tool.devtasks]`, and where it came from. `table` is empty when nothing was found."""

    table: dict[str, Any]
    source: str  # "inferred from Procfile.dev"
    reasons: tuple[tuple[str, str], ...]  # service and one line: "from package.json: dev script, pnpm-lock.yaml"
    notes: tuple[str, ...]  # what was there and was left out, and why


def infer(root: Path) -> Inference:
    """What `root` would run.

    A Procfile is the whole answer where there is one. Reads a bounded number of small files; never runs or
    imports any, and never raises for what it finds in them.
    """
    tree = Tree(root)
    found = procfile.find(tree)
    if found is None:
        backend = python.find(tree)
        found = node.find(tree, backend)
    return Inference(
        table={"services": {one.name: one.keys for one in found}} if found else {},
        source=_source(found),
        reasons=tuple((one.name, f"from {one.file}: {one.detail}") for one in found),
        notes=tuple(tree.notes),
    )


def _source(found: tuple[Found, ...]) -> str:
    files = tuple(dict.fromkeys(one.file for one in found))
    return f"inferred from {' and '.join(files)}" if files else "nothing inferred"
