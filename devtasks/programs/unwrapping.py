"""The layers of a command line: what is run by what, from the program on disk to what it is about.

`uv run python -u -m uvicorn main:app` has four: uv, python, uvicorn, and nothing below it: the words of the
innermost layer are arguments, and a name in an argument is never taken for a program.
"""

from collections.abc import Sequence
from functools import lru_cache
from typing import Literal, NamedTuple

from devtasks.programs import wrappers
from devtasks.programs.interpreters import run_by
from devtasks.programs.names import base_name, program_name, script_name

MOST_WORDS = 128
LONGEST_WORD = 4096
_DEEPEST = 8


class Layer(NamedTuple):
    """One program, script or module, with its arguments.

    `path` is as it is written, `program` its name as `names` knows it, `folder` where a shell was told to go
    first. `by` says how it is run: "program" by the kernel or a wrapper, "script" and "module" by the
    interpreter in the layer above.
    """

    path: str
    program: str
    args: tuple[str, ...]
    by: Literal["program", "script", "module"] = "program"
    folder: str | None = None


def layers(argv: Sequence[str]) -> tuple[Layer, ...]:
    """The layers of an argument vector, the outermost first; none for an empty one.

    Only the first 128 words and 4096 characters of each are looked at. Never raises.
    """
    words = tuple(argv[:MOST_WORDS])
    if any(len(word) > LONGEST_WORD for word in words):
        words = tuple(word[:LONGEST_WORD] for word in words)
    return _layers(words)


@lru_cache(maxsize=1024)
def _layers(words: tuple[str, ...]) -> tuple[Layer, ...]:
    first = _titled(words)
    if not first or not first[0]:
        return ()
    found = [_program(first, None)]
    while len(found) < _DEEPEST:
        inner = _inner(found[-1])
        if inner is None:
            break
        found.append(inner)
    return tuple(found)


def _titled(words: tuple[str, ...]) -> tuple[str, ...]:
    """A process that overwrote its command line shows one word with blanks in it."""
    if len(words) != 1 or " " not in words[0]:
        return words
    if words[0].startswith("[celeryd: ") and words[0].endswith(")"):
        return ("celery", *words[0].rpartition(" (")[2][:-1].split())
    return tuple(words[0].split())


def _program(words: tuple[str, ...], folder: str | None) -> Layer:
    return Layer(words[0], program_name(words[0]), words[1:], "program", folder)


def _inner(layer: Layer) -> Layer | None:
    run = run_by(layer.program, layer.args)
    if run is None:
        command = wrappers.wrapped(layer.program, layer.args)
        return _program(command, layer.folder) if command and command[0] else None
    if run.kind == "string":
        simple = wrappers.only_simple(run.name)
        return _program(simple.words, simple.folder) if simple else None
    if run.kind == "module":
        name = run.name.removesuffix(".__main__")
        return Layer(run.name, name.lower() if name.isascii() else name, run.args, "module", layer.folder)
    program = script_name(run.name)
    args = run.args
    if program == "react-scripts" and not base_name(run.name).startswith(program):
        args = (base_name(run.name).partition(".")[0], *args)
    return Layer(run.name, program, args, "script", layer.folder)
