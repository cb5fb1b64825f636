"""What a Python file offers to a server, read from its syntax tree: nothing is imported or run."""

from __future__ import annotations

import ast
import re
import warnings
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Literal

from devtasks.inferring.tree import Port, Tree, port_number

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
_FACTORIES = (
    "create_app",
    "make_app",
    "get_app",
    "build_app",
    "create_application",
    "get_application",
    "app_factory",
)
_RUNNERS = {"uvicorn.run": 8000, "uvicorn.Config": 8000, "aiohttp.web.run_app": 8080, "waitress.serve": 8080}
_RUN_METHODS = {"flask": 5000, "quart": 5000}
# A file with neither one of these words nor such a line is not parsed: parsing is what costs.
_WORDS = (
    "FastAPI",
    "Starlette",
    "Litestar",
    "Application",
    "falcon",
    "asgi",
    "Quart",
    "Flask",
    "_app",
    "scope",
    "run",
)
_MADE = re.compile(r"^\w+(?:[ \t]*:[^=\n]*)?[ \t]*=[ \t]*\w+\(", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Application:
    """An object, or with `factory` a function that makes one, for a server to serve."""

    attribute: str
    factory: bool
    framework: str  # for people
    server: Server


@dataclass(frozen=True, slots=True)
class EntryPoint:
    """One file. Without `application` only running the file itself starts its server."""

    application: Application | None
    port: Port | None  # where it listens when it is run itself
    runs_itself: bool
    imported: frozenset[str]  # top-level names of absolute imports
    relative_level: int  # most dots in an import


def read(tree: Tree, path: str) -> EntryPoint | None:
    """What the file at `path` offers; None when it is no entry point or cannot be read."""
    module = _module(tree, path)
    if module is None:
        return None
    application = module.application() or _imported_application(tree, path, module)
    runs_itself, port = module.own_server(application)
    if application is None and not runs_itself:
        return None
    imported = frozenset(name.partition(".")[0] for name in module.modules if not name.startswith("."))
    level = max((len(name) - len(name.lstrip(".")) for name in module.modules), default=0)
    return EntryPoint(application, port, runs_itself, imported, level)


@dataclass(slots=True)
class _Module:
    """The names that a module's top level defines. What stands under `__main__` is kept apart."""

    imports: dict[str, str] = field(default_factory=dict)  # local name to origin, relative ones with their dots
    modules: set[str] = field(default_factory=set)
    functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = field(default_factory=dict)
    values: dict[str, ast.expr] = field(default_factory=dict)
    calls: list[ast.Call] = field(default_factory=list)  # bare statements
    guarded: bool = False  # has `if __name__ == "__main__"`
    body: ast.Module | None = None

    def application(self) -> Application | None:
        """The first of: an instance of a framework, a bare ASGI function, a factory of this module."""
        for name, value in self.values.items():
            if isinstance(value, ast.Call):
                known = _FRAMEWORKS.get(self.origin(value.func) or "")
                if known is None and isinstance(value.func, ast.Name):
                    known = self.made_by(value.func.id)
                if known:
                    return Application(name, False, *known)
        for name, function in self.functions.items():
            if isinstance(function, ast.AsyncFunctionDef):
                if [argument.arg for argument in function.args.args] == ["scope", "receive", "send"]:
                    return Application(name, False, "ASGI", "uvicorn")
            elif name in _FACTORIES and _callable_without_arguments(function) and (known := self.made_by(name)):
                return Application(name, True, *known)
        return None

    def made_by(self, function: str) -> tuple[str, Server] | None:
        """The framework of which the function called `function` makes an instance."""
        definition = self.functions.get(function)
        for node in ast.walk(definition) if definition else ():
            if isinstance(node, ast.Call) and (known := _FRAMEWORKS.get(self.origin(node.func) or "")):
                return known
        return None

    def own_server(self, application: Application | None) -> tuple[bool, Port | None]:
        """Whether running the file starts a server, and where that listens."""
        nodes = ast.walk(self.body) if self.guarded and self.body else iter(self.calls)
        for node in nodes:
            if not isinstance(node, ast.Call):
                continue
            default = _RUNNERS.get(self.origin(node.func) or "")
            given = [keyword.value for keyword in node.keywords if keyword.arg == "port"]
            if default is None and application and self.runs(application, node.func):
                default = _RUN_METHODS.get(application.server)
                given += node.args[1:2]  # app.run(host, port)
            if default is not None:
                opaque = any(keyword.arg is None for keyword in node.keywords)
                return True, self.port(given[0]) if given else None if opaque else Port(default)
        return False, None

    @staticmethod
    def runs(application: Application, function: ast.expr) -> bool:
        match function:
            case ast.Attribute(value=ast.Name(id=name), attr="run"):
                return name == application.attribute or application.factory
        return False

    def origin(self, node: ast.expr) -> str | None:
        """The full dotted name of what `node` refers to, through this module's imports."""
        attributes = []
        while isinstance(node, ast.Attribute):
            attributes.append(node.attr)
            node = node.value
        if not isinstance(node, ast.Name):
            return None
        return ".".join([self.imports.get(node.id, node.id), *reversed(attributes)])

    def port(self, node: ast.expr, depth: int = 5) -> Port | None:
        """The port that an expression stands for: a literal, or an environment variable and its default."""
        if depth == 0:
            return None
        if isinstance(node, ast.Constant):
            number = port_number(node.value)
            return None if number is None else Port(number)
        if isinstance(node, ast.Name) and node.id in self.values:
            return self.port(self.values[node.id], depth - 1)
        if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
            first, last = self.port(node.values[0], depth - 1), self.port(node.values[-1], depth - 1)
            return Port(last.number if last else None, first.variable) if first else None
        if isinstance(node, ast.Subscript) and self.origin(node.value) == "os.environ":
            return _variable(node.slice, None)
        if isinstance(node, ast.Call) and node.args:
            called = self.origin(node.func)
            if called == "int":
                return self.port(node.args[0], depth - 1)
            if called in ("os.getenv", "os.environ.get"):
                defaults = [*node.args[1:], *(keyword.value for keyword in node.keywords)]
                return _variable(node.args[0], self.port(defaults[0], depth - 1) if defaults else None)
        return None


def _variable(name: ast.expr, default: Port | None) -> Port | None:
    if isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value.isidentifier():
        return Port(default.number if default else None, name.value)
    return None


def _callable_without_arguments(function: ast.FunctionDef) -> bool:
    arguments = function.args
    required = len(arguments.posonlyargs) + len(arguments.args) - len(arguments.defaults)
    return required == 0 and all(default is not None for default in arguments.kw_defaults)


def _imported_application(tree: Tree, path: str, module: _Module) -> Application | None:
    """`app = create_app()` where the function is imported from another file of the project: one hop, no more."""
    for name, value in module.values.items():
        if not (isinstance(value, ast.Call) and isinstance(value.func, ast.Name)):
            continue
        source, function = _split(module.imports.get(value.func.id, ""))
        for file in _files_of(path, source) if source else ():
            defining = _module(tree, file)
            if defining and (known := defining.made_by(function)):
                return Application(name, False, *known)
    return None


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


def _module(tree: Tree, path: str) -> _Module | None:
    text = tree.text(path)
    if text is None or not (any(word in text for word in _WORDS) or _MADE.search(text)):
        return None
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # an invalid escape in somebody's code is not our message
            return _top_level(ast.parse(text))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        tree.note(f"{path}: is not valid Python; not read")
        return None


def _top_level(parsed: ast.Module) -> _Module:
    module = _Module(body=parsed)
    pending = list(reversed(parsed.body))
    while pending:
        node = pending.pop()
        match node:
            case ast.Import():
                for alias in node.names:
                    module.modules.add(alias.name)
                    name = alias.asname or alias.name.partition(".")[0]
                    module.imports[name] = alias.name if alias.asname else name
            case ast.ImportFrom():
                source = "." * node.level + (node.module or "")
                module.modules.add(source)
                for alias in node.names:
                    separator = "" if source.endswith(".") and not node.module else "."
                    module.imports[alias.asname or alias.name] = f"{source}{separator}{alias.name}"
            case ast.FunctionDef() | ast.AsyncFunctionDef():
                module.functions.setdefault(node.name, node)
            case ast.Assign(targets=[ast.Name(id=name)], value=value):
                module.values.setdefault(name, value)
            case ast.AnnAssign(target=ast.Name(id=name), value=ast.expr() as value):
                module.values.setdefault(name, value)
            case ast.Expr(value=ast.Call() as call):
                module.calls.append(call)
            case ast.If() if _is_main_guard(node.test):
                module.guarded = True
                pending.extend(reversed(node.orelse))
            case ast.If() | ast.Try() | ast.With():
                nested = [*node.body, *getattr(node, "orelse", ()), *getattr(node, "finalbody", ())]
                nested += [statement for handler in getattr(node, "handlers", ()) for statement in handler.body]
                pending.extend(reversed(nested))
            case _:
                pass
    return module


def _is_main_guard(test: ast.expr) -> bool:
    match test:
        case ast.Compare(
            left=ast.Name(id="__name__"), ops=[ast.Eq()], comparators=[ast.Constant(value="__main__")]
        ):
            return True
        case ast.Compare(
            left=ast.Constant(value="__main__"), ops=[ast.Eq()], comparators=[ast.Name(id="__name__")]
        ):
            return True
    return False
