"""One verb on many hosts at once, each in a thread of Fabric's ThreadingGroup; no host stops another."""

from __future__ import annotations

import threading
import time
from contextlib import suppress

from fabric import Config, Connection, ThreadingGroup
from fabric.exceptions import GroupException
from paramiko import SSHException

from devtasks.errors import DevtasksError, Interrupted
from devtasks.outcomes import HostAnswer, HostOutcome
from devtasks.remote import answers, commandline, connecting
from devtasks.remote.plan import Plan
from devtasks.remote.session import Bounds, Said, converse
from devtasks.remote.targets import Target
from devtasks.report import foreign

GRACE_SECONDS = 30.0  # for what is being done on a host when the user interrupts
_VERSION_SECONDS = 10.0
_ALIVE_SECONDS = 20


class Fleet:
    """All hosts of one call."""

    def __init__(self, plan: Plan) -> None:
        self.plan = plan
        self.interrupted = threading.Event()
        self.abandoned = threading.Event()
        self._gate = threading.Semaphore(plan.parallel)
        self._telling = threading.Lock()
        self._done = 0
        config = connecting.settings(plan.connect_seconds)
        self.hosts = [Host(self, target, line, config) for target, line in plan.lines]

    def run(self) -> tuple[HostAnswer, ...]:
        """Ask all hosts, and wait for every answer. Raises nothing of a host's.

        Interrupted, it tells the hosts to end, waits for them, and raises; `answers` has what they said.
        """
        group = ThreadingGroup.from_connections(self.hosts)
        try:
            group.run()
        except GroupException as error:
            raise next(iter(error.result.failed.values())) from None
        except (KeyboardInterrupt, Interrupted):
            self._wind_up()
            raise
        return self.answers()

    def answers(self) -> tuple[HostAnswer, ...]:
        return tuple(host.answer or host.told("interrupted", 130, "was not asked") for host in self.hosts)

    def tell(self, line: str) -> None:
        with self._telling:
            self.plan.tell(line)

    def asked(self, host: Host) -> None:
        """A host is through: say so, with how many are."""
        answer = host.answer
        if answer is None or (self.plan.stream is not None and answer.outcome == "answered"):
            return
        with self._telling:
            self._done += 1
            what = answer.detail if answer.outcome != "answered" and answer.detail else answer.outcome
            if self.plan.stream is not None:
                self.plan.tell(f"{answer.name}: {what}{f'; {answer.hint}' if answer.hint else ''}")
                return
            self.plan.tell(f"{answer.name}: {what} ({answer.seconds:.1f} s, {self._done} of {len(self.hosts)})")

    def enter(self) -> bool:
        """Wait for a turn; False when there is none any more."""
        self._gate.acquire()
        return not self.interrupted.is_set()

    def leave(self) -> None:
        self._gate.release()

    def _wind_up(self) -> None:
        """Tell every command to end, and wait until it has; at a second interruption leave them alone."""
        self.interrupted.set()
        begun = [host for host in self.hosts if host.begun]
        if any(not host.over.is_set() for host in begun):
            self.tell("interrupted: waiting for the hosts to end what they do")
        try:
            for host in begun:
                if not host.connected:
                    host.close()
                host.over.wait(GRACE_SECONDS + 1)
        except (KeyboardInterrupt, Interrupted):
            self.abandoned.set()
        for host in begun:
            if not host.over.is_set():
                host.close()
                host.over.wait(1)


class Host:
    """One host of a call: what ThreadingGroup takes for a connection. `run` raises nothing of the host's."""

    def __init__(self, fleet: Fleet, target: Target, line: str, config: Config) -> None:
        self.fleet = fleet
        self.target = target
        self.line = line
        self.config = config
        self.connection: Connection | None = None
        self.begun = self.connected = self.late = False
        self.over = threading.Event()
        self.answer: HostAnswer | None = None
        self._began = 0.0
        self._last = ""  # line of a stream: the error, if it ends with one

    def run(self) -> None:
        fleet = self.fleet
        if not fleet.enter():
            return fleet.leave()
        self.begun, self._began = True, time.monotonic()
        try:
            self.answer = self._asked()
            fleet.asked(self)
        finally:
            self.over.set()
            fleet.leave()

    def close(self) -> None:
        if self.connection is not None:
            connecting.close(self.connection)

    def told(
        self, outcome: HostOutcome, exit_code: int, detail: str | None = None, hint: str | None = None
    ) -> HostAnswer:
        seconds = time.monotonic() - self._began if self._began else 0.0
        return HostAnswer(
            name=self.target.name,
            group=self.target.group,
            outcome=outcome,
            exit_code=exit_code,
            seconds=seconds,
            detail=detail,
            hint=hint,
        )

    def _asked(self) -> HostAnswer:
        plan = self.fleet.plan
        try:
            self.connection = connecting.connection(self.target.host, self.config, plan.connect_seconds)
        except DevtasksError as error:
            return self.told("unreachable", 1, foreign(error.message), error.hint)
        watchdog = threading.Timer(plan.connect_seconds, self._give_up)
        watchdog.daemon = True
        watchdog.start()
        try:
            self.connection.open()
            self.connection.transport.set_keepalive(_ALIVE_SECONDS)
            channel = self.connection.create_session()
            self.connected = True
            watchdog.cancel()
            return self._judged(self._conversation(channel))
        except Exception as error:  # noqa: BLE001 - whatever paramiko meets there is this host's line
            if self.fleet.interrupted.is_set():
                return self.told("interrupted", 130, "the connection was given up")
            if self.connected and isinstance(error, SSHException | OSError | EOFError):
                return self.told("unreachable", 1, "the connection was lost")
            outcome, detail, hint = connecting.reason(TimeoutError() if self.late else error)
            return self.told(outcome, 1, foreign(detail), hint)
        finally:
            watchdog.cancel()
            self.close()

    def _give_up(self) -> None:
        self.late = True
        self.close()

    def _conversation(self, channel: object) -> Said:
        plan, fleet = self.fleet.plan, self.fleet
        name = self.target.name
        acting = plan.verb in commandline.ACTING
        return converse(
            channel,
            self.line,
            Bounds(
                deadline=None if plan.answer_seconds is None else self._began + plan.answer_seconds,
                most_bytes=answers.MOST_BYTES,
                interrupted=fleet.interrupted,
                abandoned=fleet.abandoned,
                grace_seconds=GRACE_SECONDS,
            ),
            on_output=None if plan.stream is None else self._streamed,
            on_silence=None if plan.stream is None else self._silent,
            on_error=(lambda line: fleet.tell(f"{name}: {foreign(line[:500])}")) if acting else None,
        )

    def _streamed(self, line: str) -> None:
        self._last = line
        stream = self.fleet.plan.stream
        if stream is not None and not stream(self.target.name, line):
            self.fleet.interrupted.set()

    def _silent(self) -> None:
        stream = self.fleet.plan.stream
        if stream is not None and stream.reader_left():
            self.fleet.interrupted.set()

    def _judged(self, said: Said) -> HostAnswer:
        plan = self.fleet.plan
        if said.interrupted:
            ended = "ended there" if said.exit_code is not None else "did not end in time, and may go on there"
            return self.told("interrupted", 130, ended)
        if said.late:
            ended = "and was ended there" if said.exit_code is not None else "and may go on there"
            return self.told(
                "timeout", 1, f"took longer than {plan.answer_seconds:g} s, {ended}", "see --host-timeout"
            )
        if said.too_much:
            return self.told("garbled", 1, f"its answer is longer than {answers.MOST_BYTES // 1024**2} MiB")
        if said.exit_code is None:
            return self.told("unreachable", 1, "the connection was lost")
        if plan.stream is not None and said.exit_code == 0:
            return self.told("answered", 0)
        verdict = answers.judge(plan.verb, said.exit_code, said.stdout or self._last, said.stderr, sudo=plan.sudo)
        detail = verdict.detail
        if verdict.outcome in ("other-version", "garbled"):
            detail = f"{detail} ({self._release()})"
        return HostAnswer(
            **{
                **self.told(verdict.outcome, verdict.exit_code, detail, verdict.hint).__dict__,
                "report": verdict.report,
            }
        )

    def _release(self) -> str:
        """What the devtasks there calls itself."""
        with suppress(Exception):
            assert self.connection is not None  # noqa: S101 - it has just answered
            channel = self.connection.transport.open_session(timeout=_VERSION_SECONDS)
            bounds = Bounds(
                deadline=time.monotonic() + _VERSION_SECONDS,
                most_bytes=10_000,
                interrupted=self.fleet.interrupted,
                abandoned=self.fleet.abandoned,
                grace_seconds=0.0,
            )
            said = converse(channel, commandline.version_line(self.target), bounds)
            word = answers.last_words(said.stdout)[:60]
            if said.exit_code == 0 and word:
                return word
        return "it does not tell its release"
