"""The values the program passes on: frozen, without behaviour that touches the machine.

Names carry units (`_seconds`, `_bytes`). Paths are absolute and real once a Project is built. Every
collection is a tuple or an immutable mapping, so that a decision can be replayed from its inputs.
"""

from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Literal, NamedTuple

from devtasks.values import Value

# --- what was declared -------------------------------------------------------------------------------


class StopPolicy(Value):
    """How a service is asked to end. The signals share `timeout_seconds` equally, each tried in turn."""

    signals: tuple[str, ...] = ("TERM",)  # names without SIG
    timeout_seconds: float = 5.0
    kill: bool = True


class ReadyProbe(Value):
    """When a started service counts as ready. Without a kind: it listens on its port, or else it lives."""

    http: str | None = None  # path or URL
    status: tuple[int, ...] = ()  # accepted answers; empty: 200-399
    body: str | None = None  # regex that the body must contain
    tcp: bool = False
    log: str | None = None  # regex that a new log line must contain
    command: tuple[str, ...] | None = None
    timeout_seconds: float = 30.0


class HealthProbe(Value):
    """What a watcher asks a running service, with Kubernetes' meanings."""

    http: str | None = None
    status: tuple[int, ...] = ()
    body: str | None = None
    tcp: bool = False
    log: str | None = None
    command: tuple[str, ...] | None = None
    interval_seconds: float = 10.0
    timeout_seconds: float = 2.0
    failures: int = 3
    start_period_seconds: float = 0.0


class RestartPolicy(Value):
    """When a watcher starts a service again: at most `max` times in any `window_seconds`."""

    policy: Literal["always", "on-failure", "never"] = "on-failure"
    max: int = 5
    window_seconds: float = 600.0
    backoff_seconds: float = 1.0
    max_backoff_seconds: float = 60.0
    cooldown_seconds: float = 600.0
    memory_above_bytes: int | None = None


class Limits(Value):
    """What a service may use at most. None: what the caller may."""

    nofile: int | None = None  # open files of a process
    nproc: int | None = None  # processes and threads of the user
    memory_bytes: int | None = None  # of the whole service
    cpu: float | None = None  # of the whole service; 1.5 is one and a half CPUs


class Service(Value):
    """One process tree the project wants to run.

    A service with `instances = 3` becomes three of these, `name` NAME.1 to NAME.3 and `group` NAME; tasks and
    flags take either. {host}, {port} and {instance} are already replaced everywhere.
    """

    name: str
    group: str
    instance: int = 1
    command: tuple[str, ...]  # the words of argv; with `shell`, one string for sh -c
    shell: bool = False
    cwd: Path
    env: Mapping[str, str] = MappingProxyType({})  # `env` only; `env_file` is read at each start
    env_file: Path | None = None
    before: tuple[tuple[str, ...], ...] = ()
    host: str = "127.0.0.1"
    ports: tuple[int, ...] = ()
    pid_file: Path
    daemon_pid_file: Path | None = None
    log_file: Path
    patterns: tuple[str, ...] = ()  # checked regexes, matched from the program on
    patterns_derived: bool = False  # from the command, not written by the user
    stdin: Literal["open", "null"] = "open"
    depends_on: tuple[str, ...] = ()  # names of groups
    stop: StopPolicy = StopPolicy()
    ready: ReadyProbe = ReadyProbe()
    health: HealthProbe | None = None
    listener: Literal["ours", "any"] = "ours"
    restart: RestartPolicy = RestartPolicy()
    log_max_bytes: int | None = None
    limits: Limits = Limits()
    container: str | None = None  # the container that it is, or
    compose: str | None = None  # the compose service: then it has no command, and the engine does all that is done
    engine: str | None = None  # docker or podman; None: whichever is there
    data: tuple[Path, ...] = ()  # folders that outlive it: volumes, where it runs in a container

    @property
    def contained(self) -> bool:
        """It is a container: nothing of it is a process of ours."""
        return self.container is not None or self.compose is not None

    @property
    def port(self) -> int | None:
        """The port that {port} stands for."""
        return self.ports[0] if self.ports else None


class HostGroup(Value):
    """Other hosts that run the project, by one name. Each is written [USER@]HOST[:PORT]."""

    name: str
    hosts: tuple[str, ...]
    path: str | None = None  # of the project there; a relative one starts at the login's home
    command: tuple[str, ...] = ("devtasks",)


class Project(Value):
    """A root folder and what is to run in it."""

    name: str
    root: Path
    digest: str  # of the root's real path: the first part of every marker
    state_dir: Path
    environment: str = "development"  # lower case, stripped
    services: tuple[Service, ...] = ()
    hosts: tuple[HostGroup, ...] = ()
    on_event: tuple[str, ...] = ()  # the words of a command that is told what a monitor notices
    source: str  # for people: "pyproject.toml", or what the services were inferred from

    @property
    def inferred(self) -> bool:
        """Whether its services stand in no table."""
        return "inferred" in self.source

    @property
    def production(self) -> bool:
        """Production forbids whatever rests on `port` or `pattern` alone."""
        return self.environment in ("production", "prod")


# --- what was observed -------------------------------------------------------------------------------


class Identity(NamedTuple):
    """One process for all time: a PID alone is reused, and so is a boot's clock."""

    boot: str  # boot id of the kernel
    namespace: int  # inode of the PID namespace
    pid: int
    start: int  # start time as the world counts it (Linux: clock ticks since boot)


class Process(NamedTuple):
    """One row of the process table, as read in one look. Nothing here follows the process afterwards."""

    pid: int
    ppid: int
    session: int
    terminal: int  # controlling terminal's device number, 0 for none
    state: str  # the kernel's letter; "Z" only when every thread is a zombie
    start: int
    cmdline: bytes  # as the kernel gives it, NUL-separated; empty when it has none or cannot be read
    marker: str | None  # value of DEVTASKS_ID
    keep: bool  # DEVTASKS_KEEP=1
    runner: bool  # DEVTASKS_RUNNER is set: the parent of a run, never a target
    kernel: bool = False  # a kernel thread
    blurred: bool = False  # neither command line nor environment showed: in the middle of an exec

    @property
    def argv(self) -> tuple[str, ...]:
        """The argument vector, undecodable bytes kept as surrogates."""
        raw = self.cmdline.rstrip(b"\0")
        return tuple(part.decode("utf-8", "surrogateescape") for part in raw.split(b"\0")) if raw else ()

    @property
    def gone(self) -> bool:
        """Nothing of it runs any more."""
        return self.state in ("Z", "X")


class Details(Value):
    """What is read of candidates only. None: could not be read, which proves nothing."""

    cwd: str | None = None
    exe: str | None = None
    uid: int | None = None
    namespaces: tuple[int, int, int] | None = None  # pid, mnt, net


class Endpoint(NamedTuple):
    """One socket that has a port of its own. Two of them may share port and address (SO_REUSEPORT)."""

    protocol: Literal["tcp", "udp"]
    port: int
    address: str  # in numbers; 0.0.0.0 and :: stand for every address
    dual: bool = False  # :: that takes IPv4 connections, too
    inode: int = 0  # what names the socket; 0 where the system does not tell
    uid: int | None = None  # whose it is


class Snapshot(Value):
    """The process table at one moment."""

    boot: str
    namespace: int
    processes: Mapping[int, Process]
    cursor: int | None  # the last PID the kernel gave out before the scan began; None: cannot be trusted
    generation: int = 0  # how many looks this one builds on
    restless: frozenset[int] = frozenset()  # PIDs whose rows a later look does not take over
    unseen: tuple[int, ...] = ()  # PIDs that were given out and showed nothing yet: looked up once more

    def identity(self, process: Process) -> Identity:
        return Identity(self.boot, self.namespace, process.pid, process.start)


class Run(Value):
    """One start of a service, as the state remembers it. `main` is None between intent and spawn."""

    nonce: str
    service: str
    boot: str
    namespace: int
    started_at: float  # seconds since the epoch
    main: Identity | None = None
    runner: Identity | None = None
    session: int | None = None
    cgroup: str | None = None  # the folder of the cgroup made for the run
    port: int | None = None
    pid_file: str | None = None  # where this run wrote its PID, if it did
    ended_at: float | None = None
    exit_code: int | None = None  # negative: the signal that ended it; None with ended_at: unknown
    cause: str | None = None  # stopped, exited, not-ready; of one that has not ended: stopping


# What one probe finds, and what its answers say together (health.py).
Verdict = Literal["healthy", "unhealthy", "foreign", "unknown"]
Condition = Literal["starting", "healthy", "unhealthy", "foreign", "unknown"]


class LogLine(NamedTuple):
    """One line of a service's log, printable. `at`: when it was written, as well as that is known."""

    service: str
    line: str
    at: float | None = None  # seconds since the epoch


# --- what was decided --------------------------------------------------------------------------------

EvidenceKind = Literal["pid-file", "marker", "descendant", "cgroup", "session", "port", "pattern", "container"]


class Evidence(NamedTuple):
    """One reason why a process is ours."""

    kind: EvidenceKind
    detail: str


class Rule(NamedTuple):
    """One rule of the ownership contract, applied to one process. `holds` None: could not be told."""

    rule: str
    holds: bool | None
    detail: str


class Match(NamedTuple):
    """A process that is ours, the service it belongs to, and why."""

    process: Process
    service: str
    evidence: tuple[Evidence, ...]

    @property
    def proven(self) -> bool:
        """By evidence that is enough alone: production allows acting on it."""
        return any(item.kind not in ("port", "pattern") for item in self.evidence)


class Rejection(NamedTuple):
    """A process that looked like a service's and is left alone, and why."""

    process: Process
    service: str
    reason: str
