"""`dashboard`: checks what is asked for, says where it is already, starts it in the background, or becomes it."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Callable
from contextlib import closing
from importlib.util import find_spec
from pathlib import Path
from typing import NoReturn

from devtasks import verbs
from devtasks.command.options import Flags
from devtasks.dashboard import address, credentials, presence, process
from devtasks.dashboard.address import Settings
from devtasks.errors import DevtasksError, UsageError
from devtasks.model import Project, ReadyProbe, Service
from devtasks.outcomes import DashboardReport, StopReport
from devtasks.values import replace
from devtasks.world.binding import bindable

_NEEDS = ("uvicorn", "starlette")
_START_SECONDS = 30.0
_TOLD_SECONDS = 5.0  # from readiness to the file that says where


def dashboard(
    project: Project, flags: Flags, tell: Callable[[str], None], asker: str
) -> DashboardReport | StopReport:
    """Do what `flags` ask for; where the dashboard is to run in the foreground, this process becomes it.

    Raises UsageError where a package is missing, the address may not be served, or flags exclude each other.
    """
    if flags.stop and flags.detach:
        raise UsageError("--stop and --detach exclude each other")
    if flags.stop:
        return _stop(project, flags, tell, asker)
    missing = [name for name in _NEEDS if find_spec(name) is None]
    if missing:
        raise UsageError(f"dashboard needs {' and '.join(missing)}: pip install 'devtasks[dashboard]'")
    settings = _settings(project, flags)
    address.check(settings)
    if flags.dry_run:
        return _plan(settings)
    if (first := presence.served(project)) is not None:
        return _opened(_already(project, first), flags)
    if flags.detach:
        return _opened(_detached(project, settings, tell, asker), flags)
    return _become(process.command(settings))


def _become(words: tuple[str, ...]) -> NoReturn:
    """The server in place of this process: same PID, same terminal, less memory."""
    sys.stdout.flush()
    sys.stderr.flush()
    os.execve(words[0], words, {**process.ARENAS, **os.environ})  # noqa: S606


def _settings(project: Project, flags: Flags) -> Settings:
    return Settings(
        root=project.root,
        host=(flags.host or address.LOOPBACK).removeprefix("[").removesuffix("]"),
        port=flags.port,
        uds=_absolute(flags.uds),
        certfile=_absolute(flags.certfile),
        keyfile=_absolute(flags.keyfile),
        insecure=flags.insecure,
        open_browser=flags.open,
        json=flags.json,
        managed=flags.detach,
    )


def _absolute(path: str | None) -> Path | None:
    return None if path is None else Path(os.path.abspath(path))


def _plan(settings: Settings) -> DashboardReport:
    host = f"[{settings.host}]" if ":" in settings.host else settings.host
    where = f"{host}:{settings.port or f'{address.FIRST_PORT} or the next free port'}"
    return DashboardReport(
        dry_run=True,
        url=None,
        base=str(settings.uds or where),
        uds=None if settings.uds is None else str(settings.uds),
        pid=None,
        already=False,
        managed=settings.managed,
        token_file=None,
        log_file=None,
    )


def _already(project: Project, first: presence.Served) -> DashboardReport:
    token = credentials.read(project)
    if token is None:
        raise DevtasksError(
            f"the dashboard runs at {first.base} (PID {first.pid}), but its token is gone",
            hint=f"end it (kill {first.pid}) and start it again",
        )
    return process.report(project, first.base, token, uds=first.uds, pid=first.pid, already=True)


def _opened(told: DashboardReport, flags: Flags) -> DashboardReport:
    if flags.open and told.uds is None and told.url is not None:
        process.open_browser(told.url)
    return told


# --- in the background ------------------------------------------------------------------------------------


def _detached(project: Project, settings: Settings, tell: Callable[[str], None], asker: str) -> DashboardReport:
    """Start the server as a service of devtasks itself, and wait until it says where it is."""
    if settings.port is None and settings.uds is None:
        settings = replace(settings, port=_free_port(settings.host))
    if line := address.warning(settings):
        tell(line)
    service = _service(project, settings)
    token = credentials.ensure(project)
    with closing(verbs.scope(_with(project, service), tell=tell, asker=asker)) as scope:
        started = verbs.start(scope, (service.name,), timeout_seconds=_START_SECONDS, dry_run=False).services[-1]
    if started.outcome not in ("started", "already-running"):
        last = started.log_tail[-1:] if started.outcome != "refused" else ()
        raise DevtasksError("\n".join((f"{service.name}: {started.detail}", *last)), hint=started.hint)
    deadline = time.monotonic() + _TOLD_SECONDS
    while (first := presence.served(project)) is None:
        if time.monotonic() > deadline:
            raise DevtasksError(f"{service.name}: it runs (PID {started.pid}) but does not say where")
        time.sleep(0.02)
    return process.report(project, first.base, token, uds=first.uds, pid=first.pid, managed=True)


def _free_port(host: str) -> int:
    ports = range(address.FIRST_PORT, address.FIRST_PORT + address.PORTS_TRIED)
    found = next((port for port in ports if bindable(host, port) == "free"), None)
    if found is None:
        raise DevtasksError(f"ports {ports[0]} to {ports[-1]} are all in use", hint="choose one with --port")
    return found


def _service(project: Project, settings: Settings) -> Service:
    called = presence.name(project)
    # A service inherits no DEVTASKS_ variable; this one is devtasks itself
    ours = {key: value for key, value in os.environ.items() if key.startswith("DEVTASKS_")}
    for name in ("DEVTASKS_ID", "DEVTASKS_KEEP", "DEVTASKS_RUNNER", "DEVTASKS_STATE"):
        ours.pop(name, None)
    return Service(
        name=called,
        group=called,
        command=process.command(settings),
        cwd=project.root,
        env={**process.ARENAS, **ours},
        host=settings.host,
        ports=() if settings.port is None else (settings.port,),
        pid_file=project.state_dir / f"{called}.pid",
        log_file=project.state_dir / f"{called}.log",
        ready=ReadyProbe(log=f"^{process.READY}", timeout_seconds=_START_SECONDS),
        stdin="null",
    )


def _with(project: Project, service: Service) -> Project:
    return replace(project, services=(*project.services, service))


def _stop(project: Project, flags: Flags, tell: Callable[[str], None], asker: str) -> StopReport:
    """Stop the one in the background."""
    service = _service(project, Settings(root=project.root))
    with closing(verbs.scope(_with(project, service), tell=tell, asker=asker)) as scope:
        report = verbs.stop(scope, (service.name,), timeout_seconds=flags.timeout, dry_run=flags.dry_run)
    first = presence.served(project)
    if first is not None and not flags.dry_run:
        raise DevtasksError(
            f"a dashboard runs in a terminal (PID {first.pid}, {first.base})", hint="end it there with Ctrl-C"
        )
    return report
