"""What `serve` runs, as services: no configuration names them, so every verb is told of them here."""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from pathlib import Path

from devtasks.model import Project, Service
from devtasks.store.state import State
from devtasks.values import replace

GROUP = "server"
_PID_FILE = re.compile(r"\.server_([1-9][0-9]{0,4})\.pid")


def name(port: int) -> str:
    """The service that a server on `port` is, where the configuration has none for that port."""
    return f"{GROUP}-{port}"


def pid_file(project: Project, port: int) -> Path:
    return project.root / f".server_{port}.pid"


def service_on(project: Project, port: int) -> Service:
    """The configured service whose port it is, else the one that a server there is called."""
    return next((one for one in project.services if port in one.ports), None) or _bare(project, name(port), port)


def with_known(project: Project, state: State) -> Project:
    """The project, and a service for each server that runs, or left a PID file of ours."""
    ports = {run.port for run in state.open_runs() if run.port is not None and run.service == name(run.port)}
    left = _left_in(project.root) - ports
    ports |= {port for port in left if state.last_run(name(port)) is not None}
    return _with(project, (_bare(project, name(port), port) for port in sorted(ports)))


def with_forgotten(project: Project, names: Iterable[str]) -> Project:
    """The project, and a service for each of `names` that it lacks: something of theirs was seen alive."""
    unknown = sorted(set(names) - {one.name for one in project.services})
    return _with(project, (_bare(project, one, _port_of(one)) for one in unknown))


def _with(project: Project, services: Iterable[Service]) -> Project:
    taken = {one.name for one in project.services}
    claimed = {port for one in project.services for port in one.ports}
    new = tuple(one for one in services if one.name not in taken and claimed.isdisjoint(one.ports))
    return replace(project, services=(*project.services, *new)) if new else project


def _bare(project: Project, called: str, port: int | None) -> Service:
    """A service that can be seen and stopped, and that nothing here knows how to start: it has no command."""
    server = port is not None and called == name(port)
    groups = {one.group for one in project.services if one.command}
    return Service(
        name=called,
        group=GROUP if server and GROUP not in groups else called,
        command=(),
        cwd=project.root,
        host="0.0.0.0",  # noqa: S104 - what `serve` binds by default
        ports=() if port is None else (port,),
        pid_file=pid_file(project, port) if server and port is not None else project.state_dir / f"{called}.pid",
        log_file=project.state_dir / f"{called}.log",
    )


def _port_of(called: str) -> int | None:
    found = re.fullmatch(rf"{GROUP}-([1-9][0-9]{{0,4}})", called)
    return int(found[1]) if found and int(found[1]) <= 65_535 else None


def _left_in(root: Path) -> set[int]:
    try:
        names = os.listdir(root)
    except OSError:
        return set()
    found = (_PID_FILE.fullmatch(one) for one in names if one.startswith(".server_"))
    return {int(one[1]) for one in found if one and int(one[1]) <= 65_535}
