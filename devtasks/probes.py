"""Ask a service how it is. An answer counts only when the one who gives it is ours (or may be anybody)."""

from __future__ import annotations

import secrets
import socket
from collections.abc import Callable, Collection
from typing import Literal

from devtasks.asking import listener
from devtasks.asking.attempt import Attempt, Finding, Steps, settle
from devtasks.asking.hosts import reachable
from devtasks.asking.loglines import Heartbeat, NewLines
from devtasks.errors import DevtasksError
from devtasks.health import Answer
from devtasks.model import HealthProbe, Project, ReadyProbe, Service
from devtasks.ownership import make_marker, probe_of
from devtasks.store.logs import LogWatch
from devtasks.world import World

Kind = Literal["http", "tcp", "log", "command", "port", "alive"]


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
    `seconds` replaces the probe's own timeout. With `log`, lines count from there on, and one is enough for ever;
    without, a line has to come between two probes.
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
        self._label = f"{project.name}/{service.name}"
        self._seconds = self.probe.timeout_seconds if seconds is None else seconds
        self._lines: NewLines | Heartbeat | None = None
        if self.probe.log is not None and log is not None:
            self._lines = NewLines(self.probe.log, log)
        elif self.probe.log is not None:
            interval = self.probe.interval_seconds if isinstance(self.probe, HealthProbe) else 0.0
            self._lines = Heartbeat(self.probe.log, service.log_file, interval, world.now)

    @property
    def name(self) -> str:
        """What is asked, for people."""
        if self.probe.http is not None:
            return f"GET {self.probe.http}"
        return " ".join(self.probe.command) if self.probe.command is not None else f"the {self.kind} probe"

    def ask(self, members: Collection[int]) -> Answer:
        """Ask and wait for the answer, at most the probe's timeout (and a second, in which a command's tree dies).

        `members` are the PIDs of the service's processes, as just observed: whoever is neither among them nor
        their descendant is somebody else. Blocks; may be called in any thread. Interrupted, it ends what it began.
        """
        (answer,) = settle([self.begin(members)])
        return answer

    def begin(self, members: Collection[int], *, seconds: float | None = None) -> Attempt:
        """Look whose the listener is, and begin to ask. The time counts from the first step on.

        Drive it by `advance`, whenever what it waits for may be there, or by `settle`.
        """
        limit = self._seconds if seconds is None else seconds
        try:
            steps, overdue, more = self._question(frozenset(members), limit)
        except OSError as error:  # no descriptor is left to look with
            problem = Finding("unknown", f"cannot be asked: {error.strerror or error}")
            steps, overdue, more = _found(problem), "", 0
        return Attempt(self.kind, steps, seconds=limit + more, overdue=overdue, clock=self._world.monotonic)

    # ------------------------------------------------------------------------------------------------------

    def _question(self, members: frozenset[int], seconds: float) -> tuple[Steps, str, float]:
        """The question, what is said when it has no answer in time, and the seconds it may take beyond that."""
        within = f"within {seconds:g} s"
        if not members and self._service.listener == "ours":
            return _found(self._absence()), "", 0
        match self.kind:
            case "http":
                return self._http(members, seconds), f"{self.name}: no complete answer {within}", 0
            case "tcp":
                return self._tcp(members), f"port {self._service.port} accepts no connection {within}", 0
            case "log" if self._lines is not None:
                steps = self._lines.ask(seconds / 2, self._label)
                return steps, f"the log could not be searched for {self.probe.log} {within}", 0
            case "command":
                from devtasks.asking.commands import ENDING_SECONDS

                name = (self.probe.command or ("",))[0]
                return self._command(seconds), f"{name}: does not end, nor can be ended", ENDING_SECONDS
            case "port":
                port = self._service.port or 0
                found = self._look(port, members).objection or Finding("healthy", f"listens on port {port}")
                return _found(found), "", 0
            case _:
                return _found(Finding("healthy", "it lives")), "", 0

    def _absence(self) -> Finding:
        """Nothing of it runs; whether somebody else is in its place."""
        port = self._service.port
        objection = None if port is None else listener.look(self._world, port, ()).objection
        if objection is None or objection.state == "unhealthy":
            return Finding("unhealthy", "it does not run")
        return objection

    def _http(self, members: frozenset[int], seconds: float) -> Steps:
        from devtasks.asking.expressions import Expression
        from devtasks.asking.fetching import target
        from devtasks.asking.questions import by_http

        try:
            where = target(self.probe.http or "/", reachable(self._service.host), self._service.port)
        except ValueError as error:
            return _found(Finding("unknown", f"{self.name}: {error}"))
        look = self._look(where.port, members)
        if look.objection is not None:
            return _found(look.objection)
        body = None if self.probe.body is None else Expression(self.probe.body)
        check = self._check(members, look)
        return by_http(self.probe, where, body, check, seconds=seconds / 2, label=self._label)

    def _tcp(self, members: frozenset[int]) -> Steps:
        from devtasks.asking.questions import by_tcp

        port = self._service.port or 0
        look = self._look(port, members)
        if look.objection is not None:
            return _found(look.objection)
        return by_tcp(reachable(self._service.host), port, self._check(members, look))

    def _look(self, port: int, members: frozenset[int]) -> listener.Look:
        if self._service.listener == "ours":
            return listener.look(self._world, port, members)
        if self.kind == "port" and port not in self._world.listening([port]):
            return listener.Look(listener.nobody(port))
        return listener.Look(None)

    def _check(self, members: frozenset[int], look: listener.Look) -> Callable[[socket.socket], None]:
        def check(connection: socket.socket) -> None:
            if self._service.listener == "ours":
                listener.check(self._world, connection, members, shared=look.shared)

        return check

    def _command(self, seconds: float) -> Steps:
        from devtasks import launching
        from devtasks.asking import commands

        service, command = self._service, self.probe.command or ()
        marker = make_marker(self._project, probe_of(service.name), secrets.token_hex(8))
        try:
            env = launching.environment(service, self._project, marker)
            program = launching.find_program(command[0], service, env)
        except DevtasksError as error:
            return _found(Finding("unknown", error.message))
        return commands.run(command, program=program, cwd=service.cwd, env=env, seconds=seconds, label=self._label)


def _found(finding: Finding) -> Steps:
    return finding
    yield  # a generator
