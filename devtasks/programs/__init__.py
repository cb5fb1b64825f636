"""What an argument vector runs, as the texts that a pattern is matched against."""

from __future__ import annotations

from collections.abc import Sequence

from devtasks.programs.interpreters import INTERPRETERS
from devtasks.programs.names import TASK_RUNNERS, base_name
from devtasks.programs.unwrapping import layers

LONGEST_TEXT = 4096  # characters: what a user's regex may have to walk through

__all__ = ["bystander", "program", "readings", "script", "spawns_its_own", "task_runner", "users_own", "worker"]


def program(argv: Sequence[str]) -> str:
    """The name of what really runs: lower case, without folder, `.exe` and version; "" for an empty vector.

    Of a script or module that an interpreter runs it is that one's: `uvicorn`, `main.py`, `http.server`.
    """
    found = layers(argv)
    return found[-1].program if found else ""


def script(argv: Sequence[str]) -> str | None:
    """The path, as written, of the script or program that really runs; None for modules and bare interpreters."""
    found = layers(argv)
    if not found or found[-1].by == "module" or found[-1].program in INTERPRETERS:
        return None
    return found[-1].path


def worker(argv: Sequence[str]) -> bool:
    """Whether this is a helper that Python's multiprocessing started: its command line tells nothing."""
    return any(word == "--multiprocessing-fork" or word.startswith("from multiprocessing.") for word in argv[1:8])


def task_runner(argv: Sequence[str]) -> bool:
    """Whether this is make, Invoke, devtasks or the like: they start services and never are one."""
    return any(layer.program in TASK_RUNNERS for layer in layers(argv))


def readings(argv: Sequence[str]) -> tuple[str, ...]:
    """The texts for `re.match`, each at most 4096 characters and each beginning at a program.

    For every layer, outermost first: its base name with all its arguments. Of an interpreter also what it
    runs with the interpreter's own options left out, under its written and its plain name (`Python main.py`,
    `python main.py`), and of a script also its path as written. Empty for multiprocessing's helpers, which are
    never known by their command line. Words are joined by one blank.
    """
    if worker(argv):
        return ()
    found = layers(argv)
    texts: dict[str, None] = {}
    for index, layer in enumerate(found):
        rest = layer.args
        for name in (base_name(layer.path), layer.program, layer.path if layer.by == "script" else ""):
            if name:
                texts[_text((name, *rest))] = None
        inner = found[index + 1] if index + 1 < len(found) else None
        if inner is not None and inner.by != "program":
            dash = ("-m",) if inner.by == "module" else ()
            for name in (base_name(layer.path), layer.program):
                texts[_text((name, *dash, inner.path, *inner.args))] = None
    return tuple(texts)


def _text(words: tuple[str, ...]) -> str:
    return " ".join(words)[:LONGEST_TEXT]


# What follows is asked of claimed processes, which are few; its long lists of names are imported only then.


def bystander(argv: Sequence[str], *, terminal: bool) -> str | None:
    """See `bystanders.bystander`."""
    from devtasks.programs import bystanders

    return bystanders.bystander(argv, terminal=terminal)


def spawns_its_own(argv: Sequence[str]) -> str | None:
    """See `bystanders.spawns_its_own`."""
    from devtasks.programs import bystanders

    return bystanders.spawns_its_own(argv)


def users_own(argv: Sequence[str], *, terminal: bool) -> str | None:
    """See `bystanders.users_own`."""
    from devtasks.programs import bystanders

    return bystanders.users_own(argv, terminal=terminal)
