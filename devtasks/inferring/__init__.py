"""What a project without configuration runs: from its Procfile, an exported compose.yaml, or its sources."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

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

    A Procfile is the whole answer where there is one, and so is a compose.yaml that `export` wrote. Reads a
    bounded number of small files; never runs or imports any, and never raises for what it finds in them.
    """
    from devtasks.inferring import compose, node, procfile, python  # an export needs the tree and none of these

    tree = Tree(root)
    found = procfile.find(tree)
    if found is None:
        found = compose.find(tree)
    if found is None:
        backend = python.find(tree)
        found = node.find(tree, backend)
    _part_ports(tree, found)
    return Inference(
        table={"services": {one.name: one.keys for one in found}} if found else {},
        source=_source(found),
        reasons=tuple((one.name, f"from {one.file}: {one.detail}") for one in found),
        notes=tuple(tree.notes),
    )


def _part_ports(tree: Tree, found: tuple[Found, ...]) -> None:
    """Let no two services have one port: whoever can be told another gets the next, whoever cannot has none."""
    taken: dict[int, str] = {}
    for one in sorted(found, key=_can_be_told):
        port = one.keys.get("port")
        if port in taken and not _can_be_told(one):
            tree.note(f"{one.file}: the port of {one.name} is left out, for {taken[port]} has {port} too")
            del one.keys["port"]
        elif port is not None:
            one.keys["port"] = next((free for free in range(port, 65536) if free not in taken), port)
            taken[one.keys["port"]] = one.name


def _can_be_told(one: Found) -> bool:
    return "{port}" in f"{one.keys['command']} {one.keys.get('env')}"


def _source(found: tuple[Found, ...]) -> str:
    files = tuple(dict.fromkeys(one.file for one in found))
    return f"inferred from {' and '.join(files)}" if files else "nothing inferred"
