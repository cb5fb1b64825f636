"""Ask a service how it is. An answer counts only when the one who gives it is ours (or may be anybody)."""

from __future__ import annotations

import os
import secrets
import socket
from collections.abc import Collection, Sequence
from typing import Literal

from devtasks.asking import listener
from devtasks.asking.attempt import Attempt, Finding, Steps, settle
from devtasks.asking.expressions import Expression
from devtasks.asking.hosts import reachable, refusal
from devtasks.asking.link import Doing
from devtasks.asking.listener import NotOurs
from devtasks.errors import DevtasksError
from devtasks.health import Answer
from devtasks.model import HealthProbe, Project, ReadyProbe, Service
from devtasks.ownership import make_marker, probe_of
from devtasks.store.logs import LogWatch, since
from devtasks.world import World

Kind = Literal["http", "tcp", "log", "command", "port", "alive"]

_LOG_BYTES = 1024 * 1024  # as much as a LogWatch reads in one look; what is older is skipped
_READY_SECONDS = 2.0  # the first question to a starting service; each that is overdue doubles it
_LONG_SECONDS = 0.5  # for an answer, to be told so
_COMMAND_PAUSE_SECONDS = 0.1  # between two readiness commands, at least


def kind_of(probe: ReadyProbe | HealthProbe, service: Service) -> Kind:
    """How a probe asks. Without a kind: whether a process of ours listens, or (without a port) lives."""
    if probe.http is not None:
        return "http"
    if probe.log is not None:
        return "log"
    if probe.command is not None:
        return "command"
    if probe.tcp:
        return "tcp"
    return "port" if service.port is not None else "alive"


class Prober:
    """Asks one service. One probe at a time: begin the next when the last one has its answer.

    Without `probe` it asks what the service's `health` says, and where there is none, whether it listens or lives.
    `seconds` replaces the probe's own timeout, `log` the place in the log from which on lines count.
    """

    def __init__(
        self,
        world: World,
        project: Project,
        service: Service,
        *,
        probe: ReadyProbe | HealthProbe | None = None,
        seconds: float | None = None,
        log: LogWatch | None = None,
    ) -> None:
        self.probe = probe or service.health or HealthProbe()
        self.kind = kind_of(self.probe, service)
        self._world = world
        self._project = project
        self._service = service
        self._seconds = self.probe.timeout_seconds if seconds is None else seconds
        self._interval = self.probe.interval_seconds if isinstance(self.probe, HealthProbe) else 0.0
        self._log = log
        self._log_size = 0
        self._log_seen = False
        self._log_hard = False  # some lines could not be searched in time
        self._expression: Expression | None = None

    @property
    def name(self) -> str:
        """What is asked, for people."""
        if self.probe.http is not None:
            return f"GET {self.probe.http}"
        return " ".join(self.probe.command) if self.probe.command is not None else f"the {self.kind} probe"

    def ask(self, members: Collection[int]) -> Answer:
        """Ask and wait for the answer, at most the probe's timeout (and a second, in which a command's tree dies).

        `members` are the PIDs of the service's processes, as just observed: whoever is not among them is somebody
        else. Blocks; may be called in any thread. Interrupted, it ends what it began and raises.
        """
        (answer,) = settle([self.begin(members)], self._world.monotonic)
        return answer

    def begin(self, members: Collection[int], *, seconds: float | None = None) -> Attempt:
        """Begin without blocking: drive it by `advance`, whenever its `wait` may be over, or by `settle`."""
        limit = self._seconds if seconds is None else seconds
        steps, overdue, more = self._question(frozenset(members), limit)
        return Attempt(self.kind, steps, seconds=limit + more, overdue=overdue, clock=self._world.monotonic)

    # ------------------------------------------------------------------------------------------------------

    def _question(self, members: frozenset[int], seconds: float) -> tuple[Steps, str, float]:
        """The question, what is said when it has no answer in time, and the seconds it may take beyond that."""
        service = self._service
        within = f"within {seconds:g} s"
        if not members and service.listener == "ours":
            return self._absent(), "", 0
        match self.kind:
            case "http":
                return self._http(members, seconds), f"GET {self.probe.http}: no complete answer {within}", 0
            case "tcp":
                return self._tcp(members), f"port {service.port} accepts no connection {within}", 0
            case "log":
                return self._logged(seconds), f"the log could not be searched for {self.probe.log} {within}", 0
            case "command":
                from devtasks.asking.commands import ENDING_SECONDS

                name = (self.probe.command or ("",))[0]
                return self._command(seconds), f"{name}: does not end, nor can be ended", ENDING_SECONDS
            case "port":
                return self._listens(members), "", 0
            case "alive":
                return _found(Finding("healthy", "it lives")), "", 0

    def _absent(self) -> Steps:
        """Nothing of it runs; whether somebody else is in its place."""
        port = self._service.port
        objection = None if port is None else listener.before(self._world, port, ())
        if objection is None or objection.state == "unhealthy":
            return Finding("unhealthy", "it does not run")
        return objection
        yield  # a generator

    def _http(self, members: frozenset[int], seconds: float) -> Steps:
        from devtasks.asking import fetching

        probe, url = self.probe, self.probe.http or "/"
        try:
            target = fetching.target(url, reachable(self._service.host), self._service.port)
        except ValueError as error:
            return Finding("unknown", f"{url}: {error}")
        objection = self._objection(target.port, members)
        if objection is not None:
            return objection
        try:
            reply = yield from fetching.fetch(target, lambda connection: self._check(connection, members))
        except NotOurs as error:
            return error.finding
        except ConnectionError as error:
            return Finding("unhealthy", refusal(target.host, target.port, error))
        except fetching.BadReply as bad:
            return Finding("unhealthy", f"GET {url}: it {bad}")
        if not (reply.status in probe.status if probe.status else 200 <= reply.status < 400):
            return Finding("unhealthy", f"GET {url} answers {reply.status}")
        if probe.body is not None:
            text = reply.body.decode("utf-8", "replace")
            found = yield from self._search(probe.body, [text], seconds)
            if found is None:
                return Finding("unknown", f"GET {url}: searching the body for {probe.body} takes too long")
            if not found:
                return Finding("unhealthy", f"GET {url}: the body does not match {probe.body}")
        return Finding("healthy", f"GET {url} answers {reply.status}")

    def _tcp(self, members: frozenset[int]) -> Steps:
        from devtasks.asking.connecting import connect

        port = self._service.port or 0
        objection = self._objection(port, members)
        if objection is not None:
            return objection
        host = reachable(self._service.host)
        try:
            connection = yield from connect(host, port)
        except ConnectionError as error:
            return Finding("unhealthy", refusal(host, port, error))
        with connection:
            try:
                self._check(connection, members)
            except NotOurs as error:
                return error.finding
        return Finding("healthy", f"port {port} accepts connections")

    def _listens(self, members: frozenset[int]) -> Steps:
        port = self._service.port or 0
        return self._objection(port, members) or Finding("healthy", f"listens on port {port}")
        yield  # a generator

    def _objection(self, port: int, members: frozenset[int]) -> Finding | None:
        if self._service.listener == "ours":
            return listener.before(self._world, port, members)
        if self.kind == "port" and port not in self._world.listening([port]):
            return Finding("unhealthy", f"nobody listens on port {port}")
        return None

    def _check(self, connection: socket.socket, members: frozenset[int]) -> None:
        if self._service.listener == "ours":
            listener.after(self._world, connection, members)

    def _logged(self, seconds: float) -> Steps:
        """A starting service: a line since its start. A running one: a line since the last probe."""
        path, wanted = self._service.log_file, self.probe.log or ""
        starting = isinstance(self.probe, ReadyProbe)
        if self._log_seen and starting:
            return Finding("healthy", f"a log line matches {wanted}")
        try:
            status = os.stat(path)
        except OSError as error:
            return Finding("unhealthy", f"the log cannot be read: {error.strerror}")
        if not starting:
            quiet = self._world.now() - status.st_mtime
            if self._log is None and quiet > self._interval:
                return Finding("unhealthy", f"nothing was logged for {quiet:.0f} s")
            if self._log is None or status.st_size - self._log_size > _LOG_BYTES:
                self._log = since(path, max(0, status.st_size - _LOG_BYTES))
            self._log_size = status.st_size
        lines = self._log.new_lines() if self._log is not None else ()
        found = yield from self._search(wanted, lines, seconds)
        if found:
            self._log_seen = True
            return Finding("healthy", f"a log line matches {wanted}")
        self._log_hard = found is None or (starting and self._log_hard)
        if self._log_hard:
            return Finding("unknown", f"searching the log for {wanted} takes too long")
        return Finding("unhealthy", f"no log line matches {wanted}{'' if starting else ' since the last probe'}")

    def _search(self, expression: str, texts: Sequence[str], seconds: float) -> Doing[bool | None]:
        if self._expression is None:
            self._expression = Expression(expression)
        label = f"{self._project.name}/{self._service.name}"
        return self._expression.search(texts, seconds=seconds / 2, label=label)

    def _command(self, seconds: float) -> Steps:
        from devtasks import launching
        from devtasks.asking import commands

        service, command = self._service, self.probe.command or ()
        marker = make_marker(self._project, probe_of(service.name), secrets.token_hex(8))
        try:
            env = launching.environment(service, self._project, marker)
            program = launching.find_program(command[0], service, env)
        except DevtasksError as error:
            return Finding("unknown", error.message)
        label = f"{self._project.name}/{service.name}"
        return (
            yield from commands.run(
                command, program=program, cwd=service.cwd, env=env, seconds=seconds, label=label
            )
        )


def _found(finding: Finding) -> Steps:
    return finding
    yield  # a generator


class Readiness:
    """Whether one starting service is ready yet: asked again and again, never blocking."""

    def __init__(self, world: World, project: Project, service: Service, *, log_offset: int) -> None:
        """`log_offset` is where its new log lines begin."""
        probe = service.ready
        log = since(service.log_file, log_offset) if probe.log is not None else None
        self._prober = Prober(world, project, service, probe=probe, seconds=_READY_SECONDS, log=log)
        self._world = world
        self._seconds = _READY_SECONDS
        self._longest = max(_READY_SECONDS, probe.timeout_seconds)
        self._attempt: Attempt | None = None
        self._not_before = 0.0
        self._said: str | None = None

    def holds(self, members: Collection[int]) -> bool:
        """Go on asking. `members` are the service's processes; `detail` says what is missing."""
        if self._attempt is None:
            if self._world.monotonic() < self._not_before:
                return False
            self._attempt = self._prober.begin(members, seconds=self._seconds)
        attempt = self._attempt
        answer = attempt.advance()
        if answer is None:
            return False
        self._attempt = None
        self._said = answer.detail
        if attempt.overdue:  # the first answer of all may take its time, and a shorter patience never sees it
            self._seconds = min(2 * self._seconds, self._longest)
        if self._prober.kind == "command":
            self._not_before = self._world.monotonic() + max(_COMMAND_PAUSE_SECONDS, answer.seconds)
        return answer.state == "healthy"

    @property
    def detail(self) -> str:
        """What is missing: the last answer, or that one is long in coming."""
        attempt = self._attempt
        if attempt is not None and (self._said is None or attempt.age >= _LONG_SECONDS):
            return f"{self._prober.name} has not answered yet"
        return self._said or "not asked yet"

    @property
    def attempt(self) -> Attempt | None:
        """The question under way, for whoever waits for it."""
        return self._attempt

    def close(self) -> None:
        """Nobody asks any more. Idempotent."""
        if self._attempt is not None:
            self._attempt.cancel()
            self._attempt = None
