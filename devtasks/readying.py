"""Wait until what was launched is ready, or stop it again and say what went wrong."""

from __future__ import annotations

import contextlib
from dataclasses import dataclass

from devtasks import recording
from devtasks.asking.attempt import rest
from devtasks.asking.hosts import bracketed, reachable
from devtasks.errors import Interrupted
from devtasks.model import Process, Run, Service
from devtasks.observing import Observation, Observer
from devtasks.outcomes import Outcome, Started
from devtasks.phrases import how_it_ended
from devtasks.readiness import Readiness
from devtasks.stopping import Stopper
from devtasks.store import locks, logs, pidfile, statedir
from devtasks.world import Handle

SETTLE_SECONDS = 0.5  # without port or probe: a program that lives this long was no typing mistake
LOG_LINES = 10  # of a failed service's log, shown
_EXIT_RECORD_SECONDS = 0.5  # how long a runner may take to write down an exit that we saw
_FIRST_PAUSE_SECONDS = 0.005
_LONGEST_PAUSE_SECONDS = 0.05


@dataclass(slots=True, kw_only=True)
class Begun:
    """A service between its launch and its readiness. `nonce` None: it was running already."""

    service: Service
    began: float
    main: Process | None  # None: a launcher that has gone already, its daemon not seen yet
    readiness: Readiness
    handle: Handle | None
    nonce: str | None
    awaits_daemon: bool  # `main` is a launcher so far: the server will write its own PID file
    note: str | None = None


class Waiter:
    """Brings all that is `underway` to an end: ready, or stopped again.

    What becomes ready is wanted from then on; `wanted_already`: unless somebody stopped it meanwhile.
    """

    def __init__(self, observer: Observer, *, wanted_already: bool = False) -> None:
        self.underway: list[Begun] = []
        self._seen: Observation | None = None
        self._observer = observer
        self._world = observer.world
        self._project = observer.project
        self._state = observer.state
        self._want = self._state.watching.confirm if wanted_already else self._state.watching.want

    def add(self, begun: Begun) -> None:
        """It is under way from now on."""
        self.underway.append(begun)
        self._seen = None

    def until_one_has_ended(self, timeout_seconds: float | None) -> dict[str, Started]:
        """Wait until something under way is ready, or failed and is stopped again: the results, by service.

        `timeout_seconds` replaces each one's own.
        """
        results: dict[str, Started] = {}
        if not self.underway:
            return results
        seen = self._seen or self._observer.observe()
        pause = _FIRST_PAUSE_SECONDS
        while True:
            for one in tuple(self.underway):
                result = self._result(one, seen, timeout_seconds)
                if result is not None:
                    self._state.tell(recording.of_start(result, self._state.asker, at=self._world.now()))
                    results[one.service.name] = result
                    self._done(one)
            self._seen = seen
            if results:
                return results
            self._pause(pause)
            pause = min(pause * 1.5, _LONGEST_PAUSE_SECONDS)
            seen, _ = self._observer.newer(seen)

    def _pause(self, seconds: float) -> None:
        """Until something may have happened, at most `seconds`."""
        handles = [one.handle for one in self.underway if one.handle is not None]
        asked = [one.readiness.attempt for one in self.underway if one.readiness.attempt is not None]
        if asked:
            rest(asked, seconds)
        elif handles and not any(one.awaits_daemon for one in self.underway):
            self._world.wait(handles, seconds)
        else:
            self._world.sleep(seconds)

    def undo_all(self) -> None:
        """Stop everything under way: this start was interrupted."""
        for one in tuple(self.underway):
            with contextlib.suppress(KeyboardInterrupt, Interrupted):  # once more: that hastened this one
                self._undo(one)
            self._done(one)

    def sweep(self, service: Service, nonce: str) -> None:
        """Stop what one run of ours has become, unless a later run took its place. The caller holds the lock.

        Interrupted, it stops all the same, and raises then.
        """
        latest = self._state.last_run(service.name)
        if latest is not None and latest.nonce != nonce:
            return
        seen = self._observer.observe()
        ended = Stopper(self._observer, seen).stop([service])
        if not ended.endings[service.name].survivors:
            main = latest.main if latest is not None else None
            reading = pidfile.read(service.pid_file, statedir.owners(self._project.root))
            if main is not None and reading.pid == main.pid:
                pidfile.remove_if_unchanged(reading.path, reading)
            self._state.finish(nonce, ended_at=self._world.now(), cause="not-ready")
        if ended.interrupted is not None:
            raise ended.interrupted

    def exit_code(self, service: Service, nonce: str | None) -> int | None:
        """How a run's main process ended, once its runner has written it down. None: nobody knows."""
        deadline = self._world.monotonic() + _EXIT_RECORD_SECONDS
        while True:
            self._state.collect_exits(self._project)
            run = self._run(service, nonce)
            if run is None or run.exit_code is not None or self._world.monotonic() > deadline:
                return run.exit_code if run is not None else None
            self._world.sleep(_FIRST_PAUSE_SECONDS)

    # ------------------------------------------------------------------------------------------------------

    def _result(self, one: Begun, seen: Observation, timeout_seconds: float | None) -> Started | None:
        """What has become of it; None: not ready yet."""
        service = one.service
        age = self._world.monotonic() - one.began
        limit = service.ready.timeout_seconds if timeout_seconds is None else timeout_seconds
        if one.awaits_daemon:
            self._look_for_daemon(one, seen)
        if self._dead(one) and not (one.awaits_daemon and self.exit_code(service, one.nonce) in (0, None)):
            return self._exited(one)
        if not one.awaits_daemon:
            members = {match.process.pid for match in seen.of(service.name)} | {one.main.pid if one.main else 0}
            settled = one.nonce is None or not _only_lives(service) or age >= min(SETTLE_SECONDS, limit)
            if settled and (one.readiness.holds(members) or self._ready_long_ago(one, limit)):
                return self._ready(one, age)
        return self._not_ready(one, age) if age >= limit else None

    def _dead(self, one: Begun) -> bool:
        if one.handle is not None:
            return bool(self._world.wait([one.handle], 0))
        if one.main is None:
            return True
        row = self._world.reread([one.main.pid]).get(one.main.pid)
        return row is None or row.gone or row.start != one.main.start

    def _ready_long_ago(self, one: Begun, limit: float) -> bool:
        """A line is logged once, and logs are rotated and deleted: what has run for longer than a start waits
        is not asked for it.
        """
        if one.nonce is not None or one.main is None or one.service.ready.log is None:
            return False
        return self._world.now() - self._world.started_at(one.main) >= limit

    def _look_for_daemon(self, one: Begun, seen: Observation) -> None:
        """The process in `daemon_pid_file` is the main one, as soon as it is one of ours."""
        path = one.service.daemon_pid_file
        if path is None:
            return
        named = pidfile.read(path, statedir.owners(self._project.root)).pid
        daemon = next((m.process for m in seen.of(one.service.name) if m.process.pid == named), None)
        if daemon is None or one.nonce is None:
            return
        one.awaits_daemon = False
        if one.main is not None and daemon.pid == one.main.pid:
            return
        run = self._run(one.service, one.nonce)
        self._state.record(
            one.nonce,
            main=self._world.identity(daemon),
            runner=run.runner if run else None,
            session=run.session if run else None,
            cgroup=run.cgroup if run else None,
            pid_file=one.service.pid_file,
        )
        pidfile.write(one.service.pid_file, daemon.pid)
        if one.handle is not None:
            one.handle.close()
        one.main, one.handle = daemon, self._world.pin(daemon)

    def _ready(self, one: Begun, age: float) -> Started:
        service = one.service
        if one.nonce is not None:
            self._want(service.name, one.nonce)
        url = f"http://{bracketed(reachable(service.host))}:{service.port}" if service.port is not None else None
        return Started(
            name=service.name,
            outcome="already-running" if one.nonce is None else "started",
            pid=one.main.pid if one.main else None,
            seconds=age,
            url=url,
            log_file=str(service.log_file),
            detail=one.note,
        )

    def _exited(self, one: Begun) -> Started:
        code = self.exit_code(one.service, one.nonce)
        others = self._other_ports(one)
        self._undo(one)
        return self._failed(one, "exited", f"{how_it_ended(code)} before it was ready{others}", None)

    def _not_ready(self, one: Begun, age: float) -> Started:
        detail = f"not ready after {age:.1f} s: {one.readiness.detail}{self._other_ports(one)}"
        self._undo(one)
        hint = f"if it only needs longer, raise services.{one.service.group}.ready.timeout"
        return self._failed(one, "not-ready", detail, hint)

    def _failed(self, one: Begun, outcome: Outcome, detail: str, hint: str | None) -> Started:
        return Started(
            name=one.service.name,
            outcome=outcome,
            pid=one.main.pid if one.main and one.nonce is None and outcome != "exited" else None,
            seconds=self._world.monotonic() - one.began,
            log_file=str(one.service.log_file),
            detail=detail,
            hint=hint,
            log_tail=logs.tail(one.service.log_file, LOG_LINES),
            exit_code=1,
        )

    def _other_ports(self, one: Begun) -> str:
        """The ports that it did open, where they are not the ones it should have."""
        members = [match.process.pid for match in self._observer.observe().of(one.service.name)]
        opened = {port for ports in self._world.ports_of(members).values() for port in ports}
        others = sorted(opened - set(one.service.ports))
        return f"; it listens on {', '.join(map(str, others))} instead" if others else ""

    def _undo(self, one: Begun) -> None:
        """Stop what this command began; what was running before it stays."""
        if one.nonce is not None:
            with locks.service_lock(locks.path(self._project, one.service), timeout_seconds=None, tell=None):
                self.sweep(one.service, one.nonce)

    def _done(self, one: Begun) -> None:
        self.underway.remove(one)
        one.readiness.close()
        if one.handle is not None:
            one.handle.close()

    def _run(self, service: Service, nonce: str | None) -> Run | None:
        return next((run for run in self._state.runs(service.name, 5) if run.nonce == nonce), None)


def _only_lives(service: Service) -> bool:
    """Whether nothing but being alive tells that it is ready."""
    ready = service.ready
    asked = ready.http or ready.tcp or ready.log or ready.command
    return not asked and service.port is None
