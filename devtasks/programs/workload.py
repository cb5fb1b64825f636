"""What a command line is about, in a form in which two spellings of the same thing are equal."""

from __future__ import annotations

from typing import Literal

from devtasks.programs.arguments import Arguments, Word, address_port, read_arguments
from devtasks.programs.interpreters import INTERPRETERS
from devtasks.programs.managers import package_script
from devtasks.programs.names import base_name, components, extension
from devtasks.programs.shells import SHELLS
from devtasks.programs.unwrapping import Layer
from devtasks.values import Row, replace

_ASGI = frozenset(("uvicorn", "gunicorn", "hypercorn", "daphne", "granian", "waitress-serve"))
FOUND_BY = {"fastapi": frozenset(("main", "app", "api")), "flask": frozenset(("app", "wsgi"))}
_DEFAULT_WORD = {"vite": ("dev", "serve"), "next": ("dev",), "parcel": ("serve",)}
_ADDRESSED = frozenset(("http.server", "redis-server", "valkey-server"))  # the first word is where it listens
_DJANGO = frozenset(("manage.py", "django-admin", "django"))
_RUNSERVER = frozenset(("runserver", "runserver_plus"))
PYTHON_ENDINGS = frozenset((".py", ".pyw"))


class Workload(Row):
    """One program's work.

    An `app` is an attribute of a Python module that some server serves; a `script` is a file; a `module` what
    `python -m` runs; a `task` a script of package.json; a `program` anything else. `path` are the parts of
    module or script, the last without its ending. `found_by` are the modules that a server looks for by itself.
    """

    kind: Literal["app", "script", "module", "task", "program"]
    name: str
    path: tuple[str, ...] = ()
    absolute: bool = False
    ending: str = ""
    attribute: str | None = None
    found_by: frozenset[str] = frozenset()
    words: tuple[Word, ...] = ()
    ports: frozenset[int] = frozenset()
    names: frozenset[tuple[str, str]] = frozenset()
    folder: str | None = None


def workload(layer: Layer) -> Workload | None:
    """What the innermost layer of a command line is about.

    None for an interpreter or a shell that runs no script, and for servers whose app cannot be told.
    """
    name = layer.program
    found = _workload(layer, name)
    if found is None or found.folder is not None:
        return found
    return replace(found, folder=layer.folder)


def _workload(layer: Layer, name: str) -> Workload | None:
    script = package_script(name, layer.args)
    if script is not None:
        read = read_arguments("", script.args)
        return Workload("task", script.name, words=read.words, ports=read.ports, folder=script.folder)
    if name == "php" and "-S" in layer.args:
        name = "php -S"
    elif name in INTERPRETERS or name in SHELLS:
        return None
    if name in _ASGI:
        return _served(name, layer.args)
    read = read_arguments(name, layer.args)
    if name in FOUND_BY:
        return _found(name, layer.args, read)
    if name in _DJANGO:
        read = _django(read)
    elif name in _ADDRESSED and read.words and (port := address_port(read.words[0].text)):
        read = replace(read, words=read.words[1:], ports=read.ports | {port})
    elif name in _DEFAULT_WORD and read.words and read.words[0].text in _DEFAULT_WORD[name]:
        read = replace(read, words=read.words[1:])
    elif name == "next-server":
        read = Arguments(())
    return _plain(layer, name, read)


def _plain(layer: Layer, name: str, read: Arguments) -> Workload:
    ending = extension(base_name(layer.path))
    if layer.by == "module":
        path = tuple(layer.path.removesuffix(".__main__").split("."))
        return Workload("module", name, path, ending=".py", words=read.words, ports=read.ports, names=read.names)
    if ending and name.endswith(ending):
        parts = components(layer.path)
        path = (*parts[:-1], parts[-1][: -len(ending)])
        absolute = _absolute(layer.path)
        return Workload(
            "script", name, path, absolute, ending, words=read.words, ports=read.ports, names=read.names
        )
    return Workload("program", name, words=read.words, ports=read.ports, names=read.names)


def _served(name: str, args: tuple[str, ...]) -> Workload | None:
    """`uvicorn main:app` in all its spellings; a worker's title is `gunicorn: worker [main:app]`."""
    if len(args) > 1 and args[0] in ("master", "worker", "arbiter") and args[-1].startswith("["):
        return _app(name, args[-1].strip("[]"), Arguments(()))
    read = read_arguments(name, args)
    certain = [word.text for word in read.words if word.certain]
    if len(certain) > 1:
        return None
    either = certain or [word.text for word in read.words if ":" in word.text]
    return _app(name, either[0], read) if len(either) == 1 else None


def _found(name: str, args: tuple[str, ...], read: Arguments) -> Workload | None:
    """`fastapi dev [main.py]` and `flask --app main run`, which look for the app where they are not told."""
    words = [word.text for word in read.words if word.certain]
    if name == "flask":
        if words != ["run"]:
            return Workload("program", name, words=read.words, ports=read.ports)
        target = _option(args, "--app", "-A")
    else:
        if words[:1] in (["dev"], ["run"]):
            words = words[1:]
        elif not words:
            return None
        if len(words) > 1:
            return Workload("program", name, words=read.words, ports=read.ports)
        target = _option(args, "--entrypoint", "-e") or (words[0] if words else None)
    if target is None:
        return Workload("app", name, found_by=FOUND_BY[name], ports=read.ports)
    found = _app(name, target, read)
    attribute = _option(args, "--app") if name == "fastapi" else None
    return replace(found, attribute=attribute) if found and attribute else found


def _app(name: str, text: str, read: Arguments) -> Workload | None:
    """`src.main:app`, `main:create_app()`, `src/main.py`; a folder is a package."""
    where, colon, attribute = text.partition(":") if not _on_a_drive(text) else (text, "", "")
    slashes = "/" in where or "\\" in where
    ending = extension(where)
    if ending in PYTHON_ENDINGS:
        parts = components(where[: -len(ending)])
    elif slashes:
        parts = components(where)
    else:
        parts = tuple(where.split("."))
    if not parts or not all(parts):
        return None
    return Workload(
        "app", name, parts, _absolute(where), ".py",
        attribute.partition("(")[0] if colon and attribute else None, ports=read.ports,
    )  # fmt: skip


def _absolute(path: str) -> bool:
    return path.startswith(("/", "\\")) or _on_a_drive(path)


def _on_a_drive(path: str) -> bool:
    return path[:1].isalpha() and path[1:3] in (":/", ":\\")


def _option(args: tuple[str, ...], *options: str) -> str | None:
    for index, word in enumerate(args):
        option, equals, value = word.partition("=")
        if option in options:
            return value if equals else (args[index + 1] if index + 1 < len(args) else None)
    return None


def _django(read: Arguments) -> Arguments:
    """The word behind `runserver` is an address."""
    for index, word in enumerate(read.words[:-1]):
        if word.text in _RUNSERVER:
            address = read.words[index + 1].text
            port = address_port(address)
            if port is not None or ":$" in address or address.startswith("$"):
                words = read.words[: index + 1] + read.words[index + 2 :]
                return replace(read, words=words, ports=read.ports | ({port} if port else set()))
    return read
