"""What a verb tells: one value a verb, rendered as text or JSON by `report/`.

The keys of the JSON shapes in docs/json.md are these fields; whatever else is here is for people.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Literal

from devtasks.model import Condition, Evidence, LogLine, Rule
from devtasks.values import Row, Value

if TYPE_CHECKING:
    from devtasks.store.events import Event

State = Literal[
    "running", "starting", "unhealthy", "stopped", "stale", "orphaned", "failed", "foreign", "elsewhere"
]
Outcome = Literal["started", "already-running", "not-ready", "exited", "refused"]


class Holder(Value):
    """A stranger on one of our ports. `pid` None: somebody we may not see."""

    pid: int | None
    command: str
    cwd: str | None


class RestartStatus(Value):
    """What a monitor did about a service, and will do. Moments are in seconds since the epoch."""

    policy: str
    max: int
    window_seconds: float
    left: int  # restarts that may follow at once
    next_at: float | None  # of a restart that was decided, while somebody watches
    waits_for: str | None  # what it depends on, and is not ready
    failed: bool  # restarting was given up
    failed_until: float | None  # None while failed: until someone starts it
    cause: str | None  # why it ended last, in lines


class ServiceStatus(Value):
    name: str
    state: State
    health: Condition | None  # None: nobody wants it asked, or it does not run
    pid: int | None
    ports: tuple[int, ...]
    uptime_seconds: float | None
    restarts: int
    cpu_percent: float | None
    rss_bytes: int | None
    processes: int
    holder: Holder | None
    detail: str | None = None  # one line for people: why it is stale, failed, foreign …
    restart: RestartStatus | None = None  # None: nobody watches, or has watched, it


class Status(Value):
    project: str
    environment: str
    services: tuple[ServiceStatus, ...]

    @property
    def check(self) -> int:
        """The LSB exit code of `status --check`."""
        states = {row.state for row in self.services} | {row.health for row in self.services}
        if states & {"stale", "orphaned", "unhealthy", "failed"}:
            return 1
        if states & {"stopped", "foreign"}:
            return 3
        return 4 if states & {"elsewhere", "starting", "unknown"} else 0


class Trail(Value):
    """What was seen of one service before, oldest first; the last is the frame's own. Nothing seen is 0."""

    cpu_percent: tuple[float, ...]
    rss_bytes: tuple[float, ...]
    memory_above_bytes: int | None = None  # from where on a watcher restarts it


class Frame(Value):
    """One look of a live view, at `at` seconds since the epoch."""

    at: float
    status: Status
    trails: Mapping[str, Trail]  # by service


class ProcessRow(Value):
    pid: int
    ppid: int
    command: str
    cwd: str | None
    started_at: float
    cpu_percent: float | None
    rss_bytes: int | None
    ports: tuple[int, ...]
    evidence: tuple[Evidence, ...]


class ProcessGroup(Value):
    name: str
    processes: tuple[ProcessRow, ...]
    guarantee: str | None = None  # what holds the run together: cgroup, runner, or marker alone


class RejectedRow(Value):
    """Considered and left alone. `cwd` is for people."""

    pid: int
    service: str
    command: str
    reason: str
    cwd: str | None = None


class Processes(Value):
    project: str
    services: tuple[ProcessGroup, ...]
    rejected: tuple[RejectedRow, ...]


class Started(Value):
    """`detail` says in a line what went wrong or was noticed; `log_tail` are the service's last words."""

    name: str
    outcome: Outcome
    pid: int | None
    seconds: float
    url: str | None = None
    log_file: str | None = None
    detail: str | None = None
    hint: str | None = None
    log_tail: tuple[str, ...] = ()
    exit_code: int = 0  # of the command, if this outcome decides it


class StartReport(Value):
    ok: bool
    dry_run: bool
    services: tuple[Started, ...]

    @property
    def exit_code(self) -> int:
        return max((item.exit_code for item in self.services), default=0)


class Survivor(Value):
    pid: int
    reason: str


class Stopped(Value):
    """How each process of one service ended. In a dry run `stopped` (or, by force, `killed`) is the plan."""

    name: str
    stopped: tuple[int, ...] = ()
    killed: tuple[int, ...] = ()
    survivors: tuple[Survivor, ...] = ()
    rejected: tuple[RejectedRow, ...] = ()
    commands: tuple[tuple[int, str], ...] = ()  # PID and command line of all of the above, for people
    notes: tuple[str, ...] = ()  # lines for people: a stale PID file, a port still held …
    removed: tuple[str, ...] = ()  # files
    containers: tuple[str, ...] = ()  # that the engine stopped, or would stop
    failure: str | None = None  # why the engine did not


class StopReport(Value):
    ok: bool
    dry_run: bool
    seconds: float
    services: tuple[Stopped, ...]
    notes: tuple[str, ...] = ()  # lines for people that belong to no service

    @property
    def exit_code(self) -> int:
        return 0 if self.ok else 1


class RestartReport(Value):
    ok: bool
    stop: StopReport
    start: StartReport

    @property
    def exit_code(self) -> int:
        return max(self.stop.exit_code, self.start.exit_code)


class ServeReport(Value):
    """A server that has ended as it was asked to; in a dry run, what would be done.

    `exit_code` is 128 and the signal's number when this command was asked, 0 when somebody else stopped it.
    """

    ok: bool
    dry_run: bool
    name: str
    app: str
    url: str
    pid: int | None
    seconds: float
    exit_code: int
    stop: StopReport  # what was ended: at the end, or in a dry run to make room


class DashboardReport(Value):
    """Where the dashboard is; in a dry run, where it would be. `url` opens it once; `base` is without a token."""

    dry_run: bool
    url: str | None
    base: str
    uds: str | None
    pid: int | None
    already: bool  # another command serves it
    managed: bool  # in the background
    token_file: str | None
    log_file: str | None


class Running(Value):
    service: str
    pid: int


class CleanReport(Value):
    dry_run: bool
    removed: tuple[str, ...]
    running: tuple[Running, ...]
    notes: tuple[str, ...] = ()


class Explanation(Value):
    """Every rule applied to one process. `verdict` begins with "ours" or "not ours"."""

    pid: int
    command: str
    verdict: str
    rules: tuple[Rule, ...]


class ExplainReport(Value):
    """One process by PID, or all holders of a port."""

    explanations: tuple[Explanation, ...]


class LogProblem(Value):
    """Why a service's log is not shown. It is a failure when there is one that cannot be read."""

    service: str
    detail: str
    failure: bool


class LogLines(Value):
    """What the logs of `services` hold, in the order of time."""

    lines: tuple[LogLine, ...]
    services: tuple[str, ...] = ()
    problems: tuple[LogProblem, ...] = ()

    @property
    def exit_code(self) -> int:
        return 1 if any(problem.failure for problem in self.problems) else 0


class History(Value):
    """What happened, oldest first."""

    project: str
    events: tuple[Event, ...]


PortState = Literal["free", "ours", "foreign", "container", "unknown"]


class PortHolder(Value):
    """One process on a port; `pid` None: somebody whom we may not see."""

    pid: int | None
    command: str
    cwd: str | None
    service: str | None  # of this project
    program: str = ""  # what really runs: of an interpreter, its script or module
    user: str | None = None
    age_seconds: float | None = None
    project: str | None = None  # the root of the other project it belongs to, as far as that can be told
    project_service: str | None = None  # the service it is there
    container: str | None = None  # that it holds the port for
    stop: str | None = None  # the command that makes a container give it up
    addresses: tuple[str, ...] = ()


class PortRow(Value):
    """One port. `name`: what the service that opened it at run time calls it."""

    port: int
    protocol: Literal["tcp", "udp"]
    service: str | None
    state: PortState
    holders: tuple[PortHolder, ...] = ()
    warnings: tuple[str, ...] = ()
    name: str | None = None


class Ports(Value):
    project: str
    ports: tuple[PortRow, ...]


class Proposal(Value):
    """The table that `init` wrote to `path`, or would write: then `path` is None."""

    content: str
    path: str | None = None

    @property
    def written(self) -> bool:
        return self.path is not None


class Exported(Row):
    """What became of one key: where it went, or why it went nowhere."""

    key: str
    detail: str


class ExportedService(Value):
    name: str
    mapped: tuple[Exported, ...]
    unmapped: tuple[Exported, ...]


class ExportedFile(Value):
    """One file. `state` is what was there: "new" (nothing), "unchanged", "outdated" (ours), "edited" (ours, by
    hand) or "foreign" (not ours); or "stale": only an earlier export wrote it.
    """

    path: str
    state: str


class ExportReport(Value):
    """What an export wrote to the folder `output`; with `check`, or in a dry run, what it would write."""

    target: str
    output: str
    written: bool
    check: bool
    files: tuple[ExportedFile, ...]
    services: tuple[ExportedService, ...]
    remarks: tuple[Exported, ...]  # on the whole project
    commands: tuple[str, ...]  # to install and use it

    @property
    def ok(self) -> bool:
        """Whether the files are, now, what this export makes of the project."""
        return self.written or all(file.state == "unchanged" for file in self.files)

    @property
    def exit_code(self) -> int:
        return 1 if self.check and not self.ok else 0


HostOutcome = Literal[
    "answered", "failed", "unreachable", "unverified", "denied", "timeout",
    "no-devtasks", "other-version", "garbled", "interrupted",
]  # fmt: skip


class HostAnswer(Value):
    """What one host said. `report` is the JSON of the devtasks there, checked and escaped; None without one."""

    name: str
    group: str | None
    outcome: HostOutcome
    exit_code: int
    seconds: float
    detail: str | None = None
    hint: str | None = None
    report: Mapping[str, Any] | None = None


class FleetReport(Value):
    """One verb on several hosts, in the order in which they were named."""

    verb: str
    dry_run: bool
    checking: bool  # status --check: the exit codes mean what the LSB says
    hosts: tuple[HostAnswer, ...]

    @property
    def exit_code(self) -> int:
        """The worst of all hosts: of `status --check` the first that applies of 2, 1, 3, 4, else the highest."""
        codes = {answer.exit_code for answer in self.hosts}
        if self.checking:
            return next((code for code in (2, 1, 3, 4) if code in codes), max(codes, default=0))
        return max(codes, default=0)


class HealthRow(Value):
    """What a probe found; starting: it failed, and failures do not count yet."""

    name: str
    health: Condition
    probe: str
    seconds: float
    detail: str


class HealthReport(Value):
    """`ok`: every service is healthy."""

    services: tuple[HealthRow, ...]

    @property
    def ok(self) -> bool:
        return all(row.health == "healthy" for row in self.services)

    @property
    def exit_code(self) -> int:
        return 0 if self.ok else 1


class MonitorReport(Value):
    """Who watches. started: in the background, by this command; ended: it was this command, and it was asked to.

    `since` in seconds since the epoch, where it is known. In a dry run `started` and `stopped` are what would be.
    """

    state: Literal["watching", "started", "ended", "stopped", "not-watching"]
    pid: int | None
    since: float | None
    services: tuple[str, ...] = ()
    log_file: str | None = None
    dry_run: bool = False
    exit_code: int = 0


Looked = HealthReport | Status | Frame | Processes | ExplainReport | LogLines | History | Ports
Acted = (
    StartReport
    | StopReport
    | RestartReport
    | ServeReport
    | DashboardReport
    | CleanReport
    | Proposal
    | ExportReport
    | MonitorReport
)
Anything = Looked | Acted | FleetReport
