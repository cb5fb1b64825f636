"""Words that a text must contain for a regex to match it, so that most texts need not be tried."""

from __future__ import annotations

import re
from importlib import import_module
from typing import Any


def literals(pattern: str) -> frozenset[str] | None:
    """Words of which at least one is in every text that `pattern` matches, in lower case; None: cannot be told.

    Made of ASCII letters, digits, `_` and `.` only, so that each is a part of one word of a command line. The
    parser of the standard library is private to it: where it is not what it was, nothing can be told.
    """
    try:
        parser = import_module("re._parser")
        tree = parser.parse(pattern)
        if tree.state.flags & re.IGNORECASE:
            return None
        found = _of_sequence(tree)
    except Exception:  # noqa: BLE001 - a private parser may fail in any way
        return None
    return found


def _of_sequence(tree: Any) -> frozenset[str] | None:
    """The best of all that a sequence of tokens demands: the one whose shortest word is longest."""
    demands: list[frozenset[str]] = []
    run = ""
    for operation, value in tree:
        name = str(operation)
        if name == "LITERAL" and _plain(value):
            run += chr(value)
            continue
        if run:
            demands.append(frozenset([run.lower()]))
            run = ""
        inner = _of_token(name, value)
        if inner:
            demands.append(inner)
    if run:
        demands.append(frozenset([run.lower()]))
    return max(demands, key=lambda words: min(map(len, words)), default=None)


def _of_token(name: str, value: Any) -> frozenset[str] | None:
    if name == "SUBPATTERN":
        _, added, _, inner = value
        return None if added & re.IGNORECASE else _of_sequence(inner)
    if name == "ATOMIC_GROUP":
        return _of_sequence(value)
    if name in ("MAX_REPEAT", "MIN_REPEAT", "POSSESSIVE_REPEAT"):
        least, _, inner = value
        return _of_sequence(inner) if least else None
    if name == "BRANCH":
        found = [_of_sequence(branch) for branch in value[1]]
        return frozenset().union(*(words for words in found if words)) if all(found) else None
    return None


def _plain(code: int) -> bool:
    return code < 128 and (chr(code).isalnum() or chr(code) in "_.")
