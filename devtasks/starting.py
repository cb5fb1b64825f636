"""Start services: once each, however many starts there are, and known to the next command from the first moment.

lock → observe → (already there? a leftover? a stranger?) → before → record the intent → launch → record the
identity, write the PID file → unlock → wait until ready (`readying.py`).
"""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import TYPE_CHECKING

from devtasks import launching, limiting, recording
from devtasks.errors import DevtasksError, Interrupted, Refused
from devtasks.model import Process, Run, Service
from devtasks.observing import Observation, Observer
from devtasks.outcomes import Started
from devtasks.ownership import make_marker
from devtasks.phrases import how_it_ended
from devtasks.planning import cgroup_prefix, levels
from devtasks.readiness import Readiness
from devtasks.readying import LOG_LINES, Begun, Waiter
from devtasks.standing import stand
from devtasks.stopping import Stopper
from devtasks.store import locks, logs, pidfile, statedir
from devtasks.values import replace

if TYPE_CHECKING:
    from devtasks.sparing import Spare

_HALF_DONE_SECONDS = 2.0  # how long a runner may take to launch its service or to give up
_LOOK_SECONDS = 0.005


@dataclass(slots=True, kw_only=True)
class _Attempt:
    """One service on its way from the lock to its launch; filled in as it goes."""

    service: Service
    began: float
    nonce: str
    env: Mapping[str, str] = field(default_factory=dict)
    program: str = ""
    log_offset: int = 0
    note: str | None = None

    def remark(self, text: str | None) -> None:
        """Something for people, told with the outcome."""
        self.note = "; ".join(part for part in (self.note, text) if part) or None


class Starter:
    """Starts services of one project; one of these serves one command.

    With `streams` a service gets copies of these instead of a log. With `permit` it starts on behalf of what is
    wanted already, not because somebody asked: `permit` is asked for each service, with its lock held, before and
    after the launch, and a text is why it may not be started (any more).
    """

    def __init__(
        self,
        observer: Observer,
        tell: Callable[[str], None],
        streams: launching.Streams | None = None,
        *,
        permit: Callable[[Service], str | None] | None = None,
        spare: Callable[[], Spare | None] = lambda: None,
    ) -> None:
        self._observer = observer
        self._world = observer.world
        self._project = observer.project
        self._state = observer.state
        self._tell = tell
        self._streams = streams
        self._permit = permit
        self._spare = spare
        self._timeout_seconds: float | None = None  # in place of each service's own
        self._waiter = Waiter(observer, wanted_already=permit is not None)

    def start(
        self,
        services: Iterable[Service],
        *,
        timeout_seconds: float | None,
        nonces: Mapping[str, str] = MappingProxyType({}),
    ) -> tuple[Started, ...]:
        """Start what does not run, dependencies first. A dependant of what failed is not started.

        `nonces`, by service, name the runs to be; others get one. Interrupted, it stops what it has begun and is
        not ready yet.
        """
        chosen = tuple(services)
        self._timeout_seconds = timeout_seconds
        results: dict[str, Started] = {}
        failed: set[str] = set()
        statedir.ensure(self._project)
        try:
            while len(results) < len(chosen):
                # The engine is waited for: what only has to be launched is launched first.
                for service in sorted(self._due(chosen, results), key=lambda one: one.contained):
                    outcome = self._begin(service, failed, nonces.get(service.name) or secrets.token_hex(8))
                    if isinstance(outcome, Begun):
                        self._waiter.add(outcome)
                    else:
                        results[service.name] = outcome
                results |= self._waiter.until_one_has_ended(timeout_seconds)
                failed = {
                    service.group
                    for service in chosen
                    if service.name in results
                    and results[service.name].outcome not in ("started", "already-running")
                }
        except (KeyboardInterrupt, Interrupted):
            self._waiter.undo_all()
            raise
        return tuple(results[service.name] for level in levels(chosen) for service in level)

    def _due(self, chosen: Iterable[Service], results: Mapping[str, Started]) -> list[Service]:
        """Those that were not begun yet, and whose dependencies have ended one way or the other."""
        underway = {one.service.name for one in self._waiter.underway}
        open_groups = {service.group for service in chosen if service.name not in results}
        waiting = [service for service in chosen if service.name not in results and service.name not in underway]
        due = [service for service in waiting if open_groups.isdisjoint(service.depends_on)]
        return due if due or underway else waiting  # in a circle, which no configuration has, somebody begins

    def begin(self, service: Service, nonce: str) -> Begun | Started:
        """Launch one service as the run `nonce` and do not wait for it; what was launched is the caller's to end.

        A Started tells why it was not launched. A Begun without a nonce was running already.
        """
        statedir.ensure(self._project)
        return self._begin(service, set(), nonce)

    def exit_code(self, begun: Begun) -> int | None:
        """How the main process of what `begin` launched ended. None: nobody knows."""
        return self._waiter.exit_code(begun.service, begun.nonce)

    # --- one service, from its lock to its launch ---------------------------------------------------------

    def _begin(self, service: Service, failed: set[str], nonce: str) -> Begun | Started:
        attempt = _Attempt(service=service, began=self._world.monotonic(), nonce=nonce)
        missing = sorted(failed & set(service.depends_on))
        if missing:
            return self._not_started(attempt, f"depends on {missing[0]}, which did not start")
        if service.contained:
            return self._start_container(service)
        try:
            with locks.service_lock(locks.path(self._project, service), timeout_seconds=None, tell=self._tell):
                return self._begin_locked(attempt)
        except DevtasksError as error:
            return self._not_started(attempt, error.message, error=error)

    def _start_container(self, service: Service) -> Started:
        from devtasks.engines import contained

        result = contained.start(
            service, self._world, self._project, timeout_seconds=self._timeout_seconds, tell=self._tell
        )
        self._state.tell(recording.of_start(result, self._state.asker, at=self._world.now()))
        return result

    def _begin_locked(self, attempt: _Attempt) -> Begun | Started:
        service = attempt.service
        seen = self._settled(service)
        standing = stand(seen, service)
        marker = make_marker(self._project, service.name, attempt.nonce)
        attempt.env = launching.environment(service, self._project, marker)
        if standing.main is not None and not standing.ending:
            if not standing.by_hand:
                self._complete(service, standing.main, standing.run, seen)
            attempt.remark("started by hand, not by devtasks" if standing.by_hand else None)
            return self._wait_for(attempt, standing.main, already=True)
        if standing.standing == "elsewhere":
            raise Refused(
                f"{service.name} runs in another PID namespace (a container?)", hint="stop it there first"
            )
        attempt.program = launching.find_program(launching.words(service)[0], service, attempt.env)
        seen = self._clear_the_way(attempt, seen)
        self._check_ports(service, seen)
        self.check_pid_file(service)
        self._ask_permit(service)
        begun = self._launch(attempt)
        try:
            self._ask_permit(service)
        except Refused:
            self._waiter.sweep(service, attempt.nonce)
            if isinstance(begun, Begun) and begun.handle is not None:
                begun.handle.close()
            raise
        return begun

    def _ask_permit(self, service: Service) -> None:
        """Raises Refused where it may not be started."""
        reason = self._permit(service) if self._permit is not None else None
        if reason is not None:
            raise Refused(f"{service.name}: {reason}")

    def _settled(self, service: Service) -> Observation:
        """An observation in which no other start of the service is half done.

        Holding the lock, a run that is only beginning is one whose starter was killed: its runner goes on to
        launch the service or ends, within milliseconds.
        """
        seen = self._observer.observe()
        deadline = self._world.monotonic() + _HALF_DONE_SECONDS
        while stand(seen, service).standing == "beginning" and self._world.monotonic() < deadline:
            self._world.sleep(_LOOK_SECONDS)
            seen = self._observer.observe()
        return seen

    def _clear_the_way(self, attempt: _Attempt, seen: Observation) -> Observation:
        """Stop what an earlier run left. Raises when that fails."""
        service = attempt.service
        left = seen.of(service.name)
        if not left:
            return seen
        pids = ", ".join(str(match.process.pid) for match in left)
        self._tell(f"{service.name}: stopping what an earlier run left (PID {pids})")
        ended = Stopper(self._observer, seen).stop([service])
        if ended.interrupted is not None:
            raise ended.interrupted
        survivors = ended.endings[service.name].survivors
        if survivors:
            one = survivors[0]
            raise DevtasksError(
                f"{service.name}: what an earlier run left is still there: PID {one.pid} {one.reason}",
                hint=f"see what it is: inv explain --pid {one.pid}",
            )
        attempt.remark(f"stopped {len(left)} left over from an earlier run first")
        return self._observer.observe()

    def _check_ports(self, service: Service, seen: Observation) -> None:
        if service.listener == "any":
            return
        for port in service.ports:
            holders = seen.holders(port)
            if holders is None:
                continue
            who = self._describe(seen, holders)
            raise Refused(
                f"{service.name}: port {port} is held by {who}",
                hint=f"see why with: inv explain --port {port}; stop that program, or choose another port",
            )

    def _describe(self, seen: Observation, holders: tuple[int, ...]) -> str:
        if not holders:
            return "somebody whom we may not see"
        pid = holders[0]
        row = seen.table.processes.get(pid) or self._world.reread([pid]).get(pid)
        details = self._world.details([pid]).get(pid)
        command = logs.printable(" ".join(row.argv))[:80] if row is not None else "?"
        verdict = seen.judge.verdict(pid)
        whose = f", service {getattr(verdict, 'service', '')}" if pid in seen.pids() else ""
        return f"PID {pid} ({command}{', in ' + details.cwd if details and details.cwd else ''}{whose})"

    def check_pid_file(self, service: Service) -> None:
        """A PID file that we did not write is never replaced. Raises Refused for one."""
        reading = pidfile.read(service.pid_file, statedir.owners(self._project.root))
        if reading.state == "absent":
            return
        if reading.pid is not None:
            row = self._world.reread([reading.pid]).get(reading.pid)
            dead = row is None or row.gone
            if dead or self._state.knows_pid(service.name, reading.pid):
                return
            problem = f"names PID {reading.pid}, which is alive and not known to be ours"
        else:
            problem = reading.reason or "holds no PID"
        raise Refused(
            f"{service.name}: the PID file {service.pid_file} {problem}",
            hint="devtasks did not write it and leaves it alone: remove it, or set another pid_file",
        )

    def _complete(self, service: Service, main: Process, run: Run | None, seen: Observation) -> None:
        """Do for a live run what a killed starter or stopper left undone, or what was deleted since, if we can."""
        with contextlib.suppress(DevtasksError):
            if run is None:
                self.adopt(service, main, seen)
            elif run.cgroup is not None:
                self._world.freeze(run.cgroup, frozen=False)
        nonce = run.nonce if run is not None else (main.marker or "").rpartition("/")[2]
        if nonce and self._permit is None:
            self._state.watching.want(service.name, nonce)
        with contextlib.suppress(DevtasksError):
            if pidfile.read(service.pid_file, statedir.owners(self._project.root)).pid != main.pid:
                self.check_pid_file(service)
                pidfile.write(service.pid_file, main.pid)

    def adopt(self, service: Service, main: Process, seen: Observation) -> None:
        """Remember a run whose starter was killed before it could, or whose state was lost.

        Raises DevtasksError where that cannot be recorded.
        """
        nonce = (main.marker or "").rpartition("/")[2]
        if not nonce:
            return
        if nonce not in {run.nonce for run in seen.runs}:
            self._intend(service, nonce, self._world.started_at(main))
        runner = next((row for row in seen.runners.get(service.name, ()) if row.pid == main.ppid), None)
        self._remember(service, nonce, main, runner, None)

    # --- the launch ---------------------------------------------------------------------------------------

    def _launch(self, attempt: _Attempt) -> Begun | Started:
        service, nonce = attempt.service, attempt.nonce
        for stale in self._state.open_runs(service.name):
            if stale.main is None:  # intended by a start that was killed before it launched anything
                self._state.finish(stale.nonce, ended_at=self._world.now(), cause="never-began")
        self._intend(service, nonce, self._world.now())
        if self._permit is None:
            self._state.watching.begin(service.name)
        streams = self._open_streams(attempt)
        cgroups = cgroup_prefix(self._project, service.name)
        self._world.clear_cgroups(cgroups)  # what a start left that was killed before it launched anything
        cgroup = self._world.make_cgroup(cgroups + nonce, limiting.controllers(service.limits))
        controlled = self._limit(service, cgroup)
        try:
            failure = self._before(service, attempt.env, streams.output)
            if failure is not None:
                self._state.finish(nonce, ended_at=self._world.now(), cause="before-failed")
                return self._not_started(attempt, failure, log_tail=logs.tail(service.log_file, LOG_LINES))
            attempt.log_offset = logs.end_of(service.log_file)
            launched = launching.launch(
                service,
                attempt.program,
                label=f"{self._project.name}/{service.name}",
                env=attempt.env,
                streams=streams,
                exit_file=self._project.state_dir / "exits" / nonce,
                cgroup=cgroup,
                spare=self._spare(),
            )
        except DevtasksError:
            self._state.finish(nonce, ended_at=self._world.now(), cause="not-launched")
            self._waiter.sweep(service, nonce)  # a runner that died may have executed it and told nobody
            raise
        except BaseException:
            self._waiter.sweep(service, nonce)
            raise
        finally:
            for descriptor in {streams.output, streams.error}:
                os.close(descriptor)
            if cgroup is not None:
                self._world.remove_cgroup(cgroup)  # fails, as it should, while the service is in it
        held = controlled if launched.in_cgroup else frozenset()
        root = hasattr(os, "geteuid") and os.geteuid() == 0
        objection = limiting.objection(service.limits, lowered=launched.lowered, controlled=held, root=root)
        attempt.remark(objection)
        try:
            return self._record(attempt, launched, cgroup if launched.in_cgroup else None)
        except (KeyboardInterrupt, Interrupted):
            self._waiter.sweep(service, nonce)  # it is not under way yet: nobody else would stop it
            raise

    def _limit(self, service: Service, cgroup: str | None) -> frozenset[str]:
        """Set the limits of the service's cgroup, where it has one; those that hold."""
        limits = service.limits
        if cgroup is None or not limiting.controllers(limits):
            return frozenset()
        return self._world.limit_cgroup(cgroup, memory_bytes=limits.memory_bytes, cpu=limits.cpu)

    def _open_streams(self, attempt: _Attempt) -> launching.Streams:
        service = attempt.service
        if self._streams is None:
            log = logs.open_log(service.log_file)
            rotates = service.log_max_bytes is not None and logs.can_rotate(log)
            if service.log_max_bytes is not None and not rotates:
                attempt.remark("this file system cannot give up parts of a file: the log is rotated at start only")
            return launching.Streams(log, log, rotates=rotates)
        given = self._streams
        return launching.Streams(os.dup(given.output), os.dup(given.error), given.input)

    def _intend(self, service: Service, nonce: str, started_at: float) -> None:
        """Record that a run is about to begin, or raise: a run that nobody remembers is not begun."""
        kept = self._state.intend(
            service.name,
            nonce,
            boot=self._world.boot,
            namespace=self._world.namespace,
            started_at=started_at,
            port=service.port,
        )
        if not kept:
            notes = "; ".join(self._state.notes) or "the state cannot be written"
            raise DevtasksError(f"{service.name}: its start cannot be recorded: {notes}")

    def _record(self, attempt: _Attempt, launched: launching.Launched, cgroup: str | None) -> Begun | Started:
        service, nonce = attempt.service, attempt.nonce
        rows = self._world.reread(pid for pid in (launched.pid, launched.runner) if pid is not None)
        main = rows.get(launched.pid)
        if (main is None or main.gone) and service.daemon_pid_file is not None:
            return self._wait_for(attempt, None, already=False)
        if main is None or main.gone or not _is_child_of_run(main, launched, attempt.env["DEVTASKS_ID"]):
            code = self._waiter.exit_code(service, nonce)
            self._waiter.sweep(service, nonce)
            tail = logs.tail(service.log_file, LOG_LINES)
            return self._not_started(attempt, f"{how_it_ended(code)} at once", log_tail=tail)
        self._remember(service, nonce, main, rows.get(launched.runner or 0), cgroup)
        at = self._world.now()
        self._state.tell(
            [recording.of_launch(service.name, main.pid, self._state.asker, port=service.port, at=at)]
        )
        try:
            pidfile.write(service.pid_file, main.pid)
        except DevtasksError:
            self._waiter.sweep(service, nonce)
            raise
        return self._wait_for(attempt, main, already=False)

    def _remember(
        self, service: Service, nonce: str, main: Process, runner: Process | None, cgroup: str | None
    ) -> None:
        self._state.record(
            nonce,
            main=self._world.identity(main),
            runner=self._world.identity(runner) if runner is not None else None,
            session=main.session,
            cgroup=cgroup,
            pid_file=service.pid_file,
        )

    def _before(self, service: Service, env: Mapping[str, str], output: int) -> str | None:
        """Run the commands that come before; what went wrong, or None. They carry the run's marker."""
        for command in service.before:
            one = replace(service, command=command, shell=False)
            words = " ".join(command)
            self._tell(f"{service.name}: {words}")
            program = launching.find_program(command[0], one, env)
            try:
                done = subprocess.run(
                    [program, *command[1:]],
                    cwd=service.cwd,
                    env=dict(env),
                    stdin=subprocess.DEVNULL,
                    stdout=output,
                    stderr=output,
                    check=False,
                )
            except OSError as error:  # a script without its first line
                return f"`{words}`, which runs before it, cannot be executed: {error.strerror}"
            if done.returncode != 0:
                return f"`{words}`, which runs before it, {how_it_ended(done.returncode)}"
        return None

    def _wait_for(self, attempt: _Attempt, main: Process | None, *, already: bool) -> Begun:
        service = attempt.service
        try:
            handle = self._world.pin(main) if main is not None else None
        except OSError:
            handle = None
        return Begun(
            service=service,
            began=attempt.began,
            main=main,
            readiness=Readiness(self._world, self._project, service, log_offset=attempt.log_offset),
            handle=handle,
            nonce=None if already else attempt.nonce,
            awaits_daemon=service.daemon_pid_file is not None and not already,
            note=attempt.note,
        )

    def _not_started(
        self,
        attempt: _Attempt,
        detail: str,
        *,
        error: DevtasksError | None = None,
        log_tail: tuple[str, ...] = (),
    ) -> Started:
        result = Started(
            name=attempt.service.name,
            outcome="refused" if isinstance(error, Refused) else "exited",
            pid=None,
            seconds=self._world.monotonic() - attempt.began,
            detail=detail.removeprefix(f"{attempt.service.name}: "),
            hint=error.hint if error is not None else None,
            log_tail=log_tail,
            exit_code=error.exit_code if error is not None else 1,
        )
        self._state.tell(recording.of_start(result, self._state.asker, at=self._world.now()))
        return result


def _is_child_of_run(main: Process, launched: launching.Launched, marker: str) -> bool:
    """Whether the PID still is the one that was executed; its runner may have been killed since."""
    return launched.runner in (None, main.ppid) or main.marker == marker
