"""What the verbs do with services that are containers: ask the engine, and tell it."""

from __future__ import annotations

import functools
import os
import time
from collections.abc import Callable, Iterable, Mapping

from devtasks.asking.hosts import bracketed, reachable
from devtasks.engines.engine import Engine, Engines, told
from devtasks.engines.state import Container
from devtasks.errors import DevtasksError, Interrupted
from devtasks.model import Condition, Evidence, Project, Service
from devtasks.outcomes import HealthRow, Outcome, ProcessGroup, ProcessRow, ServiceStatus, Started, Stopped
from devtasks.readiness import Readiness
from devtasks.store.logs import printable
from devtasks.values import replace
from devtasks.world import World

LOG_LINES = 10  # of a container that failed, shown
_STOP_MORE_SECONDS = 20.0  # that the engine may take beyond the grace
_KILL_SECONDS = 20.0
_PAUSE_SECONDS = 0.1
_SETTLE_SECONDS = 0.5  # without health check, probe or port: a container that runs this long was no mistake


@functools.cache
def engines() -> Engines:
    """The engines of this process; which of them answers is found out once."""
    return Engines(os.environ)


# --- what only looks -----------------------------------------------------------------------------------


def status(service: Service, row: ServiceStatus, now: float) -> ServiceStatus:
    """`row` as the engine tells it. No PID is given: nothing but the engine may signal what it would name."""
    try:
        _, found = engines().find(service)
    except DevtasksError as error:
        return replace(row, state="elsewhere", health=None, holder=None, detail=_whole(error))
    if found is None:
        return replace(row, state="stopped", health=None, holder=None, detail=f"there is no {told(service)}")
    running = found.running
    return replace(
        row,
        state=found.state,
        health=found.health if running else None,
        pid=None,
        uptime_seconds=max(0.0, now - found.started_at) if running and found.started_at is not None else None,
        restarts=found.restarts,
        holder=None,
        detail=_detail(service, found),
    )


def _detail(service: Service, found: Container) -> str | None:
    if found.word == "running":
        return "its health check fails" if found.health == "unhealthy" else None
    if not found.running and found.exit_code:
        return f"{told(service)} {found.word}, exit code {found.exit_code}"
    return (
        None
        if found.word in ("exited", "stopped", "created", "configured")
        else f"{told(service)} is {found.word}"
    )


def health(service: Service) -> HealthRow:
    """What the container's own health check says, or whether it runs."""
    began = time.monotonic()
    condition: Condition
    try:
        _, found = engines().find(service)
    except DevtasksError as error:
        condition, detail = "unknown", _whole(error)
    else:
        if found is None or not found.running:
            condition, detail = "unhealthy", f"{told(service)} does not run"
        elif found.health is None:
            condition, detail = "healthy", f"{told(service)} runs; it has no health check"
        else:
            condition, detail = found.health, f"the health check of {told(service)}"
    seconds = time.monotonic() - began
    return HealthRow(name=service.name, health=condition, probe="engine", seconds=seconds, detail=detail)


def processes(service: Service) -> ProcessGroup:
    """The processes in the container, as the engine lists them."""
    try:
        engine, found = engines().find(service)
        rows = engine.processes(service, found) if found is not None and found.running else ()
    except DevtasksError as error:
        return ProcessGroup(name=service.name, processes=(), guarantee=_whole(error))
    if found is None:
        return ProcessGroup(name=service.name, processes=())
    evidence = (Evidence("container", f"in {found.name}; {engine.command('stop', service)} stops it"),)
    return ProcessGroup(
        name=service.name,
        processes=tuple(
            ProcessRow(
                pid=row.pid,
                ppid=row.ppid,
                command=printable(row.command),
                cwd=None,
                started_at=found.started_at or 0.0,
                cpu_percent=None,
                rss_bytes=None,
                ports=(),
                evidence=evidence,
            )
            for row in rows
        ),
        guarantee=f"{engine.name}: {told(service)}" if rows else None,
    )


def logs(service: Service, lines: int) -> tuple[tuple[str, str], ...]:
    """Its last lines as (service, line); where the engine does not tell, a line that says why."""
    try:
        engine, found = engines().find(service)
        said = engine.logs(service, lines) if found is not None else ()
    except DevtasksError as error:
        return ((service.name, f"(no log: {_whole(error)})"),)
    return tuple((service.name, printable(line)) for line in said)


# --- start and stop --------------------------------------------------------------------------------------


def start(
    service: Service, world: World, project: Project, *, timeout_seconds: float | None, tell: Callable[[str], None]
) -> Started:
    """Start it and wait until it is ready; what is not is stopped again. Interrupted, it stops it and raises."""
    began = world.monotonic()
    limit = service.ready.timeout_seconds if timeout_seconds is None else timeout_seconds

    def failed(outcome: Outcome, detail: str, hint: str | None = None, tail: Iterable[str] = ()) -> Started:
        return Started(
            name=service.name,
            outcome=outcome,
            pid=None,
            seconds=world.monotonic() - began,
            detail=detail,
            hint=hint,
            log_tail=tuple(tail),
            exit_code=1,
        )

    try:
        engine, found = engines().find(service)
        if found is None and service.container:
            hint = f"create it: {engine.name} create --name {service.container} IMAGE"
            return failed("exited", f"there is no {told(service)}", hint)
        already = found is not None and found.running
        if not already:
            tell(f"{service.name}: {engine.command('start' if service.container else 'up --detach', service)}")
            engine.start(service, max(limit, _KILL_SECONDS))
    except DevtasksError as error:
        return failed("exited", error.message, error.hint)
    readiness = Readiness(world, project, service, log_offset=0)
    try:
        while True:
            found = engine.find(service)
            age = world.monotonic() - began
            if found is None or not found.running:
                code = f" with exit code {found.exit_code}" if found is not None and found.exit_code else ""
                return failed("exited", f"{told(service)} ended{code}", None, _tail(engine, service))
            waits_for = _missing(service, found, readiness, age)
            if waits_for is None:
                return _started(service, already=already, seconds=age)
            if age >= limit:
                tail = _tail(engine, service)
                if not already:
                    engine.stop(service, service.stop.timeout_seconds, _within(service))
                hint = f"if it only needs longer, raise services.{service.group}.ready.timeout"
                return failed("not-ready", f"not ready after {age:.1f} s: {waits_for}", hint, tail)
            world.sleep(_PAUSE_SECONDS)
    except DevtasksError as error:
        return failed("exited", error.message, error.hint)
    except (KeyboardInterrupt, Interrupted):
        if not already:
            engine.stop(service, service.stop.timeout_seconds, _within(service))
        raise
    finally:
        readiness.close()


def _missing(service: Service, found: Container, readiness: Readiness, age: float) -> str | None:
    """What it is not ready for yet; None when it is. A probe of ours counts, else the engine's, else the port."""
    ready = service.ready
    if ready.http or ready.tcp or ready.command:
        return None if readiness.holds(()) else readiness.detail
    if found.health is not None:
        return None if found.health == "healthy" else f"its health check says {found.health}"
    if service.port is not None:
        if service.port in found.ports or readiness.holds(()):
            return None
        return f"it publishes no port {service.port}"
    return None if age >= _SETTLE_SECONDS else "it has only just begun"


def _started(service: Service, *, already: bool, seconds: float) -> Started:
    url = f"http://{bracketed(reachable(service.host))}:{service.port}" if service.port is not None else None
    return Started(
        name=service.name,
        outcome="already-running" if already else "started",
        pid=None,
        seconds=seconds,
        url=url,
        detail=told(service),
    )


def plan(service: Service) -> Started:
    """What a start would do."""
    try:
        _, found = engines().find(service)
    except DevtasksError as error:
        return Started(
            name=service.name, outcome="exited", pid=None, seconds=0.0, detail=error.message, hint=error.hint
        )
    running = found is not None and found.running
    return Started(
        name=service.name,
        outcome="already-running" if running else "started",
        pid=None,
        seconds=0.0,
        detail=told(service),
    )


def stop(service: Service, *, force: bool, timeout_seconds: float | None, dry_run: bool) -> Stopped:
    """Have the engine stop it, or by force kill it. Nothing of it is signalled from here."""
    try:
        engine, found = engines().find(service)
        if found is None or not found.running:
            return Stopped(name=service.name)
        if not dry_run and force:
            engine.kill(service, _KILL_SECONDS)
        elif not dry_run:
            grace = service.stop.timeout_seconds if timeout_seconds is None else timeout_seconds
            engine.stop(service, grace, grace + _STOP_MORE_SECONDS)
        left = None if dry_run else engine.find(service)
    except DevtasksError as error:
        return Stopped(name=service.name, failure=f"{told(service)}: {_whole(error)}")
    if left is not None and left.running:
        return Stopped(name=service.name, failure=f"{told(service)} still runs ({left.word})")
    return Stopped(name=service.name, containers=(found.name,))


# --- ports -----------------------------------------------------------------------------------------------


def publishers(services: Iterable[Service]) -> Mapping[int, tuple[str, str]]:
    """The ports that running containers of `services` publish: each one's container, and what stops it."""
    found: dict[int, tuple[str, str]] = {}
    for service in services:
        try:
            engine, one = engines().find(service)
        except DevtasksError:
            continue
        if one is not None and one.running:
            found |= dict.fromkeys(one.ports, (one.name, engine.command("stop", service)))
    return found


# ---------------------------------------------------------------------------------------------------------


def _tail(engine: Engine, service: Service) -> tuple[str, ...]:
    try:
        return tuple(map(printable, engine.logs(service, LOG_LINES)))
    except DevtasksError:
        return ()


def _within(service: Service) -> float:
    return service.stop.timeout_seconds + _STOP_MORE_SECONDS


def _whole(error: DevtasksError) -> str:
    return f"{error.message}; {error.hint}" if error.hint else error.message
