"""JavaScript packages: the `dev` script of package.json, run by the project's package manager."""

from __future__ import annotations

from typing import Any

from devtasks.inferring import package, ports
from devtasks.inferring.tree import Found, Port, Tree, joined, port_number

_FRONT_ENDS = ("frontend", "web", "client", "ui", "app", "apps/web", "apps/frontend")
_BACK_ENDS = ("backend", "server", "api", "apps/api", "apps/backend")
_SERVER_PROGRAMS = {"node", "tsx", "nodemon", "ts-node", "ts-node-dev", "tsnd", "nest", "bun", "deno", "fastify"}
# A script that starts several services: as a service of its own it would start again what was found beside it.
_SEVERAL = {"concurrently", "npm-run-all", "run-p", "turbo", "nx", "lerna", "wireit", "honcho", "foreman"}


def find(tree: Tree, backend: Found | None) -> tuple[Found, ...]:
    """The services of the packages of a project whose `backend`, if any, was found already."""
    front = next((one for folder in _FRONT_ENDS if (one := _service(tree, folder, "frontend"))), None)
    if backend is None:
        backend = next((one for folder in _BACK_ENDS if (one := _service(tree, folder, "backend"))), None)
    inner = tuple(one for one in (backend, front) if one)
    name = _root_name(tree, backend)
    outer = _service(tree, "", name)
    if outer is None:
        return inner
    if name == "dev" and len(inner) < 2:
        for one in inner:
            tree.note(f"{one.file}: not a service of its own, for the root's script starts several")
        return (outer,)
    if name == "dev" or any(one.name == name for one in inner):
        others = " and ".join(one.file for one in inner)
        tree.note(f"package.json: its script is left out, for services were found in {others}")
        return inner
    return (*inner, outer) if name == "frontend" else (outer, *inner)


def _script(tree: Tree, folder: str) -> str | None:
    """The name of the script that starts the package in `folder`."""
    declared = package.scripts(tree, folder)
    return next((name for name in ("dev", "start") if name in declared), None)


def _root_name(tree: Tree, backend: Found | None) -> str:
    """What the root's own script starts: `dev` for several programs, else `backend` or `frontend`."""
    script = package.scripts(tree, "").get(_script(tree, "") or "", "")
    words = ports.split(script.rpartition("&&")[2]) or []
    program, _, _ = ports.program(words)
    if program in _SEVERAL or any(word in _SEVERAL for word in script.split()):
        return "dev"
    return "backend" if backend is None and program in _SERVER_PROGRAMS else "frontend"


def _service(tree: Tree, folder: str, name: str) -> Found | None:
    script = _script(tree, folder)
    if script is None:
        return None
    file = joined(folder, "package.json")
    text = package.scripts(tree, folder)[script]
    if {"devtasks", "inv", "invoke"} & set(text.split()):
        tree.note(f"{file}: its {script} script would start devtasks again; left out")
        return None
    manager, told_by = package.manager(tree, folder)
    keys: dict[str, Any] = {"command": f"{manager} run {script}"}
    if folder:
        keys["cwd"] = folder
    port = ports.of_script(tree, folder, text)
    if port:
        keys |= _port_keys(tree, folder, name, port)
    return Found(name, keys, file, f"{script} script, {told_by}")


def _port_keys(tree: Tree, folder: str, name: str, port: Port) -> dict[str, Any]:
    """`port`, the variable that carries it, and the `.env` file that says it.

    A front end's tool reads its own .env files; given them as environment, `.env.local` could not win.
    """
    env_file = joined(folder, ".env")
    keys: dict[str, Any] = {}
    declared = port_number(tree.declared(env_file, port.variable)) if port.variable else None
    number = declared or port.number
    if number is not None:
        keys["port"] = number
        if port.variable:
            keys["env"] = {port.variable: "{port}"}
    if name == "backend" and tree.env_file(env_file):
        keys["env_file"] = env_file
    return keys
