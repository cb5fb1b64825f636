"""Procfile.dev and Procfile, read as foreman and honcho read them."""

from __future__ import annotations

import re
from typing import Any

from devtasks.config.readers import words as argument_vector
from devtasks.config.section import Mistake
from devtasks.inferring import ports
from devtasks.inferring.tree import Found, Port, Tree, port_number

FILES = ("Procfile.dev", "Procfile")
_BASE_PORT = 5000  # foreman's and honcho's; each further process gets the next hundred
_STEP = 100
_LINE = re.compile(r"([A-Za-z0-9_-]+):\s*(\S.*)")
_NEEDS_SHELL = re.compile(r"[$`&|;<>*?()\\]|(?:^|\s)[~#]")
_IN_SINGLE_QUOTES = re.compile(r"'[^']*'")
_PREFIX = re.compile(r"([A-Za-z_]\w*)=((?:[^\s'\"]|'[^']*'|\"[^\"]*\")*)\s+(?=\S)")
_BUILTINS = {".", ":", "cd", "command", "eval", "export", "if", "for", "source", "test", "[", "trap", "ulimit",
             "umask", "unset", "until", "while", "{"}  # fmt: skip
_INTO_FOLDER = re.compile(r"cd\s+([\w./-]+)\s*&&\s*(\S.*)")
_MENTIONS_PORT = re.compile(r"\$(?:PORT\b|\{PORT\b)")
_TOKEN = re.compile(r"\{(?:host|port|instance)\}")
_NOT_STARTED = {"release": "runs when a release is deployed"}  # Heroku's release phase


def find(tree: Tree) -> tuple[Found, ...] | None:
    """The processes of the first of the two files that is there; None when neither is."""
    for file in FILES:
        text = tree.text(file)
        if text is not None:
            return _processes(tree, file, text)
    return None


def _processes(tree: Tree, file: str, text: str) -> tuple[Found, ...]:
    found: dict[str, Found] = {}
    base = port_number(tree.declared(".env", "PORT")) or _BASE_PORT
    for number, line in enumerate(map(str.strip, text.splitlines()), 1):
        place = f"{file} line {number}"
        if not line or line.startswith("#"):
            continue
        parsed = _LINE.fullmatch(line)
        if parsed is None:
            tree.note(f"{place}: is not `name: command`; left out")
            continue
        name, command = service_name(parsed[1]), parsed[2]
        reason = f"a second `{name}`" if name in found else _refusal(name, command)
        if reason:
            tree.note(f"{place}: {reason}; left out")
        else:
            keys = _keys(tree, command, base + _STEP * len(found))
            found[name] = Found(name, keys, file, f"line {number}")
    return tuple(found.values())


def _refusal(name: str, command: str) -> str | None:
    """Why a process is not to be a service."""
    words = ports.split(command)
    program, _, variables = ports.program(words or [])
    if name in _NOT_STARTED:
        return f"`{name}` {_NOT_STARTED[name]}"
    if not program.strip():
        return f"`{name}` has no command that can be read"
    if program in ("devtasks", "inv", "invoke"):
        return f"`{name}` would start devtasks again"
    if any(variable.startswith("DEVTASKS_") for variable in variables):
        return f"`{name}` sets a variable that is devtasks' own"
    token = _TOKEN.search(command)
    return f"`{name}` says {token[0]}, which would be replaced" if token else None


def service_name(name: str) -> str:
    """A process name as a service name: `Web_1` is `web-1`; what does not begin with a letter gets one."""
    name = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    return name if name[:1].isalpha() else f"process-{name}".rstrip("-")


def _keys(tree: Tree, command: str, offered: int) -> dict[str, Any]:
    """The service's keys. `offered` is the port that foreman would give the process in $PORT."""
    keys: dict[str, Any] = {}
    env: dict[str, str] = {}
    folder = ""
    into = _INTO_FOLDER.fullmatch(command)
    if into and not into[1].startswith("/") and tree.has_folder(into[1]):
        folder, command = into[1].removeprefix("./").rstrip("/"), into[2]
    plain = _without_shell(command)
    if plain is None:
        keys["command"], keys["shell"] = command, True
    else:
        env, keys["command"] = plain
    if folder:
        keys["cwd"] = folder
    port = _port(tree, folder, command, offered)
    if port:
        keys["port"] = port
    if offered < 65536:
        env = {"PORT": "{port}" if port == offered else str(offered)} | env
    if env:
        keys["env"] = env
    if env_file := tree.env_file(".env"):
        keys["env_file"] = env_file
    return keys


def _without_shell(command: str) -> tuple[dict[str, str], str] | None:
    """The `NAME=value` words before a command, and the rest without `exec`; None where it takes a shell."""
    words = ports.split(command) or [""]
    if words[0] in _BUILTINS or _NEEDS_SHELL.search(_IN_SINGLE_QUOTES.sub("", command)):
        return None
    env: dict[str, str] = {}
    while prefix := _PREFIX.match(command):
        env[prefix[1]] = "".join(ports.split(prefix[2]) or [])
        command = command[prefix.end() :]
    command = re.sub(r"^exec\s+(?=[^\s-])", "", command)
    try:
        argument_vector(command)
    except Mistake:
        return None
    return env, command


def _port(tree: Tree, folder: str, command: str, offered: int) -> int | None:
    """Where the process listens, when its command tells: on $PORT, or on a port of its own."""
    if _MENTIONS_PORT.search(command):
        return offered if offered < 65536 else None
    if re.search(r"[&|;]", _IN_SINGLE_QUOTES.sub("", command)):
        return None
    told: Port | None = ports.of_words(tree, folder, ports.split(command) or [])
    if told is None:
        return None
    return offered if told.variable == "PORT" and offered < 65536 else told.number
