"""The port a command will listen on, where its words or the files that they name tell it."""

from __future__ import annotations

import re
import shlex
from itertools import pairwise

from devtasks.inferring import entrypoint, package
from devtasks.inferring.tree import Port, Tree, joined, port_number

_ASSIGNMENT = re.compile(r"([A-Za-z_][A-Za-z0-9_]*)=(.*)", re.DOTALL)
_WRAPPERS = (
    ("exec",), ("env",), ("cross-env",), ("npx",), ("bunx",), ("pnpm", "exec"), ("yarn", "exec"),
    ("bundle", "exec"), ("poetry", "run"), ("uv", "run"), ("pipenv", "run"), ("pdm", "run"), ("python", "-m"),
    ("python3", "-m"),
)  # fmt: skip
_CLIENTS = {"psql", "pg_dump", "pg_isready", "mysql", "mysqldump", "mongo", "mongosh", "redis-cli", "ssh"}
_SHORT_FLAG = {"next", "rails", "puma", "flask", "daphne", "http-server", "serve", "redis-server"}
_BIND_FLAG = {"gunicorn", "hypercorn"}
_READ_PORT = {"gunicorn": 8000, "next": 3000, "rails": 3000, "react-scripts": 3000}
_FIXED = {"uvicorn": 8000, "hypercorn": 8000, "daphne": 8000, "fastapi": 8000, "flask": 5000, "http.server": 8000}
_NO_SERVER = {
    "next": {"build", "lint", "export", "telemetry"},
    "rails": {"console", "c", "db", "runner", "test", "generate"},
    "flask": {"db", "shell", "routes", "init-db"},
    "react-scripts": {"build", "test", "eject"},
}
_SCRIPT_RUNNERS = {"node", "tsx", "nodemon", "ts-node", "ts-node-dev", "tsnd", "bun", "deno"}
_SCRIPT = re.compile(r"[\w./@-]+\.(?:[cm]?[jt]s|tsx)")
_READS_PORT = re.compile(r"process\.env(?:\.PORT\b|\[[\"']PORT[\"']\])")
_PORT_DEFAULT = re.compile(
    _READS_PORT.pattern + r"[\s)]*(?:,\s*10\s*\))?\s*(?:\|\||\?\?)\s*[\"'`]?(\d{1,5})\b"
    r"|\{[^{}]*\bPORT\s*=\s*[\"'`]?(\d{1,5})\b[^{}]*\}\s*=\s*process\.env"
)
_LISTENS = re.compile(r"\.listen\(\s*(\d{2,5})\b")
_DEEPEST = 3  # scripts that name scripts


def split(command: str) -> list[str] | None:
    """The words of a command; None when its quotes do not balance."""
    try:
        return shlex.split(command)
    except ValueError:
        return None


def program(words: list[str]) -> tuple[str, list[str], dict[str, str]]:
    """The program that `words` run in the end, its arguments, and the variables set for it on the way."""
    variables: dict[str, str] = {}
    words = list(words)
    while words:
        if assignment := _ASSIGNMENT.fullmatch(words[0]):
            variables[assignment[1]] = assignment[2]
            del words[0]
        elif wrapper := next(
            (one for one in _WRAPPERS if tuple(words[: len(one)]) == one and len(words) > len(one)), None
        ):
            del words[: len(wrapper)]
        else:
            break
    return (words[0].rpartition("/")[2], words[1:], variables) if words else ("", [], variables)


def of_words(tree: Tree, folder: str, words: list[str], depth: int = _DEEPEST) -> Port | None:
    """Where the command `words`, run in `folder`, listens; None when that cannot be told."""
    name, arguments, variables = program(words)
    if _NO_SERVER.get(name, set()) & set(arguments):
        return None
    explicit = _in_flags(name, arguments)
    if explicit is not None:
        number = port_number(explicit)
        return None if number is None else Port(number)
    found = _by_program(tree, folder, name, arguments, depth)
    if found and found.variable in variables:
        number = port_number(variables[found.variable])
        return None if number is None else Port(number)
    return found


def of_script(tree: Tree, folder: str, script: str, depth: int = _DEEPEST) -> Port | None:
    """The same of a package.json script: of the last of the commands it runs one after the other."""
    if re.search(r"[|;<>`]|(?<!&)&(?!&)", script):
        return None
    words = split(script.rpartition("&&")[2])
    return of_words(tree, folder, words, depth) if words and "cd" not in script.split() else None


def _in_flags(name: str, arguments: list[str]) -> str | None:
    """The value of the program's port flag; the last one given counts."""
    if name in _CLIENTS:
        return None
    flags = (
        {"--port"}
        | ({"-p"} if name in _SHORT_FLAG else set())
        | ({"-b", "--bind"} if name in _BIND_FLAG else set())
    )
    found = None
    for word, following in pairwise([*arguments, ""]):
        flag, equals, value = word.partition("=")
        if flag in flags:
            found = (value if equals else following).rpartition(":")[2]
        elif name in _SHORT_FLAG and word[:2] == "-p" and word[2:].isdigit():
            found = word[2:]
    if name == "manage.py" and "runserver" in arguments:
        return _address(arguments[arguments.index("runserver") + 1 :])
    if name == "http.server":
        return next((word for word in arguments if word.isdigit()), found)
    return found


def _address(arguments: list[str]) -> str:
    """The port in Django's `[address:]port`, 8000 by default."""
    return next((word.rpartition(":")[2] for word in arguments if not word.startswith("-")), "8000")


def _by_program(tree: Tree, folder: str, name: str, arguments: list[str], depth: int) -> Port | None:
    if name in _READ_PORT:
        return Port(_READ_PORT[name], "PORT")
    if name in _FIXED:
        return Port(_FIXED[name])
    if name == "vite":
        custom = any(word.split("=")[0] in ("--config", "-c", "--root", "--mode") for word in arguments)
        command = next((word for word in arguments if not word.startswith("-")), "dev")
        number = package.vite_port(tree, folder) if command in ("dev", "serve") and not custom else None
        return None if number is None else Port(number)
    if name in ("npm", "pnpm", "yarn", "bun") and arguments and depth:
        script = arguments[1] if arguments[0] in ("run", "run-script") and len(arguments) > 1 else arguments[0]
        text = package.scripts(tree, folder).get(script)
        if text is not None:
            return of_script(tree, folder, text, depth - 1) if script in arguments[-1:] else None
    if name in _SCRIPT_RUNNERS:
        return _of_node_file(tree, folder, arguments)
    if name in ("python", "python3"):
        if arguments[:1] == ["manage.py"] or arguments[1:2] == ["manage.py"]:
            return of_words(tree, folder, arguments[arguments.index("manage.py") :])
        file = next((word for word in arguments if not word.startswith("-")), "")
        found = entrypoint.read(tree, joined(folder, file)) if file.endswith(".py") else None
        return found.port if found and found.runs_itself else None
    return None


def _of_node_file(tree: Tree, folder: str, arguments: list[str]) -> Port | None:
    file = next((word for word in arguments if _SCRIPT.fullmatch(word)), None)
    text = tree.text(joined(folder, file.removeprefix("./"))) if file else None
    if text is None:
        return None
    if default := _PORT_DEFAULT.search(text):
        return Port(port_number(default[1] or default[2]), "PORT")
    if _READS_PORT.search(text):
        return Port(None, "PORT")
    literal = _LISTENS.search(text)
    number = port_number(literal[1]) if literal else None
    return None if number is None else Port(number)
