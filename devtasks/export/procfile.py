"""Procfile: `name: command` lines that sh runs (foreman, honcho, Heroku)."""

from __future__ import annotations

import os
import shlex

from devtasks.errors import UsageError
from devtasks.export.plan import File, Ledger, Surroundings, Unit, declared, no_line_breaks, units, variables
from devtasks.model import Project, Service

TITLE = "a Procfile"
FOLDER = "."


def export(project: Project, around: Surroundings, ledger: Ledger) -> tuple[tuple[File, ...], tuple[str, ...]]:
    """The file, and the command that runs it."""
    lines = [_line(project, ledger, unit) for unit in units(project)]
    for service in project.services:
        _not_a_lines(project, service, ledger)
    ledger.cannot(None, "restart", "nothing is restarted: when one ends, all are ended")
    file = shlex.quote(os.path.relpath(around.output / "Procfile", project.root))
    root = shlex.quote(str(project.root))
    return (File(path="Procfile", body="".join(f"{line}\n" for line in lines)),), (
        f"foreman start -f {file} -d {root}",
        f"honcho -f {file} -d {root} start",
    )


def _line(project: Project, ledger: Ledger, unit: Unit) -> str:
    service = unit.service
    plain, _ = variables(service, ledger, "set it in .env")
    odd = [name for name in plain if not _is_name(name)]
    if odd:
        ledger.cannot(service, "env", f"{', '.join(odd)}: no shell can set it")
    if len(plain) > len(odd):
        ledger.put(service, "env", "NAME=value before the command")
    assignments = [f"{name}={shlex.quote(value)}" for name, value in plain.items() if name not in odd]
    # In front of a line for the shell, they would be set for its first command alone
    exported = " ".join(("export", *assignments)) if assignments and service.shell else ""
    run = service.command[0] if service.shell else " ".join((*assignments, _joined(service.command)))
    steps = [part for part in (_folder(project, service), exported, *map(_joined, service.before)) if part]
    ledger.put(service, "command", "the line")
    ledger.put(service, "shell", "the line is for sh")
    ledger.put(service, "cwd", "cd FOLDER &&")
    if service.before:
        ledger.put(service, "before", "in front of the command, with &&")
    if service.ports:
        ledger.put(service, "ports", "stand in the command; $PORT is not used")
    if service.name != service.group:
        ledger.put(service, "instances", "one line each")
    line = f"{unit.name}: {' && '.join([*steps, run])}"
    no_line_breaks(service, "command, folder or env", line, TITLE)
    return line


def _folder(project: Project, service: Service) -> str:
    if service.cwd == project.root:
        return ""
    inside = service.cwd.is_relative_to(project.root)
    return f"cd {shlex.quote(os.path.relpath(service.cwd, project.root) if inside else str(service.cwd))}"


def _joined(words: tuple[str, ...]) -> str:
    """Words as sh takes them. A first word with `=` would be taken for a variable."""
    if "=" in words[0]:
        raise UsageError(f'a program called "{words[0]}" cannot be started by {TITLE}')
    return shlex.join(words)


def _is_name(name: str) -> bool:
    return name.isascii() and name.isidentifier()


def _not_a_lines(project: Project, service: Service, ledger: Ledger) -> None:
    if service.env_file is not None:
        if service.env_file == project.root / ".env":
            ledger.put(service, "env_file", ".env, which foreman and honcho read")
        else:
            ledger.cannot(service, "env_file", "only .env beside the Procfile is read: foreman start --env FILE")
    for key in declared(service):
        if key.startswith("stop."):
            ledger.cannot(service, key, "all get TERM, and KILL after 5 s")
        if key.startswith("limits."):
            ledger.cannot(service, key, "nothing is limited")
        if key.startswith("restart."):
            ledger.put(service, key, "see restart")
    ledger.put(service, "data", "stays where it is")
    ledger.put(service, "host", "stands in the command")
    ledger.put(service, "stdin", "the terminal's")
    if service.health is not None:
        ledger.cannot(service, "health", "nothing is asked")
    if service.log_file.name != f"{service.name}.log":
        ledger.cannot(service, "log_file", "what it prints goes to the terminal")
    if service.log_max_bytes is not None:
        ledger.cannot(service, "log_max_bytes", "there is no log")
    if service.depends_on:
        ledger.cannot(service, "depends_on", "all are started at once")
    if service.ready != type(service.ready)():
        ledger.cannot(service, "ready", "nothing is waited for")
