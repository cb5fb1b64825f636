"""Programs that only mention a service, judged by what runs and never by what is in the arguments."""

from __future__ import annotations

from collections.abc import Sequence

from devtasks.programs.bystander_names import (
    BUNDLES,
    CONSOLES,
    EDITOR_FOLDERS,
    JAVA_CLASSES,
    MENTIONS,
    MODULES,
    PACKAGE_SCRIPTS,
    USERS_OWN,
)
from devtasks.programs.interpreters import run_by
from devtasks.programs.managers import MANAGERS, installs, package_script
from devtasks.programs.names import components, word_set
from devtasks.programs.shells import SHELLS
from devtasks.programs.unwrapping import Layer, layers

_REPLS = frozenset(("python", "pypy", "node", "ruby", "php", "deno", "bun"))
_LANGUAGE_SERVER = ("-language-server", "-languageserver", "_language_server", "-langserver", "-lsp")
_CODE = ("-c", "-e", "-p", "-S", "--eval", "--print", "--run")
_MANY_THINGS = word_set("cargo deno django-admin dotnet go manage.py mix ng nx turbo")


def bystander(argv: Sequence[str], *, terminal: bool) -> str | None:
    """What a program that only mentions services is, in words for people; None where it may be a service.

    Such a program is never reached by `port` or `pattern`. Any layer of the command line decides: `uv run
    pytest` is a test runner, `python -m pdb main.py` a debugger, `sh -c "vim main.py"` an editor. `terminal`:
    the process has a controlling terminal; an interpreter without a script is in use there. Never raises.
    """
    found = layers(argv)
    for layer in found:
        kind = _mentions(layer)
        if kind is not None:
            return kind
    return _part_of_an_editor(argv, found) or _in_use(found, terminal=terminal)


def spawns_its_own(argv: Sequence[str]) -> str | None:
    """`test runner` or `debugger`: what it started is never reached by `port` or `pattern`. Else None."""
    kinds = (_mentions(layer) for layer in layers(argv))
    return next((kind for kind in kinds if kind in ("test runner", "debugger")), None)


def users_own(argv: Sequence[str], *, terminal: bool) -> str | None:
    """What a program is that a person or all projects use, in words for people; None for any other.

    Once it has left a run's session, neither it nor what it started is the run's. `terminal`: the process has
    a controlling terminal; any shell with one counts. Never raises.
    """
    found = layers(argv)
    for layer in found:
        if layer.program in SHELLS and terminal:
            return "shell with a terminal"
        kind = USERS_OWN.get(layer.program) if layer.by != "module" else None
        kind = kind or _java(layer)
        if kind is not None:
            return kind
        if layer.program.startswith("bazel("):
            return "shared daemon"
    return _part_of_an_editor(argv, found) or _bundle(argv, found)


def _mentions(layer: Layer) -> str | None:
    name, args = layer.program, layer.args
    if layer.by == "module":
        return MODULES.get(name) or MODULES.get(name.partition(".")[0])
    kind = MENTIONS.get(name)
    if kind is not None:
        return kind
    if name.endswith(_LANGUAGE_SERVER):
        return "language server"
    if name == "node" and (kind := _node(args)) is not None:
        return kind
    if name in MANAGERS:
        return _package_manager(name, args)
    if name == "java":
        return _java(layer)
    if name in ("tsc", "vue-tsc"):
        return "linter" if "--noEmit" in args else None
    if name in _MANY_THINGS:
        return _by_first_word(args)
    if layer.by == "script" and not {"debugpy", "pydevd"}.isdisjoint(components(layer.path)):
        return "debugger"
    return None


def _node(args: tuple[str, ...]) -> str | None:
    """`node --test`, `node inspect server.js`, and the title that vitest gives its workers."""
    if args[:1] in (("inspect",), ("debug",)):
        return "debugger"
    for word in args:
        if word == "--test" or word.startswith("(vitest"):
            return "test runner"
        if not word.startswith("-"):
            break
    return None


def _package_manager(name: str, args: tuple[str, ...]) -> str | None:
    if installs(name, args):
        return "package installer"
    if name in ("bun", "deno") and (kind := _by_first_word(args)) is not None:
        return kind
    script = package_script(name, args)
    return PACKAGE_SCRIPTS.get(script.name.partition(":")[0].lower()) if script else None


def _by_first_word(args: tuple[str, ...]) -> str | None:
    """Programs that are many things: what their first word makes of them."""
    first = next((word for word in args if not word.startswith("-")), "")
    if first in ("test", "e2e", "bench", "nextest"):
        return "test runner"
    if first in ("lint", "fmt", "vet", "clippy", "check", "format"):
        return "linter"
    if first in ("shell", "shell_plus", "dbshell", "repl"):
        return "shell in use"
    return "language server" if first == "lsp" else None


def _java(layer: Layer) -> str | None:
    """Editors and daemons that Java runs are known by their main class."""
    if layer.program != "java" and layer.by == "program":
        return None
    for word in (layer.path, *layer.args) if layer.by == "script" else layer.args:
        kind = next((what for start, what in JAVA_CLASSES.items() if word.startswith(start)), None)
        if kind is not None:
            return kind
    return None


def _in_use(found: tuple[Layer, ...], *, terminal: bool) -> str | None:
    """A shell without a script reads what somebody types, and so does an interpreter at a terminal."""
    if not found:
        return None
    last = found[-1]
    if last.program in CONSOLES or (last.program in SHELLS and run_by(last.program, last.args) is None):
        return "shell in use"
    if terminal and last.program in _REPLS:
        options = all(word.startswith("-") and word != "-" for word in last.args)
        if options and not any(word.startswith(_CODE) for word in last.args):
            return "shell in use"
    return None


def _part_of_an_editor(argv: Sequence[str], found: tuple[Layer, ...]) -> str | None:
    """Editors run their helpers from folders of their own, often with a plain node or python."""
    for layer in found:
        if "/" in layer.path or "\\" in layer.path:
            parts = components(layer.path)
            if not EDITOR_FOLDERS.isdisjoint(parts) or ("nvim" in parts and "mason" in parts):
                return "editor"
    return "editor" if _bundle(argv, found) == "editor" else None


def _bundle(argv: Sequence[str], found: tuple[Layer, ...]) -> str | None:
    """On macOS the folder of an application has the name that people call it by, with blanks."""
    paths = "\0".join([argv[0][:512] if argv else "", *(layer.path for layer in found)])
    return next((kind for name, kind in BUNDLES.items() if name in paths), None)
