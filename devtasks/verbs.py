"""Every verb, one function each: load → observe → decide → act → report.

The tasks, the `devtasks` command and whatever else offers a verb call these and nothing below them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from devtasks.errors import DevtasksError, Refused, UsageError
from devtasks.model import Project, Service, Snapshot
from devtasks.observing import Observation, Observer, select
from devtasks.outcomes import (
    CleanReport,
    ExplainReport,
    Explanation,
    HealthReport,
    LogLines,
    Ports,
    Processes,
    RejectedRow,
    RestartReport,
    Running,
    Started,
    StartReport,
    Status,
    Stopped,
    StopReport,
)
from devtasks.planning import cgroup_prefix, group_of, levels, roots, with_dependencies
from devtasks.serving import known
from devtasks.showing import Showing, command_line, rejected_row
from devtasks.standing import stand
from devtasks.store import exits
from devtasks.store.state import State
from devtasks.values import replace
from devtasks.world import World, this_world

if TYPE_CHECKING:
    from devtasks.stopping import Ended


class Scope:
    """One project on this machine, for one command. `tell` takes a line of progress for people.

    `state.asker` is the command, as events name it.
    """

    def __init__(self, project: Project, world: World, state: State, tell: Callable[[str], None]) -> None:
        self.project = project
        self.world = world
        self.state = state
        self.observer = Observer(world, project, state)
        self.tell = tell
        self._told: set[str] = set()

    def observe(self, previous: Snapshot | None = None) -> Observation:
        """Look, and take what is seen of services that are configured no more for services, too."""
        seen = self.observer.observe(previous)
        project = known.with_forgotten(self.project, seen.forgotten())
        if project is self.project:
            return seen
        self.project = project
        self.observer = Observer(self.world, project, self.state)
        return self.observer.observe(seen.table)

    def remember(self) -> None:
        """From now on, what happens is kept: make the state folder, where there is none yet."""
        self.state.close()
        self.state = self.observer.state = State.open(self.project, create=True, asker=self.state.asker)

    @contextmanager
    def refusals(self, service: str, *, dry_run: bool = False) -> Iterator[None]:
        """What is refused within it becomes an event, in the state that there is."""
        try:
            yield
        except Refused as refusal:
            if not dry_run:
                from devtasks import recording

                at = self.world.now()
                self.state.tell([recording.of_refusal(service, self.state.asker, refusal.message, at=at)])
            raise

    def tell_notes(self) -> None:
        """Say what the state noticed, each thing once."""
        for note in self.state.notes:
            if note not in self._told:
                self._told.add(note)
                self.tell(note)

    def close(self) -> None:
        """Say what the state noticed, and let go of it."""
        self.tell_notes()
        self.state.close()


def scope(project: Project, *, tell: Callable[[str], None], asker: str = "devtasks") -> Scope:
    """Get ready to observe `project`, and what `serve` runs in it. Writes nothing.

    `asker` is the command whose deeds become events: "inv stop".
    """
    state = State.open(project, create=False, asker=asker)
    return Scope(known.with_known(project, state), this_world(), state, tell)


# --- what only looks -----------------------------------------------------------------------------------


def status(scope: Scope, names: tuple[str, ...], *, check: bool = False) -> Status:
    """How each service stands. `check`: where health is asked for and nobody watches, probe once."""
    seen = scope.observer.observe() if names else scope.observe()
    report = Showing(scope.observer, seen).status(select(scope.project, names))
    if check and any(row.health == "unknown" for row in report.services):
        from devtasks.checking import checked

        return checked(scope.observer, seen, report)
    return report


def health(scope: Scope, names: tuple[str, ...], *, timeout_seconds: float | None) -> HealthReport:
    """Probe each service once, all at the same time."""
    from devtasks.checking import check

    seen = scope.observer.observe() if names else scope.observe()
    return HealthReport(services=check(scope.observer, seen, select(scope.project, names), timeout_seconds))


def show_processes(scope: Scope, names: tuple[str, ...]) -> Processes:
    """Every process of the project with its evidence, and what was considered and rejected."""
    seen = scope.observer.observe()
    return Showing(scope.observer, seen).processes(select(scope.project, names), everything=not names)


def explain(scope: Scope, *, pid: int | None, port: int | None) -> ExplainReport:
    """All rules applied to one process, or to each holder of a port. Raises when there is none."""
    seen = scope.observer.observe()
    pids = [pid] if pid is not None else []
    if port is not None:
        holders = scope.world.holders([port]).get(port)
        if holders is None:
            raise DevtasksError(f"nobody listens on port {port}")
        if not holders:
            raise DevtasksError(f"port {port} is held by somebody whom we may not see", hint="try with sudo")
        pids = list(holders)
    report = Showing(scope.observer, seen).explain(pids)
    return replace(report, explanations=tuple(_of_container(scope, seen, one) for one in report.explanations))


def _of_container(scope: Scope, seen: Observation, told: Explanation) -> Explanation:
    """With the container that a proxy holds its ports for."""
    from devtasks.ports.verdict import is_proxy
    from devtasks.world import containers

    if not is_proxy(seen.table.processes.get(told.pid)):
        return told
    for port in scope.world.ports_of([told.pid]).get(told.pid, ()):
        found = containers.publishing(port)
        if found is not None:
            words = f"it holds port {port} for container {found.name}, and is left alone; {found.stop} stops that"
            return replace(told, verdict=f"{told.verdict}; {words}")
    return told


def ports(scope: Scope, names: tuple[str, ...], *, udp: bool) -> Ports:
    """What holds each configured or registered port."""
    from devtasks.ports.surveying import survey
    from devtasks.ports.verdict import claims

    services = select(scope.project, names)
    chosen = {service.name for service in services}
    seen = scope.observer.observe()
    opened = [one for one in scope.state.registered_ports() if not names or one.service in chosen]
    claimed = claims(services, ((one.service, one.name, one.port) for one in opened))
    return Ports(project=scope.project.name, ports=survey(scope.observer, seen, claimed, udp=udp))


def logs(
    scope: Scope,
    names: tuple[str, ...],
    *,
    lines: int | None = None,
    since: float | None = None,
    matches: Callable[[str], bool] | None = None,
) -> LogLines:
    """The last `lines` lines of each service's log (20; all, with `since`) that match, in the order of time."""
    from devtasks.logview import LogView

    scope.observer.reconcile()
    view = LogView(select(scope.project, names), lines=lines, since=since, matches=matches)
    return view.so_far(now=scope.world.now())


# --- start -----------------------------------------------------------------------------------------------


def start(scope: Scope, names: tuple[str, ...], *, timeout_seconds: float | None, dry_run: bool) -> StartReport:
    """Start what does not run, dependencies first, and wait until it is ready."""
    from devtasks.starting import Starter

    services = with_dependencies(startable(scope, names), scope.project.services)
    if dry_run:
        return StartReport(ok=True, dry_run=True, services=_start_plan(scope, services))
    scope.remember()
    results = Starter(scope.observer, scope.tell).start(services, timeout_seconds=timeout_seconds)
    ok = all(result.outcome in ("started", "already-running") for result in results)
    return StartReport(ok=ok, dry_run=False, services=results)


def startable(scope: Scope, names: tuple[str, ...]) -> tuple[Service, ...]:
    """The services that are meant and have a command: those that `serve` runs have none."""
    chosen = select(scope.project, names)
    without = next((service for service in chosen if not (service.command or service.contained)), None)
    if names and without is not None:
        raise UsageError(f"{without.name} is no configured service", hint="see devtasks serve --help")
    return tuple(service for service in chosen if service.command or service.contained)


def _start_plan(scope: Scope, services: Iterable[Service]) -> tuple[Started, ...]:
    seen = scope.observer.observe()
    plan = []
    for service in (one for level in levels(services) for one in level):
        if service.contained:
            from devtasks.engines import contained

            plan.append(contained.plan(service))
            continue
        standing = stand(seen, service)
        main = standing.main if not standing.ending else None
        left = len(seen.of(service.name)) if main is None else 0
        plan.append(
            Started(
                name=service.name,
                outcome="already-running" if main is not None else "started",
                pid=main.pid if main is not None else None,
                seconds=0.0,
                log_file=str(service.log_file),
                detail=f"would first stop {left} left over from an earlier run" if left else None,
            )
        )
    return tuple(plan)


# --- stop and force-clean --------------------------------------------------------------------------------


def stop(scope: Scope, names: tuple[str, ...], *, timeout_seconds: float | None, dry_run: bool) -> StopReport:
    """Stop gracefully, dependants first; what outlives its timeout is killed."""
    return _end(scope, names, force=False, timeout_seconds=timeout_seconds, dry_run=dry_run, logs_too=False)


def force_clean(
    scope: Scope, names: tuple[str, ...], *, timeout_seconds: float | None, dry_run: bool, keep_logs: bool
) -> StopReport:
    """Kill everything of the project's at once; remove its PID files and, unless `keep_logs`, its logs."""
    return _end(scope, names, force=True, timeout_seconds=timeout_seconds, dry_run=dry_run, logs_too=not keep_logs)


def _end(
    scope: Scope,
    names: tuple[str, ...],
    *,
    force: bool,
    timeout_seconds: float | None,
    dry_run: bool,
    logs_too: bool,
) -> StopReport:
    from devtasks.monitoring import claim
    from devtasks.stopping import Stopper

    began = scope.world.monotonic()
    services = select(scope.project, names)
    if not dry_run:
        _unwant(scope, services)
    seen = scope.observer.observe()
    forgotten = tuple(name for name in seen.forgotten() if not names or name in names or group_of(name) in names)
    if dry_run:
        ours, theirs = _apart((*services, *forgotten))
        reports = [_stop_plan(scope, seen, one if isinstance(one, str) else one.name, force=force) for one in ours]
        if theirs:
            from devtasks.engines import contained

            reports += [contained.stop(one, force=force, timeout_seconds=None, dry_run=True) for one in theirs]
        return StopReport(ok=True, dry_run=True, seconds=scope.world.monotonic() - began, services=tuple(reports))
    if any(seen.of(name) for name in (*(s.name for s in services), *forgotten)):
        scope.remember()  # what is ended, and why, is kept
    groups: list[tuple[Service | str, ...]] = [(*services, *forgotten)]
    if not force:
        groups = [*reversed(levels(services)), forgotten]
    watching = claim.name(scope.project)
    if watching in forgotten:  # first of all, so that it sees nobody end
        groups = [(watching,), *(tuple(one for one in group if one != watching) for group in groups)]
    reports = []
    for group in filter(None, groups):
        ours, theirs = _apart(group)
        ended = Stopper(scope.observer, seen).stop(ours, force=force, timeout_seconds=timeout_seconds)
        reports += [_stopped(scope, ended, service, logs_too=logs_too) for service in ours]
        if ended.interrupted is None and theirs:
            from devtasks.engines import contained

            reports += [
                contained.stop(service, force=force, timeout_seconds=timeout_seconds, dry_run=False)
                for service in theirs
            ]
        seen = ended.observation
        if ended.interrupted is not None:
            raise ended.interrupted
    if not names and not dry_run:
        claim.tidy(scope.project, logs_too=logs_too)
    order = {name: at for at, name in enumerate((*(s.name for s in services), *forgotten))}
    reports.sort(key=lambda report: order[report.name])
    return StopReport(
        ok=not any(report.survivors or report.failure for report in reports),
        dry_run=False,
        seconds=scope.world.monotonic() - began,
        services=tuple(reports),
    )


def _apart(group: Iterable[Service | str]) -> tuple[tuple[Service | str, ...], tuple[Service, ...]]:
    """The services whose processes are ended here, and those that an engine ends."""
    theirs = tuple(one for one in group if isinstance(one, Service) and one.contained)
    return tuple(one for one in group if isinstance(one, str) or not one.contained), theirs


def _unwant(scope: Scope, services: Iterable[Service]) -> bool:
    """From now on nobody starts the services unasked. Whether a monitor was about to, and was waited for."""
    from devtasks.monitoring import claim

    services = tuple(services)
    if not scope.project.state_dir.is_dir():
        return False
    wanted = scope.state.watching.wanted()
    names = [one.name for one in services if one.name not in wanted or wanted[one.name].wanted]
    scope.state.watching.unwant(names)
    if not claim.is_watched(scope.project):
        return False
    claim.let_launches_finish(scope.project, services)
    return True


def _stop_plan(scope: Scope, seen: Observation, name: str, *, force: bool) -> Stopped:
    matches = seen.of(name)
    first = [row.pid for row in roots(matches)]
    pids = tuple(sorted((match.process.pid for match in matches), key=lambda pid: (pid not in first, pid)))
    return Stopped(
        name=name,
        stopped=() if force else pids,
        killed=pids if force else (),
        rejected=_rejected(scope, seen, name),
        commands=_commands(seen, pids),
    )


def _stopped(scope: Scope, ended: Ended, service: Service | str, *, logs_too: bool) -> Stopped:
    """Tidy up after one service, and tell how it went."""
    from devtasks.tidying import Tidier

    name = service if isinstance(service, str) else service.name
    ending, seen = ended.endings[name], ended.observation
    tidier = Tidier(scope.project, scope.world, scope.state)
    if not ending.survivors:
        _finish_runs(scope, name)
        for run in seen.runs:
            if run.service == name and run.cgroup:
                scope.world.remove_cgroup(run.cgroup)
        scope.world.clear_cgroups(cgroup_prefix(scope.project, name))
        if name in seen.elsewhere:
            tidier.notes.append("was started in another PID namespace (a container?): its files are left alone")
        elif isinstance(service, Service):
            read = seen.pid_files[name] if service.daemon_pid_file is None else None
            tidier.pid_file(service, ended=ending.targets, read=read)
            tidier.server_pid_files(service, ended=ending.targets)
            if logs_too:
                tidier.logs(service)
        if seen.table.cursor is None and ending.targets:
            tidier.notes.append("likely nothing is left: this system does not tell which processes are new")
    opened = _forget(scope, seen, name, (*ending.stopped, *ending.killed))
    if isinstance(service, Service) and service.listener == "ours":
        for port in sorted(scope.world.listening({*service.ports, *opened})):
            tidier.notes.append(f"port {port} is still held: explain --port {port} tells by whom")
    scope.state.collect_exits(scope.project)
    return Stopped(
        name=name,
        stopped=ending.stopped,
        killed=ending.killed,
        survivors=ending.survivors,
        rejected=_rejected(scope, seen, name),
        commands=tuple((pid, command_line(target.match.process)) for pid, target in ending.targets.items()),
        notes=tuple(tidier.notes),
        removed=tuple(tidier.removed),
    )


def _finish_runs(scope: Scope, name: str) -> None:
    """End the runs of a service that was stopped, as their runners say that they ended."""
    ends = {one.nonce: one for one in exits.read(scope.project)}
    for run in scope.state.open_runs(name):
        if run.boot == scope.world.boot and run.namespace == scope.world.namespace:
            end = ends.get(run.nonce)
            known = end is not None and (run.main is None or run.main.pid == end.pid)
            scope.state.finish(
                run.nonce,
                ended_at=end.at if known and end is not None else scope.world.now(),
                exit_code=end.status if known and end is not None else None,
                cause="stopped",
            )


def _forget(scope: Scope, seen: Observation, name: str, ended: Iterable[int]) -> set[int]:
    """End in the state what the processes `ended` had registered. The ports that the service had opened."""
    opened = {port.port for port in scope.state.registered_ports() if port.service == name}
    rows = seen.table.processes
    gone = {seen.table.identity(rows[pid]) for pid in ended if pid in rows}
    for owner in gone & scope.state.registered_owners():
        scope.state.finish_child(owner, ended_at=scope.world.now(), cause="stopped")
    return opened


def _rejected(scope: Scope, seen: Observation, name: str) -> tuple[RejectedRow, ...]:
    return tuple(rejected_row(scope.world, item) for item in seen.rejections if item.service == name)


def _commands(seen: Observation, pids: Iterable[int]) -> tuple[tuple[int, str], ...]:
    rows = seen.table.processes
    return tuple((pid, command_line(rows[pid])) for pid in pids if pid in rows)


# --- free-port -------------------------------------------------------------------------------------------


def free_port(scope: Scope, *, port: int, force: bool, timeout_seconds: float | None, dry_run: bool) -> StopReport:
    """Stop whatever holds `port`: the project's own service, whole; a stranger only with `force`.

    Raises Refused, with nothing signalled, for what may not be stopped. Ends with the proof by binding the port.
    """
    from devtasks import recording
    from devtasks.ports import freeing
    from devtasks.stopping import Stopper

    began = scope.world.monotonic()
    seen = scope.observer.observe()
    with scope.refusals(f"port {port}", dry_run=dry_run):
        plan = freeing.decide(scope.observer, seen, port, force=force)
        # what has crashed holds nothing, and would be started again
        meant = tuple(one for one in scope.project.services if port in one.ports or one in plan.services)
        if not dry_run and _unwant(scope, meant):
            seen = scope.observer.observe()
            plan = freeing.decide(scope.observer, seen, port, force=force)
    reports: list[Stopped] = []
    if dry_run:
        for service in plan.services:
            name = service if isinstance(service, str) else service.name
            reports.append(_stop_plan(scope, seen, name, force=False))
        if plan.strangers:
            pids = tuple(process.pid for process in plan.strangers)
            reports.append(Stopped(name=f"port {port}", stopped=pids, commands=_commands(seen, pids)))
    elif plan.services:
        ended = Stopper(scope.observer, seen).stop(plan.services, timeout_seconds=timeout_seconds)
        reports += [_stopped(scope, ended, service, logs_too=False) for service in plan.services]
        if ended.interrupted is not None:
            raise ended.interrupted
    if plan.strangers and not dry_run:
        grace = freeing.STRANGER_SECONDS if timeout_seconds is None else timeout_seconds
        scope.remember()
        with scope.refusals(f"port {port}"):
            evicted = freeing.evict(scope.world, port, plan.strangers, timeout_seconds=grace)
        scope.state.tell(recording.of_eviction(evicted, scope.state.asker, at=scope.world.now()))
        reports.append(evicted)
    free, note = (
        (True, None) if dry_run and reports else freeing.verdict(scope.observer, port, already=not reports)
    )
    return StopReport(
        ok=free and not any(report.survivors for report in reports),
        dry_run=dry_run,
        seconds=scope.world.monotonic() - began,
        services=tuple(reports),
        notes=(note,) if note else (),
    )


# --- restart and clean -----------------------------------------------------------------------------------


def restart(
    scope: Scope, names: tuple[str, ...], *, timeout_seconds: float | None, dry_run: bool, force: bool
) -> RestartReport:
    """Stop, then start; with `force`, force-clean (logs are kept), then start. What survives is not started."""
    chosen = startable(scope, names)
    began = scope.world.now()
    stopped = _end(scope, names, force=force, timeout_seconds=timeout_seconds, dry_run=dry_run, logs_too=False)
    if stopped.ok:
        started = start(scope, names, timeout_seconds=timeout_seconds, dry_run=dry_run)
    else:
        started = StartReport(ok=False, dry_run=dry_run, services=())
    if not dry_run:
        _tell_restarts(scope, [service.name for service in chosen], started, at=began)
    return RestartReport(ok=started.ok, stop=stopped, start=started)


def _tell_restarts(scope: Scope, names: Iterable[str], started: StartReport, *, at: float) -> None:
    from devtasks import recording

    begun = {one.name: one.pid for one in started.services if one.outcome == "started"}
    scope.state.tell(recording.of_restart(name, scope.state.asker, begun.get(name), at=at) for name in names)


def clean(scope: Scope, names: tuple[str, ...], *, older_than_days: float, dry_run: bool) -> CleanReport:
    """Remove what is stale: dead PID files, old logs, finished runs. Signals nothing."""
    from devtasks.tidying import Tidier

    seen = scope.observer.observe() if names else scope.observe()
    services = select(scope.project, names)
    running = tuple(Running(service=s.name, pid=m.process.pid) for s in services for m in seen.of(s.name))
    tidier = Tidier(scope.project, scope.world, scope.state, dry_run=dry_run)
    for service in services:
        if not seen.of(service.name) and service.name not in seen.elsewhere:
            tidier.pid_file(service, read=seen.pid_files[service.name])
            tidier.server_pid_files(service)
            if not dry_run:
                scope.state.prune(service.name, keep=10)
    tidier.old_logs(services, older_than_days, [service for service in services if seen.of(service.name)])
    return CleanReport(dry_run=dry_run, removed=tuple(tidier.removed), running=running, notes=tuple(tidier.notes))
