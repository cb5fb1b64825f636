"""What a Python file offers to a server, read from its syntax tree: nothing is imported or run."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from typing import Literal, NamedTuple

from devtasks.inferring import module as modules
from devtasks.inferring.module import Module
from devtasks.inferring.tree import Port, Tree

Server = Literal["uvicorn", "quart", "flask"]

_FRAMEWORKS: dict[str, tuple[str, Server]] = {
    "fastapi.FastAPI": ("FastAPI", "uvicorn"),
    "fastapi.applications.FastAPI": ("FastAPI", "uvicorn"),
    "starlette.applications.Starlette": ("Starlette", "uvicorn"),
    "litestar.Litestar": ("Litestar", "uvicorn"),
    "litestar.app.Litestar": ("Litestar", "uvicorn"),
    "blacksheep.Application": ("BlackSheep", "uvicorn"),
    "falcon.asgi.App": ("Falcon", "uvicorn"),
    "django.core.asgi.get_asgi_application": ("Django ASGI", "uvicorn"),
    "quart.Quart": ("Quart", "quart"),
    "flask.Flask": ("Flask", "flask"),
}
_FACTORIES = {
    "create_app",
    "make_app",
    "get_app",
    "build_app",
    "create_application",
    "get_application",
    "app_factory",
}
_RUNNERS = {"uvicorn.run": 8000, "uvicorn.Config": 8000, "aiohttp.web.run_app": 8080, "waitress.serve": 8080}
_RUN_METHODS = {"flask": 5000, "quart": 5000}


class Application(NamedTuple):
    """An object, or with `factory` a function that makes one, for a server to serve."""

    attribute: str
    factory: bool
    framework: str  # for people
    server: Server


class EntryPoint(NamedTuple):
    """One file. Without `application` only running the file itself starts its server."""

    application: Application | None
    port: Port | None  # where it listens when it is run itself
    runs_itself: bool
    imported: frozenset[str]  # top-level names of absolute imports
    relative_level: int  # most dots in an import


def read(tree: Tree, path: str) -> EntryPoint | None:
    """What the file at `path` offers; None when it is no entry point or cannot be read."""
    module = modules.read(tree, path)
    if module is None:
        return None
    application = _application(module) or _imported_application(tree, path, module)
    runs_itself, port = _own_server(module, application)
    if runs_itself and not module.guarded:
        application = None  # a server that imported the file would start the file's own
    if application is None and not runs_itself:
        return None
    imported = frozenset(name.partition(".")[0] for name in module.modules if not name.startswith("."))
    level = max((len(name) - len(name.lstrip(".")) for name in module.modules), default=0)
    return EntryPoint(application, port, runs_itself, imported, level)


def _application(module: Module) -> Application | None:
    """The first of: an instance of a framework, a bare ASGI function, a factory of this module."""
    for name, value in module.values.items():
        if isinstance(value, ast.Call):
            known = _FRAMEWORKS.get(module.origin(value.func) or "")
            if known is None and isinstance(value.func, ast.Name):
                known = _made_by(module, value.func.id)
            if known:
                return Application(name, False, *known)
    for name, function in module.functions.items():
        if isinstance(function, ast.AsyncFunctionDef):
            if [argument.arg for argument in function.args.args] == ["scope", "receive", "send"]:
                return Application(name, False, "ASGI", "uvicorn")
        elif name in _FACTORIES and _callable_without_arguments(function) and (known := _made_by(module, name)):
            return Application(name, True, *known)
    return None


def _imported_application(tree: Tree, path: str, module: Module) -> Application | None:
    """`app = create_app()` where the function is imported from another file of the project: one hop, no more."""
    for name, value in module.values.items():
        if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Name)):
            continue
        source, function = _split(module.imports.get(value.func.id, ""))
        for file in _files_of(path, source) if source else ():
            defining = modules.read(tree, file)
            if defining and (known := _made_by(defining, function)):
                return Application(name, False, *known)
    return None


def _made_by(module: Module, function: str) -> tuple[str, Server] | None:
    """The framework of which the module's function called `function` makes an instance."""
    definition = module.functions.get(function)
    for node in ast.walk(definition) if definition else ():
        if isinstance(node, ast.Call) and (known := _FRAMEWORKS.get(module.origin(node.func) or "")):
            return known
    return None


def _callable_without_arguments(function: ast.FunctionDef) -> bool:
    arguments = function.args
    required = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    return required == 0 and all(default is not None for default in arguments.kw_defaults)


def _own_server(module: Module, application: Application | None) -> tuple[bool, Port | None]:
    """Whether running the file starts a server, and where that listens."""
    for node in ast.walk(module.body) if module.guarded else module.calls:
        if not isinstance(node, ast.Call):
            continue
        default = _RUNNERS.get(module.origin(node.func) or "")
        given = [keyword.value for keyword in node.keywords if keyword.arg == "port"]
        if default is None and application and _runs(application, node.func):
            default = _RUN_METHODS.get(application.server)
            given += node.args[1:2]  # app.run(host, port)
        if default is not None:
            opaque = any(keyword.arg is None for keyword in node.keywords)
            return True, module.port(given[0]) if given else None if opaque else Port(default)
    return False, None


def _runs(application: Application, function: ast.expr) -> bool:
    match function:
        case ast.Attribute(value=ast.Name(id=name), attr="run"):
            return name == application.attribute or application.factory
    return False


def _split(origin: str) -> tuple[str, str]:
    """The module and the name of what was imported: `a.b.c` is `a.b` and `c`, `..c` is `..` and `c`."""
    name = origin.rpartition(".")[2]
    module = origin[: len(origin) - len(name)]
    return (module.rstrip(".") or module), name


def _files_of(importer: str, module: str) -> Iterator[str]:
    """Where the module that the file at `importer` names could be."""
    folders = importer.split("/")[:-1]
    parts = module.lstrip(".").split(".") if module.strip(".") else []
    level = len(module) - len(module.lstrip("."))
    ends = [len(folders) - level + 1] if level else range(len(folders), -1, -1)
    for end in ends:
        if end >= 0:
            place = "/".join([*folders[:end], *parts])
            yield f"{place}.py"
            yield f"{place}/__init__.py" if place else "__init__.py"
