"""Take a held port over from what an earlier run left, or say in lines of the log why not.

observe → is it us? → may it be ended? → lock → is it still the same? → stop → prove. All ports are decided on
before anything is signalled for one of them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from types import FrameType
from typing import NamedTuple

from devtasks import claims, freeing, kinship, loading, locks, statedir
from devtasks.config import parse
from devtasks.earlier import EarlierRuns
from devtasks.errors import ConfigError, DevtasksError
from devtasks.intent import intent
from devtasks.model import Match, Process, Project, Service
from devtasks.observing import Observation
from devtasks.outcomes import PortHolder, PortRow, Survivor
from devtasks.ownership import split_marker
from devtasks.ports import describe, is_proxy
from devtasks.programs.patterns import matcher
from devtasks.state import State
from devtasks.stopping import Stopper
from devtasks.values import replace
from devtasks.world import World, this_world
from devtasks.world.binding import bindable

_LOOK_SECONDS = 0.005


class Request(NamedTuple):
    """What a guard was asked."""

    ports: tuple[int, ...]  # those that cannot be bound
    host: str
    force: bool
    environment: str | None
    deadline: float  # on time.monotonic
    folder: Path  # where the search for the project begins, upward
    caller: FrameType | None


class Held(NamedTuple):
    """One port that is in the way of this process, and whose ends would free it."""

    port: int
    service: Service | None  # that the port is meant for; None: there is no project
    row: PortRow
    ours: tuple[Process, ...]  # left by an earlier run of the service
    strangers: tuple[Process, ...]

    @property
    def everybody(self) -> tuple[Process, ...]:
        return (*self.ours, *self.strangers)


def take(request: Request, log: logging.Logger) -> bool:
    """Whether every port can be bound now, or is none of this process's business. Raises interruptions only."""
    try:
        project, configured = _project(request, log)
        ports = [port for port in request.ports if _concerns_us(port, request, project, log)]
        for port in ports if configured else ():
            project = _with_port(project, port)
        if not ports:
            return True
        state = State.open(project, create=configured)
        try:
            return _Takeover(request, project, state, log, configured=configured).take(ports)
        finally:
            state.close()
    except DevtasksError as error:
        hint = f"; {error.hint}" if error.hint else ""
        log.error("%s%s", " ".join(error.message.split("\n")), hint)  # noqa: TRY400 - no traceback for a user
    except OSError as error:
        log.error("port %s could not be looked at: %s", ", ".join(map(str, request.ports)), error)  # noqa: TRY400
    return False


def holders(port: int, folder: Path) -> tuple[PortHolder, ...]:
    """Who holds `port`, as the project around `folder` sees it."""
    request = Request((port,), "", force=False, environment=None, deadline=0.0, folder=folder, caller=None)
    project, configured = _project(request, logging.getLogger(__name__))
    project = _with_port(project, port) if configured else project
    state = State.open(project, create=False)
    try:
        observer = EarlierRuns(this_world(), project, state)
        return freeing.look(observer, observer.observe(), port).holders
    finally:
        state.close()


class _Takeover:
    """All ports of one call, in one project."""

    def __init__(
        self, request: Request, project: Project, state: State, log: logging.Logger, *, configured: bool
    ) -> None:
        self._request = request
        self._project = project
        self._state = state
        self._log = log
        self._configured = configured
        self._world: World = this_world()

    def take(self, ports: Sequence[int]) -> bool:
        decided = [self._decide(port) for port in ports]
        if None in decided:
            return False
        held = [one for one in decided if isinstance(one, Held)]
        if not held:
            return True
        with self._locked(held):
            return all([self._clear(one) for one in held])  # noqa: C419 - each is worth a try

    # --- deciding ---------------------------------------------------------------------------------------

    def _decide(self, port: int) -> Held | bool | None:
        """What is in the way; True: nothing (any more), None: something that stays, and it was said."""
        answer = bindable(self._request.host, port)
        if answer == "free":
            return True
        observer = EarlierRuns(self._world, self._project, self._state)
        seen = observer.observe()
        row = freeing.look(observer, seen, port)
        held = self._held(seen, port, row)
        ancestry = self._world.ancestry()
        if kinship.is_current(seen, held.everybody, pid=os.getpid(), ancestry=ancestry):
            self._log.debug("port %d is held by this server's own processes", port)
            return True
        who = "; ".join(map(describe, row.holders)) or "nobody who listens"
        environment = self._project.environment
        self._log.warning("port %d is in use (environment: %s): held by %s", port, environment, who)
        objection = self._objection(observer, seen, held, answer)
        if objection is None:
            return held
        for line in objection:
            self._log.error("port %d: %s", port, line)
        self._remember(held, "port-refused", f"port {port}: {objection[0]}")
        return None

    def _held(self, seen: Observation, port: int, row: PortRow) -> Held:
        rows = [
            process
            for holder in row.holders
            if holder.pid is not None
            and (process := seen.table.processes.get(holder.pid) or self._reread(holder.pid)) is not None
        ]
        ours = tuple(one for one in rows if isinstance(seen.judge.verdict(one.pid), Match))
        return Held(
            port=port,
            service=next((one for one in self._project.services if port in one.ports), None),
            row=row,
            ours=ours,
            strangers=tuple(one for one in rows if one not in ours),
        )

    def _reread(self, pid: int) -> Process | None:
        return self._world.reread([pid]).get(pid)

    def _objection(
        self, observer: EarlierRuns, seen: Observation, held: Held, answer: str
    ) -> tuple[str, ...] | None:
        """Why nothing may be ended, in lines, the remedy among them; None: it may."""
        port, row = held.port, held.row
        if row.state == "free":
            if answer == "forbidden":
                return (f"this user may not bind it; choose a port from 1024 on, or run: {_allow_low_ports()}",)
            return (
                *(row.warnings or ("it cannot be bound, and nobody listens on it",)),
                "wait, or choose another",
            )
        if self._project.production:
            return ("in production nothing is signalled; to solve it:", *freeing.steps(row))
        if any(holder.pid is None for holder in row.holders):
            return (
                "only another user, or root, may stop that process",
                f"run: sudo devtasks free-port --port {port}; or choose another port",
            )
        proxy = next((one for one in held.strangers if is_proxy(one)), None)
        if proxy is not None:
            stop = next((holder.stop for holder in row.holders if holder.stop), "docker ps")
            return (f"it is held for a container, which is left alone; to stop it: {stop}",)
        fresh = kinship.first_fresh(self._world, observer, seen, held.everybody, claims.claimed(port))
        if fresh is not None:
            return (f"PID {fresh.pid} was started at the same time and was first: it is no leftover",)
        found = {verdict.service for one in held.ours if (verdict := seen.judge.verdict(one.pid))}
        others = found - {held.service.name if held.service is not None else ""}
        if others:
            name = min(others)
            return (f"it is service {name} of this project, not a leftover; to stop it: devtasks stop {name}",)
        if held.strangers and not self._request.force:
            return (
                "that is not this project's, so it is left alone: stop it, choose another port, or force=True",
            )
        system = next((one for one in held.strangers if seen.judge.facts.never(one)), None)
        if system is not None:
            return (f"PID {system.pid} started this process, or is the system's: it is left alone",)
        return None

    # --- acting -----------------------------------------------------------------------------------------

    def _clear(self, held: Held) -> bool:
        """End what holds one port, and prove that it can be bound."""
        began = time.monotonic()
        port = held.port
        if bindable(self._request.host, port) == "free":  # another guard's doing, while we waited for the lock
            claims.claim(port)
            return True
        observer = EarlierRuns(self._world, self._project, self._state)
        seen = observer.observe()
        now = self._held(seen, port, freeing.look(observer, seen, port))
        before = {one.pid for one in held.everybody} | {observer.top(seen, one).pid for one in held.everybody}
        news = next((one for one in now.everybody if observer.top(seen, one).pid not in before), None)
        if news is not None or now.row.state == "unknown":
            who = f"PID {news.pid}" if news is not None else "another user"
            self._log.error("port %d: %s was faster and has it now: it is no leftover", port, who)
            self._remember(now, "port-refused", f"port {port}: {who} was faster")
            return False
        survivors = self._end(observer, seen, now)
        for one in survivors:
            self._log.error("port %d: PID %d did not end: %s", port, one.pid, one.reason)
        if survivors or not self._proven(port):
            return False
        seconds = time.monotonic() - began
        self._log.warning("port %d is free now (%.2f s)", port, seconds)
        claims.claim(port)
        self._remember(now, "port-taken-over", f"port {port}, from {'; '.join(map(describe, now.row.holders))}")
        return True

    def _remember(self, held: Held, kind: str, detail: str) -> None:
        """Make it an event of the project's, if there is one."""
        if held.service is not None:
            pid = next((holder.pid for holder in held.row.holders if holder.pid is not None), None)
            self._state.event(held.service.name, kind, pid=pid, detail=detail)

    def _end(self, observer: EarlierRuns, seen: Observation, held: Held) -> tuple[Survivor, ...]:
        """End the runs behind the holders, and by force strangers; who is left."""
        sent = self._teller(held.port)
        left: tuple[Survivor, ...] = ()
        if held.ours and held.service is not None:
            aimed = observer.aim_at(seen, [one.pid for one in held.ours])
            grace = min(held.service.stop.timeout_seconds, self._grace())
            ended = Stopper(observer, aimed, sent).stop([held.service], timeout_seconds=grace)
            if ended.interrupted is not None:
                raise ended.interrupted
            left = ended.endings[held.service.name].survivors
        if held.strangers and self._request.force:
            grace = min(freeing.STRANGER_SECONDS, self._grace())
            evicted = freeing.evict(self._world, held.port, held.strangers, timeout_seconds=grace, sent=sent)
            left += evicted.survivors
        return left

    def _grace(self) -> float:
        """How long a process is asked before it is killed: half of what is left, so that there is time to kill."""
        return max(0.0, self._request.deadline - time.monotonic()) / 2

    def _teller(self, port: int) -> Callable[[int, str], None]:
        asked: dict[int, float] = {}

        def sent(pid: int, name: str) -> None:
            now = time.monotonic()
            waited = f": it is still there after {now - asked[pid]:.1f} s" if pid in asked else ""
            asked.setdefault(pid, now)
            self._log.warning("port %d: sent %s to PID %d%s", port, name, pid, waited)

        return sent

    def _proven(self, port: int) -> bool:
        while bindable(self._request.host, port) != "free":
            if time.monotonic() >= self._request.deadline:
                observer = EarlierRuns(self._world, self._project, self._state)
                row = freeing.look(observer, observer.observe(), port)
                who = "; ".join(map(describe, row.holders)) or "nobody who listens"
                self._log.error("port %d is still held, by %s", port, who)
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    @contextlib.contextmanager
    def _locked(self, held: Sequence[Held]) -> Iterator[None]:
        """One guard at a time acts on a port of a project. Where no lock can be made, none is needed to act."""
        with contextlib.ExitStack() as stack:
            if self._configured and _prepared(self._project):
                for port in sorted(one.port for one in held):
                    left = max(0.0, self._request.deadline - time.monotonic())
                    path = self._project.state_dir / f"port-{port}.lock"
                    stack.enter_context(locks.service_lock(path, timeout_seconds=left))
            yield


def _prepared(project: Project) -> bool:
    try:
        statedir.ensure(project)
    except DevtasksError:
        return False
    return True


def _allow_low_ports() -> str:
    return f"sudo setcap cap_net_bind_service=+ep {os.path.realpath(sys.executable)}"


# --- the project, and whether this process is its server ----------------------------------------------------


def _project(request: Request, log: logging.Logger) -> tuple[Project, bool]:
    """The project around the caller, and whether there is one: without it every holder is a stranger."""
    root = loading.find_root(request.folder)
    project: Project | None = None
    if root is not None:
        try:
            project = loading.load(root)
        except ConfigError as error:
            log.warning("%s; so every holder of a port is a stranger", " ".join(error.message.split("\n")))
    found = project or parse({}, root=request.folder, source="", project_name=None, environ=os.environ)
    if request.environment is not None:
        found = replace(found, environment=request.environment.strip().lower())
    return found, project is not None


def _concerns_us(port: int, request: Request, project: Project, log: logging.Logger) -> bool:
    found = intent(port, request.caller)
    concerns = found.answer == "yes" or (found.answer == "maybe" and _this_is(project, port))
    if not concerns:
        log.debug("port %d is in use, and nothing is done about it: %s", port, found.reason)
    return concerns


def _this_is(project: Project, port: int) -> bool:
    """Whether this process's command line is that of a service with that port."""
    services = (service for service in project.services if port in service.ports)
    return any(matcher(service).match(sys.orig_argv, os.path.realpath(os.curdir)) for service in services)


def _with_port(project: Project, port: int) -> Project:
    """The project with `port` among those of the service that this process is, or of one made for it.

    A guard says whose port it is as well as a configuration does. The service made here is known by this process's
    own command line.
    """
    if any(port in service.ports for service in project.services):
        return project
    marker = split_marker(os.environ.get("DEVTASKS_ID"))
    mine = next(
        (
            one
            for one in project.services
            if (marker.digest, marker.service) == (project.digest, one.name)
            or matcher(one).match(sys.orig_argv, os.path.realpath(os.curdir))
        ),
        None,
    )
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


__all__ = ["Request", "holders", "take"]
