"""Python backends: a Django project, or an entry point for an ASGI or Flask server."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from typing import Any

from devtasks.inferring import entrypoint
from devtasks.inferring.entrypoint import EntryPoint
from devtasks.inferring.tree import Found, Tree, joined, port_number

_FOLDERS = ("", "backend", "server", "api", "apps/api", "apps/backend")
_MODULES = ("main", "app", "server", "asgi", "wsgi", "api", "run")
_DEFAULT_PORTS = {"uvicorn": 8000, "quart": 5000, "flask": 5000}
# What runs a program in an environment that the tool keeps elsewhere.
_TOOLS = {"poetry.lock": "poetry", "uv.lock": "uv", "pdm.lock": "pdm", "Pipfile.lock": "pipenv"}


def find(tree: Tree) -> Found | None:
    """The backend in the first of the usual folders that has one."""
    for folder in _FOLDERS:
        if found := _django(tree, folder) or _entry_point(tree, folder):
            return found
    return None


def _django(tree: Tree, folder: str) -> Found | None:
    file = joined(folder, "manage.py")
    if "DJANGO_SETTINGS_MODULE" not in (tree.text(file) or ""):
        return None
    command = f"{_python(tree, folder)} manage.py runserver {{host}}:{{port}}"
    return Found("backend", _keys(tree, folder, command, 8000), file, "Django's runserver")


def _entry_point(tree: Tree, folder: str) -> Found | None:
    for file in _candidates(tree, folder):
        entry = entrypoint.read(tree, file)
        if entry is None:
            continue
        found = _served(tree, folder, file, entry) if entry.application else _run_itself(tree, folder, file, entry)
        if found:
            return found
        tree.note(f"{file}: its relative imports lead out of the project; left out")
    return None


def _candidates(tree: Tree, folder: str) -> Iterator[str]:
    """Where entry points usually are, most usual first."""
    yield from (joined(folder, f"{module}.py") for module in _MODULES)
    source = joined(folder, "src")
    inner = [joined(folder, "app"), source]
    inner += [joined(source, name) for name in tree.packages(source)]
    for name in tree.packages(folder):
        package = joined(folder, name)
        if package not in (*inner, *_FOLDERS) and tree.has_file(f"{package}/__init__.py"):
            inner.append(package)
    for package in inner:
        yield from (f"{package}/{module}.py" for module in (*_MODULES, "__init__"))


def _run_itself(tree: Tree, folder: str, file: str, entry: EntryPoint) -> Found:
    command = f"{_python(tree, folder)} {file.removeprefix(folder).lstrip('/')}"
    keys = _keys(tree, folder, command, _own_port(tree, folder, entry))
    if entry.port and entry.port.variable and "port" in keys:
        keys["env"] = {entry.port.variable: "{port}"}
    return Found("backend", keys, file, "starts its own server")


def _served(tree: Tree, folder: str, file: str, entry: EntryPoint) -> Found | None:
    """The framework's server, run in `folder` or, when its modules are named from above that, there."""
    application, base = entry.application, _import_root(tree, folder, file, entry)
    if application is None or base is None:
        return None
    module = file[len(base) :].lstrip("/").removesuffix(".py").removesuffix("/__init__").replace("/", ".")
    named = f"{module}:{application.attribute}"
    if application.server == "uvicorn":
        cwd = folder if _within(base, folder) else base
        below = base[len(cwd) :].lstrip("/")
        options = (" --factory" if application.factory else "") + (f" --app-dir {below}" if below else "")
        command = f"uvicorn {named}{options} --reload --host {{host}} --port {{port}}"
    else:
        cwd = base  # these two find modules in the working folder only
        known = application.attribute in ("app", "application", "create_app", "make_app")
        reload = "--debug" if application.server == "flask" else "--reload"
        command = (
            f"{application.server} --app {module if known else named} run {reload} --host {{host}} --port {{port}}"
        )
    port = _own_port(tree, folder, entry) or _DEFAULT_PORTS[application.server]
    kind = "factory" if application.factory else "app"
    detail = f"{application.framework} {kind} `{application.attribute}`"
    return Found("backend", _keys(tree, cwd, _tool(tree, cwd) + command, port), file, detail)


def _keys(tree: Tree, cwd: str, command: str, port: int | None) -> dict[str, Any]:
    keys: dict[str, Any] = {"command": command}
    if cwd:
        keys["cwd"] = cwd
    if port:
        keys["port"] = port
    if env_file := _env_file(tree, cwd):
        keys["env_file"] = env_file
    return keys


def _env_file(tree: Tree, folder: str) -> str | None:
    """The service's own .env file, else the root's."""
    return tree.env_file(*dict.fromkeys((joined(folder, ".env"), ".env")))


def _own_port(tree: Tree, folder: str, entry: EntryPoint) -> int | None:
    """Where the program would listen if it were run itself; the .env file goes before a default in the code."""
    if entry.port is None:
        return None
    file = _env_file(tree, folder) if entry.port.variable else None
    declared = tree.declared(file, entry.port.variable) if file and entry.port.variable else None
    return port_number(declared) or entry.port.number


def _import_root(tree: Tree, folder: str, file: str, entry: EntryPoint) -> str | None:
    """The folder from which `file` is imported, so that its own imports of the project's modules work.

    Relative imports rule folders out, absolute ones vote. Without either it is the service's folder, or
    the `src` folder that the file is in; or, where that is a package itself, the folder above it.
    """
    parts = file.split("/")[:-1]
    above = ["/".join(parts[:end]) for end in range(len(parts), -1, -1)]  # nearest first
    level = max(entry.relative_level, 1 if file.endswith("/__init__.py") else 0)
    possible = above[level:]
    if not possible:
        return None
    usual = joined(folder, "src") if _within(file, joined(folder, "src")) else folder
    while usual and tree.has_file(f"{usual}/__init__.py"):
        usual = usual.rpartition("/")[0]
    preferred = sorted(possible, key=lambda base: base != usual)

    def votes(base: str) -> int:
        return sum(_has_module(tree, base, name) for name in entry.imported)

    return max(preferred, key=votes)


def _has_module(tree: Tree, base: str, name: str) -> bool:
    return tree.has_file(joined(base, f"{name}.py")) or tree.has_folder(joined(base, name))


def _within(path: str, folder: str) -> bool:
    return not folder or path == folder or path.startswith(f"{folder}/")


def _tool(tree: Tree, folder: str) -> str:
    """`poetry run ` and the like, where the project's environment is in none of its folders."""
    if tree.has_environment(folder):
        return ""
    for place in dict.fromkeys((folder, "")):
        for lock, tool in _TOOLS.items():
            if tree.has_file(joined(place, lock)) and shutil.which(tool):
                return f"{tool} run "
    return ""


def _python(tree: Tree, folder: str) -> str:
    """`python` by the name it has here: Debian's own is only called python3."""
    if tool := _tool(tree, folder):
        return f"{tool}python"
    return "python" if tree.has_environment(folder) or shutil.which("python") else "python3"
