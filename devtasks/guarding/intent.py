"""Will this very process bind the port that it guards? Only then may its guard signal anybody.

A module that guards a port when it is imported is imported by more than its server: by tests, shells, migration
tools, workers, and by the same server on another port.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from types import FrameType
from typing import Literal, NamedTuple

from devtasks import programs
from devtasks.programs.arguments import read_arguments
from devtasks.programs.unwrapping import Layer, layers
from devtasks.programs.workload import workload

# Servers that import an app and then bind: the port they take unless told, and the variable that tells them.
_SERVERS = {
    "uvicorn": (8000, "UVICORN_PORT"), "hypercorn": (8000, None), "gunicorn": (8000, "PORT"),
    "daphne": (8000, None), "granian": (8000, "GRANIAN_PORT"), "waitress-serve": (8080, None),
    "flask": (5000, "FLASK_RUN_PORT"), "fastapi": (8000, "PORT"),
}  # fmt: skip
_DJANGO = ("manage.py", "django-admin", "django")
_NO_PORT = ("--uds", "--fd", "--unix-socket")
_TOOLS = frozenset(("alembic", "celery", "dramatiq", "huey_consumer", "rq", "arq", "flower", "ipython", "jupyter"))


class Intent(NamedTuple):
    """`maybe`: the module is only being imported, by a program that nobody here knows."""

    answer: Literal["yes", "no", "maybe"]
    reason: str


def intent(port: int, caller: FrameType | None) -> Intent:
    """Whether this process is about to bind `port`. `caller` is the frame that guards it."""
    if _is_worker():
        return Intent("no", "this is a worker process: its parent has the port")
    if "_pytest.config" in sys.modules or programs.spawns_its_own(sys.orig_argv) == "test runner":
        return Intent("no", "this is a test run")
    if hasattr(sys, "ps1"):
        return Intent("no", "this is an interactive session")
    for config in _uvicorn(caller):
        return _of_uvicorn(config, port)
    found = layers(sys.orig_argv)
    known = _of_server(found[-1], port) if found else None
    if known is not None:
        return known
    if caller is not None and caller.f_globals.get("__name__") == "__main__":
        return Intent("yes", "the program itself guards it")
    if any(frame.f_code.co_filename.startswith("<frozen importlib") for frame in _above(caller)):
        return Intent("maybe", "the module that guards it is being imported by another program")
    tool = programs.bystander(sys.orig_argv, terminal=False)
    if tool is not None or programs.program(sys.orig_argv) in _TOOLS:
        return Intent("no", f"this is {programs.program(sys.orig_argv)}, not a server")
    return Intent("yes", "the program asks for it while it runs")


def _is_worker() -> bool:
    """Whether Python's multiprocessing started this process: uvicorn's, hypercorn's and granian's workers."""
    module = sys.modules.get("multiprocessing.process")
    return module is not None and module.parent_process() is not None


def _above(frame: FrameType | None) -> Iterator[FrameType]:
    while frame is not None:
        yield frame
        frame = frame.f_back


# --- uvicorn: however it was started, it imports the app with its own configuration at hand ------------------


def _uvicorn(caller: FrameType | None) -> Iterator[dict[str, object]]:
    """What the uvicorn that is loading or running us was told, the nearest first."""
    for frame in _above(caller):
        if frame.f_globals.get("__name__") not in ("uvicorn.config", "uvicorn.server"):
            continue
        one = frame.f_locals.get("self")
        config = getattr(one, "config", one)
        if hasattr(config, "port"):
            told = {name: getattr(config, name, None) for name in ("port", "uds", "fd")}
            yield {**told, "sockets": frame.f_locals.get("sockets")}


def _of_uvicorn(told: dict[str, object], port: int) -> Intent:
    if told["uds"] or told["fd"] is not None or told["sockets"]:
        return Intent("no", "uvicorn was given its socket")
    if told["port"] != port:
        return Intent("no", f"uvicorn binds port {told['port']}")
    return Intent("yes", "uvicorn binds it")


# --- other servers: by their command line ---------------------------------------------------------------------


def _of_server(layer: Layer, port: int) -> Intent | None:
    """None where the command line is no known server's."""
    name = layer.program
    work = workload(layer)
    if name in _DJANGO:
        if work is None or not work.words or not work.words[0].text.startswith("runserver"):
            return Intent("no", f"{name} does not serve")
        ports = work.ports or {8000}
    elif name in _SERVERS:
        if any(word.partition("=")[0] in _NO_PORT or "unix:" in word for word in layer.args):
            return Intent("no", f"{name} binds no port")
        if name == "flask" and "run" not in layer.args:
            return Intent("no", "this flask command does not serve")
        usual, variable = _SERVERS[name]
        given = os.environ.get(variable, "") if variable else ""
        usual = int(given) if given.isascii() and given.isdigit() and len(given) < 6 else usual
        ports = (work.ports if work is not None else read_arguments(name, layer.args).ports) or {usual}
    else:
        return None
    if port in ports:
        return Intent("yes", f"{name} binds it")
    return Intent("no", f"{name} binds port {min(ports)}")


__all__ = ["Intent", "intent"]
