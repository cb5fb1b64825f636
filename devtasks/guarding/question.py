"""What a guard was asked, and for which project."""

from __future__ import annotations

import logging
import os
import sys
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from devtasks.config import loading
from devtasks.config.parsing import parse
from devtasks.errors import ConfigError
from devtasks.guarding.intent import intent
from devtasks.model import Project, Service
from devtasks.ownership import split_marker
from devtasks.programs.patterns import matcher
from devtasks.values import replace


class Question(NamedTuple):
    """One call of a guard."""

    ports: tuple[int, ...]  # those that cannot be bound
    host: str
    force: bool
    environment: str | None
    deadline: float  # on time.monotonic
    folder: Path  # where the search for the project begins, upward
    caller: FrameType | None


def project_of(question: Question, log: logging.Logger) -> tuple[Project, bool]:
    """The project around the caller, and whether there is one: without it every holder is a stranger."""
    root = loading.find_root(question.folder)
    project: Project | None = None
    if root is not None:
        try:
            project = loading.load(root)
        except ConfigError as error:
            log.warning("%s; so every holder of a port is a stranger", " ".join(error.message.split("\n")))
    found = project or parse({}, root=question.folder, source="", project_name=None, environ=os.environ)
    if question.environment is not None:
        found = replace(found, environment=question.environment.strip().lower())
    return found, project is not None


def concerns_us(port: int, question: Question, project: Project, log: logging.Logger) -> bool:
    """Whether this process will bind `port`; why not is a line for those who debug."""
    found = intent(port, question.caller)
    concerns = found.answer == "yes" or (found.answer == "maybe" and _is_service(project, port))
    if not concerns:
        log.debug("port %d is in use, and nothing is done about it: %s", port, found.reason)
    return concerns


def with_port(project: Project, port: int) -> Project:
    """The project with `port` among those of the service that this process is, or of one made for it.

    A guard says whose port it is as well as a configuration does. The service made here is known by this process's
    own command line.
    """
    if any(port in service.ports for service in project.services):
        return project
    mine = next((one for one in project.services if _is_ours(project, one)), None)
    if mine is not None:
        grown = replace(mine, ports=(*mine.ports, port))
        return replace(project, services=tuple(grown if one is mine else one for one in project.services))
    name = f"port-{port}"
    made = Service(
        name=name,
        group=name,
        command=tuple(sys.orig_argv),
        cwd=project.root,
        ports=(port,),
        pid_file=project.state_dir / f"{name}.pid",
        log_file=project.state_dir / f"{name}.log",
    )
    return replace(project, services=(*project.services, made))


def _is_service(project: Project, port: int) -> bool:
    """Whether this process's command line is that of a service with that port."""
    return any(_looks_like(service) for service in project.services if port in service.ports)


def _is_ours(project: Project, service: Service) -> bool:
    marker = split_marker(os.environ.get("DEVTASKS_ID"))
    return (marker.digest, marker.service) == (project.digest, service.name) or _looks_like(service)


def _looks_like(service: Service) -> bool:
    return matcher(service).match(sys.orig_argv, os.path.realpath(os.curdir)) is not None


__all__ = ["Question", "concerns_us", "project_of", "with_port"]
