"""What an observation shows: status, processes and explanations. Changes nothing on the machine."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

from devtasks.errors import UsageError
from devtasks.metering import Meter
from devtasks.model import Condition, Match, Process, Project, Rejection, Service
from devtasks.observing import Observation, Observer
from devtasks.outcomes import (
    ExplainReport,
    Explanation,
    Holder,
    Processes,
    ProcessGroup,
    ProcessRow,
    RejectedRow,
    RestartStatus,
    ServiceStatus,
    State,
    Status,
)
from devtasks.planning import roots
from devtasks.standing import Stand, stand
from devtasks.store import logs
from devtasks.world import World

if TYPE_CHECKING:
    from devtasks.lastword import LastWord


class Showing:
    """Turns one observation into what people and programs read."""

    def __init__(self, observer: Observer, seen: Observation, meter: Meter | None = None) -> None:
        """Without a `meter` CPU is measured since the last look on record, and this one is recorded."""
        self._observer = observer
        self._world = observer.world
        self._project: Project = observer.project
        self._seen = seen
        self._meter = meter or Meter(self._world, self._world.now, observer.state.previous_usage())
        self._meter.look(seen)
        if meter is None:
            observer.state.record_usage(self._meter.samples)
        self._last_word: LastWord | None = None

    # --- status -------------------------------------------------------------------------------------------

    def status(self, services: Iterable[Service]) -> Status:
        """One row a service."""
        return Status(
            project=self._project.name,
            environment=self._project.environment,
            services=tuple(self._row_of(service) for service in services),
        )

    def _row_of(self, service: Service) -> ServiceStatus:
        row = self._service(service)
        if not service.contained:
            return row
        from devtasks.engines import contained

        return contained.status(service, row, self._world.now())

    def _service(self, service: Service) -> ServiceStatus:
        seen = self._seen
        matches = seen.of(service.name)
        standing = stand(seen, service)
        holder = self._holder(service)
        state, detail = self._state(service, standing, holder)
        health, ailment = self._health(service, standing)
        if health == "unhealthy" and state == "running":
            state = "unhealthy"
        restarts, restart = self._restarts(service, standing)
        if restart is not None:
            state, detail = _told_of_restarts(state, detail, restart, self._world.now())
        main = standing.main
        pids = [match.process.pid for match in matches]
        sizes = self._meter.rss_bytes
        return ServiceStatus(
            name=service.name,
            state=state,
            health=health,
            pid=main.pid if main is not None else None,
            ports=service.ports,
            uptime_seconds=self._world.now() - self._world.started_at(main) if main is not None else None,
            restarts=restarts,
            cpu_percent=self._meter.trees.get(service.name),
            rss_bytes=sum(sizes[pid] for pid in pids if pid in sizes) if pids else None,
            processes=len(pids),
            holder=holder,
            detail=detail or ailment,
            restart=restart,
        )

    def _health(self, service: Service, standing: Stand) -> tuple[Condition | None, str | None]:
        """What a monitor knows of it, and what is wrong. None: nobody wants it asked, or it does not run."""
        if service.health is None or standing.main is None:
            return None, None
        run = standing.run
        return self._heard().on(service.name, service.health, run.nonce if run is not None else None)

    def _restarts(self, service: Service, standing: Stand) -> tuple[int, RestartStatus | None]:
        """What a monitor did about its ends, unless somebody stopped it since."""
        heard = self._heard()
        if not heard.knows(service.name):
            return 0, None
        wanted = self._observer.state.watching.wanted().get(service.name)
        if wanted is not None and not wanted.wanted:
            return 0, None
        run = standing.run if standing.main is not None else self._observer.state.last_run(service.name)
        return heard.restarts(service, run.nonce if run is not None else None)

    def _heard(self) -> LastWord:
        if self._last_word is None:
            from devtasks.lastword import LastWord

            table = self._seen.table
            self._last_word = LastWord(
                *self._observer.state.watching.beats(),
                table.processes,
                boot=table.boot,
                namespace=table.namespace,
                now=self._world.now(),
            )
        return self._last_word

    def _state(self, service: Service, standing: Stand, holder: Holder | None) -> tuple[State, str | None]:
        reading = self._seen.pid_files[service.name]
        match standing.standing:
            case "running":
                return self._running(service, standing, holder)
            case "beginning":
                return "starting", "a start is in progress"
            case "orphaned":
                return "orphaned", "its main process is gone and left these"
            case "elsewhere":
                return "elsewhere", "was started in another PID namespace, where it cannot be judged from here"
        if reading.state in ("garbage", "unreadable"):
            return "stale", f"PID file {reading.path} {reading.reason}"
        if reading.pid is not None:
            row = self._seen.table.processes.get(reading.pid)
            whose = (
                f"({command_line(row)}), which is not its" if row is not None and not row.gone else "which is dead"
            )
            return "stale", f"PID file {reading.path} names PID {reading.pid} {whose}".rstrip()
        if holder is not None:
            return "foreign", None
        return "stopped", None

    def _running(self, service: Service, standing: Stand, holder: Holder | None) -> tuple[State, str | None]:
        main = standing.main
        by_hand = "started by hand" if standing.by_hand else None
        needs_port = service.port is not None and service.listener == "ours"
        if service.ready.log is not None or service.ready.command is not None:
            needs_port = False  # what it waits for says nothing about the port
        if main is None or not needs_port or service.port is None:
            return "running", by_hand
        holders = self._seen.holders(service.port) or ()
        if not {match.process.pid for match in self._seen.of(service.name)}.isdisjoint(holders):
            return "running", by_hand
        if holder is not None:
            return "foreign", f"it runs, but port {service.port} is somebody else's"
        age = self._world.now() - self._world.started_at(main)
        if age < service.ready.timeout_seconds:
            return "starting", f"does not listen on port {service.port} yet"
        return "unhealthy", f"it lives, but does not listen on port {service.port}"

    def _holder(self, service: Service) -> Holder | None:
        """The stranger on one of its ports, if there is one."""
        if service.listener == "any":
            return None
        mine = {match.process.pid for match in self._seen.of(service.name)}
        for port in service.ports:
            holders = self._seen.holders(port)
            if holders is None or not mine.isdisjoint(holders):
                continue
            if not holders:
                return Holder(pid=None, command="a process that we may not see", cwd=None)
            row = self._row(holders[0])
            details = self._world.details([holders[0]]).get(holders[0])
            return Holder(
                pid=holders[0], command=command_line(row) if row else "?", cwd=details.cwd if details else None
            )
        return None

    # --- show-processes -----------------------------------------------------------------------------------

    def processes(self, services: Iterable[Service], *, everything: bool) -> Processes:
        """Every process, with its evidence; `everything`: also of services that are configured no more."""
        chosen = tuple(services)
        names = [service.name for service in chosen]
        if everything:
            names += [name for name in self._seen.matches if name not in names]
        pids = [match.process.pid for name in names for match in self._seen.of(name)]
        ports = self._world.ports_of(pids) if self._seen.pids() else {}
        details = self._world.details(pids)
        groups = []
        for name in names:
            rows = tuple(
                ProcessRow(
                    pid=match.process.pid,
                    ppid=match.process.ppid,
                    command=command_line(match.process),
                    cwd=details[match.process.pid].cwd if match.process.pid in details else None,
                    started_at=self._world.started_at(match.process),
                    cpu_percent=self._meter.percents.get(match.process.pid),
                    rss_bytes=self._meter.rss_bytes.get(match.process.pid),
                    ports=ports.get(match.process.pid, ()),
                    evidence=self._seen.judge.evidence(match),
                )
                for match in sorted(self._seen.of(name), key=lambda match: match.process.start)
            )
            groups.append(ProcessGroup(name=name, processes=rows, guarantee=self._guarantee(name)))
        inside = {service.name: service for service in chosen if service.contained}
        if inside:
            from devtasks.engines import contained

            groups = [contained.processes(inside[one.name]) if one.name in inside else one for one in groups]
        return Processes(
            project=self._project.name,
            services=tuple(groups),
            rejected=tuple(
                rejected_row(self._world, item) for item in self._seen.rejections if item.service in names
            ),
        )

    def _guarantee(self, name: str) -> str | None:
        """What makes sure that nothing of a run gets away."""
        matches = self._seen.of(name)
        if not matches:
            return None
        if any(match.process.pid in self._seen.judge.facts.cgroup_members for match in matches):
            return "cgroup: nothing it starts can leave"
        if self._seen.runners.get(name):
            return "runner: adopts whatever it starts"
        tops = {row.pid for row in roots(matches)}
        if any(match.proven for match in matches if match.process.pid in tops):
            if all(service.name != name for service in self._project.services):  # a monitor never had a runner
                return "marker and descent"
            return "marker and descent: its runner is gone, so what cleared its environment may get away"
        return "port and pattern: it was not started by devtasks"

    # --- explain ------------------------------------------------------------------------------------------

    def explain(self, pids: Iterable[int]) -> ExplainReport:
        """Every rule for each of `pids`. Raises UsageError for one that does not exist."""
        return ExplainReport(explanations=tuple(self._explanation(pid) for pid in pids))

    def _explanation(self, pid: int) -> Explanation:
        row = self._seen.table.processes.get(pid)
        if row is None or row.gone:
            raise UsageError(f"no process has PID {pid}")
        judge = self._seen.judge
        verdict = judge.verdict(pid)
        if isinstance(verdict, Match):
            kinds = ", ".join(dict.fromkeys(item.kind for item in judge.evidence(verdict)))
            words = f"ours: service {verdict.service}, by {kinds}"
        elif isinstance(verdict, Rejection):
            words = f"not ours: {verdict.reason}"
        else:
            words = f"not ours: {self._plain_reason(row)}"
        return Explanation(pid=pid, command=command_line(row), verdict=words, rules=judge.explain(pid))

    def _plain_reason(self, row: Process) -> str:
        service = self._seen.judge.run_attended(row)
        if service is not None:
            return f"it is the runner of {service}, which leaves by itself when the service has ended"
        failed = next((rule for rule in self._seen.judge.explain(row.pid)[:4] if not rule.holds), None)
        return failed.detail if failed is not None else "nothing connects it with the project"

    # ------------------------------------------------------------------------------------------------------

    def _row(self, pid: int) -> Process | None:
        return self._seen.table.processes.get(pid) or self._world.reread([pid]).get(pid)


def _told_of_restarts(
    state: State, detail: str | None, restart: RestartStatus, now: float
) -> tuple[State, str | None]:
    """State and detail of a service with what a monitor did about it."""
    from devtasks.phrases import duration

    down = state in ("stopped", "stale", "orphaned")
    why = "; ".join(line for line in (restart.cause or "").splitlines() if not line.startswith("  |"))
    if restart.failed and (down or state in ("running", "unhealthy")):
        until = restart.failed_until
        again = f"; next attempt in {duration(max(0.0, until - now))}" if until is not None else ""
        return "failed" if down else state, f"{why}{again}"
    if down and restart.waits_for is not None:
        return state, f"{why}; it waits for {restart.waits_for}, which it depends on"
    if down and restart.next_at is not None:
        return state, f"{why}; restarting in {duration(max(0.0, restart.next_at - now))}"
    if state == "running" and detail is None and why:
        return state, f"restarted: {why}"
    return state, detail


def rejected_row(world: World, item: Rejection) -> RejectedRow:
    """One that was considered and left alone, for people."""
    pid = item.process.pid
    details = world.details([pid]).get(pid)
    return RejectedRow(
        pid=pid,
        service=item.service,
        command=command_line(item.process),
        reason=item.reason,
        cwd=details.cwd if details else None,
    )


def command_line(process: Process) -> str:
    """A command line on one line, control characters escaped."""
    return logs.printable(" ".join(process.argv)) or "?"
