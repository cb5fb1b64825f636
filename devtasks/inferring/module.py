"""What the top level of a Python file defines, read from its syntax tree: nothing is imported or run."""

from __future__ import annotations

import ast
import re
import warnings

from devtasks.inferring.tree import Port, Tree, port_number

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


def read(tree: Tree, path: str) -> Module | None:
    """The module at `path`; None when it cannot be read or has nothing that a server could serve."""
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


class Module:
    """The names that a module's top level defines. What stands under `__main__` is kept apart."""

    def __init__(self, body: ast.Module) -> None:
        self.body = body
        self.imports: dict[str, str] = {}  # local name to origin, relative ones with their dots
        self.modules: set[str] = set()  # whatever is imported, or imported from
        self.functions: dict[str, ast.FunctionDef | ast.AsyncFunctionDef] = {}
        self.values: dict[str, ast.expr] = {}
        self.calls: list[ast.Call] = []  # bare statements
        self.guarded = False  # has `if __name__ == "__main__"`

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


def _top_level(parsed: ast.Module) -> Module:
    module = Module(parsed)
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


def _variable(name: ast.expr, default: Port | None) -> Port | None:
    if isinstance(name, ast.Constant) and isinstance(name.value, str) and name.value.isidentifier():
        return Port(default.number if default else None, name.value)
    return None


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
