"""The tasks: one row a verb, and from it the tasks for all services and for each.

Nothing here is imported that a listing does not need: a task's body imports what it does. To add a verb is a
row in VERBS and a function of the same name in `perform.py`.
"""

from __future__ import annotations

import gc
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

from invoke.context import Context
from invoke.exceptions import Exit
from invoke.parser.argument import Argument
from invoke.tasks import Task

from devtasks.command import bytecode, options
from devtasks.values import Value


class Verb(Value):
    """What the program can do, as it is listed. `flags` are names of `options.Flags`."""

    name: str
    topic: str
    help: str
    flags: tuple[str, ...]
    one: str | None = None  # the help of the task for one {service}, where there is one
    helps: Mapping[str, str] = MappingProxyType({})  # what a flag means here, where it differs


RUN, LOOK, TIDY = "Run", "Look", "Set up and tidy up"

VERBS = (
    Verb(
        name="start",
        topic=RUN,
        help="Start what is not running; wait until it is ready.",
        one="Start {service} and what it depends on.",
        flags=("only", "timeout", "port", "host", "dry_run", "json", "color"),
    ),
    Verb(
        name="up",
        topic=RUN,
        help="Start all and show their logs; Ctrl-C stops them.",
        flags=("only", "exit_code_from", "abort_on_exit", "dry_run", "json", "color"),
    ),
    Verb(
        name="stop",
        topic=RUN,
        help="Stop all services, whole, dependants first.",
        one="Stop {service}, whole.",
        flags=("only", "timeout", "why", "dry_run", "json", "color"),
    ),
    Verb(
        name="restart",
        topic=RUN,
        help="Stop all services, then start them.",
        one="Stop {service}, then start it.",
        flags=("only", "timeout", "force", "port", "host", "why", "dry_run", "json", "color"),
    ),
    Verb(
        name="force-clean",
        topic=RUN,
        help="Kill all of the project; remove PID and log files.",
        one="Kill all of {service}; remove its PID and log files.",
        flags=("only", "timeout", "keep_logs", "why", "dry_run", "json", "color"),
    ),
    Verb(
        name="monitor",
        topic=RUN,
        help="Watch; start again what ends or stays unhealthy.",
        flags=("only", "detach", "stop", "status", "dry_run", "json", "color"),
        helps={
            "detach": "Watch in the background.",
            "stop": "End the monitor in the background instead.",
            "status": "Say who watches instead.",
        },
    ),
    Verb(
        name="serve",
        topic=RUN,
        help="Serve an ASGI app until stopped, one on a port.",
        flags=(
            *("app", "host", "port", "reload", "workers", "force", "stop", "status"),
            *("check", "timeout", "dry_run", "json", "color"),
        ),
        helps={
            "host": "Address to serve on (default 0.0.0.0).",
            "port": "Port to serve on (default 8000).",
            "force": "Stop whoever has the port first; never in production.",
            "check": "With --status: the exit code tells the state.",
            "timeout": "SECONDS from the signal to force (default 5).",
        },
    ),
    Verb(
        name="dashboard",
        topic=RUN,
        help="Serve the page and its API; print a URL that opens it.",
        flags=(
            *("detach", "port", "host", "open", "uds", "certfile", "keyfile", "insecure", "stop"),
            *("timeout", "dry_run", "json", "color"),
        ),
        helps={
            "port": "PORT to serve on (default 7788, or the next that is free).",
            "host": "HOST to serve on (default 127.0.0.1).",
            "stop": "Stop the one in the background instead.",
            "timeout": "With --stop: SECONDS to wait.",
        },
    ),
    Verb(
        name="status",
        topic=LOOK,
        help="Show each service in a line.",
        flags=("only", "check", "json", "color"),
    ),
    Verb(
        name="health",
        topic=LOOK,
        help="Ask each service once whether it is healthy.",
        flags=("only", "timeout", "json", "color"),
        helps={"timeout": "SECONDS for each answer, instead of health.timeout."},
    ),
    Verb(
        name="show-processes",
        topic=LOOK,
        help="Show the project's process tree, with evidence.",
        flags=("only", "why", "json", "color"),
    ),
    Verb(
        name="top",
        topic=LOOK,
        help="Watch CPU and memory of each service.",
        flags=("only", "interval", "count", "json", "color"),
    ),
    Verb(
        name="explain",
        topic=LOOK,
        help="Show why a process is the project's, or is not.",
        flags=("pid", "port", "json", "color"),
        helps={"port": "Explain whoever listens on PORT."},
    ),
    Verb(
        name="ports",
        topic=LOOK,
        help="Show what holds each port.",
        flags=("only", "udp", "json", "color"),
    ),
    Verb(
        name="logs",
        topic=LOOK,
        help="Show the last lines of all logs.",
        one="Show the last lines of {service}'s log.",
        flags=("only", "lines", "since", "grep", "follow", "json", "color"),
        helps={"lines": "The last LINES of each service (default 20; with --since all)."},
    ),
    Verb(
        name="history",
        topic=LOOK,
        help="Show what happened: starts, exits, kills, restarts.",
        flags=("only", "lines", "since", "follow", "json", "color"),
        helps={"lines": "The last LINES events (default 100; with --json all)."},
    ),
    Verb(
        name="free-port",
        topic=TIDY,
        help="Stop the service that holds a port.",
        flags=("port", "force", "timeout", "why", "dry_run", "json", "color"),
        helps={"port": "The PORT to free.", "force": "End a stranger, too; never in production."},
    ),
    Verb(
        name="clean",
        topic=TIDY,
        help="Remove dead PID files and old logs; signal nothing.",
        flags=("only", "older_than", "dry_run", "json", "color"),
    ),
    Verb(
        name="export",
        topic=TIDY,
        help="Write the services down for another supervisor.",
        flags=("to", "output", "only", "check", "force", "dry_run", "json", "color"),
        helps={
            "check": "Write nothing; exit with 1 when the files are not what would be written.",
            "force": "Replace files that were edited by hand, too.",
        },
    ),
    Verb(
        name="init",
        topic=TIDY,
        help="Write down the services that can be inferred.",
        flags=("dry_run", "json", "color"),
    ),
)


class VerbTask(Task[Any]):
    """A task whose flags come from a table instead of a signature."""

    def __init__(self, verb: Verb, folder: Path, service: str | None) -> None:
        def body(context: Context, **values: Any) -> None:
            _run(verb.name, folder, service, values, dry=bool(context.config.run.dry))

        body.__doc__ = verb.help if service is None else (verb.one or "").format(service=service)
        name = verb.name if service is None else f"{verb.name}-{service}"
        super().__init__(body, name=name, positional=())
        self.verb = verb
        self.service = service
        self.flags = verb.flags if service is None else tuple(flag for flag in verb.flags if flag != "only")

    def get_arguments(self, ignore_unknown_help: bool | None = None) -> list[Argument]:  # noqa: ARG002
        return options.arguments(self.flags, self.verb.helps)

    # Invoke takes tasks with the same code for the same task and drops the second of two calls: `a.stop b.stop`
    # of two collections would stop only one.
    def __eq__(self, other: object) -> bool:
        return self is other

    def __hash__(self) -> int:
        return id(self)

    def __deepcopy__(self, _memo: object) -> VerbTask:
        """Itself: Invoke copies the tasks of a `ns` one by one, and there is nothing in ours that changes."""
        return self


def tasks(folder: Path, services: Iterable[str]) -> Iterator[VerbTask]:
    """Every verb for all services of the project in `folder`, then those for each of `services`."""
    for verb in VERBS:
        yield VerbTask(verb, folder, None)
    for service in services:
        for verb in VERBS:
            if verb.one is not None:
                yield VerbTask(verb, folder, service)


def _run(verb: str, folder: Path, service: str | None, values: Mapping[str, Any], *, dry: bool) -> None:
    # What Invoke has loaded stays: looking through it for garbage, again and again, would take longer than a look
    # at the process table.
    gc.freeze()
    with bytecode.cached():
        from devtasks.command import perform

        code = perform.perform(verb, folder, service, values, dry=dry)
    if code:
        raise Exit(code=code)
