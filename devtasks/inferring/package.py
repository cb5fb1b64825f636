"""package.json: its scripts, the package manager that runs them, and the port of vite."""

from __future__ import annotations

import re
from typing import Any

from devtasks.inferring.tree import Tree, joined, port_number

_LOCK_FILES = {
    "pnpm-lock.yaml": "pnpm",
    "yarn.lock": "yarn",
    "bun.lock": "bun",
    "bun.lockb": "bun",
    "package-lock.json": "npm",
    "npm-shrinkwrap.json": "npm",
}
_VITE_CONFIGS = tuple(f"vite.config.{suffix}" for suffix in ("ts", "js", "mts", "mjs", "cts", "cjs"))
_VITE_PORT = 5173


def _content(tree: Tree, folder: str) -> dict[str, Any]:
    path = joined(folder, "package.json")
    text = tree.text(path)
    if text is None:
        return {}
    import json

    try:
        content = json.loads(text)
    except (ValueError, RecursionError):
        tree.note(f"{path}: is not valid JSON; not read")
        return {}
    return content if isinstance(content, dict) else {}


def scripts(tree: Tree, folder: str) -> dict[str, str]:
    """The scripts of the package in `folder` that are text."""
    declared = _content(tree, folder).get("scripts")
    if not isinstance(declared, dict):
        return {}
    return {name: script for name, script in declared.items() if isinstance(script, str) and script.strip()}


def manager(tree: Tree, folder: str) -> tuple[str, str]:
    """The package manager of the package in `folder`, and what told it.

    The nearest folder, upward to the root, with a lock file or a `packageManager` field decides: the lock
    files of a workspace are in its root. Of several lock files there, `packageManager` picks one.
    """
    while True:
        named = _content(tree, folder).get("packageManager")
        declared = named.partition("@")[0] if isinstance(named, str) else None
        if declared not in _LOCK_FILES.values():
            declared = None
        locks = [lock for lock in _LOCK_FILES if tree.has_file(joined(folder, lock))]
        agreeing = [lock for lock in locks if _LOCK_FILES[lock] == declared]
        for lock in (*agreeing, *locks):
            return _LOCK_FILES[lock], joined(folder, lock)
        if declared:
            return declared, f"packageManager in {joined(folder, 'package.json')}"
        if not folder:
            return "npm", "no lock file, so npm"
        folder = folder.rpartition("/")[0]


def vite_port(tree: Tree, folder: str) -> int | None:
    """The port of `vite` in `folder`: `server.port` where it is a literal, 5173 where nothing says otherwise."""
    for name in _VITE_CONFIGS:
        path = joined(folder, name)
        if not tree.has_file(path):
            continue
        text = tree.text(path)
        if text is None:
            return None
        code = re.sub(r"/\*.*?\*/|(?<![:\"'`])//[^\n]*", "", text, flags=re.DOTALL)
        if not re.search(r"\bserver\b", code):
            return _VITE_PORT
        block = re.search(r"\bserver\s*:\s*\{", code)
        if block is None:
            return None  # made elsewhere
        own = _outermost(code, block.end())
        literal = re.search(r"\bport\s*:\s*(\d+)\s*(?:,|$)", own)
        if literal:
            return port_number(literal[1])
        return None if re.search(r"\bport\b|\.\.\.", own) else _VITE_PORT
    return _VITE_PORT


def _outermost(code: str, start: int) -> str:
    """What stands directly in the braces opened before `start`, without what is nested in them."""
    depth, kept = 1, []
    for character in code[start:]:
        depth += (character in "{[(") - (character in "}])")
        if depth == 0:
            break
        if depth == 1:
            kept.append(character)
    return "".join(kept).strip()
