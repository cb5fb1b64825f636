"""The watch loop: one thread that never blocks, and a thread for each probe and each restart.

Exits come from the kernel (pidfd); what other commands start and stop shows in the state folder (inotify) and in
the state. Nothing polls where the kernel tells, so that an idle monitor sleeps.
"""

from __future__ import annotations

import random
import secrets
import threading
from collections.abc import Callable, Iterable

from devtasks import causes, restarts
from devtasks.errors import DevtasksError
from devtasks.health import Answer, begin
from devtasks.launching import libraries, reap
from devtasks.model import Identity, Process, Run, Service
from devtasks.monitoring import deed
from devtasks.monitoring.changes import Changes
from devtasks.monitoring.evidence import Evidence
from devtasks.monitoring.happening import Happening, Kind
from devtasks.monitoring.heart import Heart
from devtasks.monitoring.intent import is_wanted
from devtasks.monitoring.loop import Loop
from devtasks.monitoring.watched import Watched
from devtasks.observing import Observation
from devtasks.phrases import duration, how_it_ended
from devtasks.probes import Prober
from devtasks.sparing import Spares
from devtasks.standing import stand
from devtasks.starting import Starter
from devtasks.store import exits, pidfile, statedir
from devtasks.store.watching import Wanted
from devtasks.values import replace
from devtasks.verbs import Scope
from devtasks.world import Handle

BEAT_SECONDS = 5.0
_EXIT_RECORD_SECONDS = 0.5  # how long a runner may take to write down an exit that we saw
_FIRST_LOOK_SECONDS = 0.001
_LONGEST_LOOK_SECONDS = 0.02
_DOUBT_SECONDS = 2.0  # where nothing can be recorded, a stop tells by the PID file that it removes at its end
_SHORT_POLL_SECONDS = 0.05  # where the kernel does not tell of exits
_LOOK_AGAIN_SECONDS = 1.0  # who belongs to a service is found out at most so often
_BY_HAND_SECONDS = 30.0  # between looks for what was started by hand
_UNWRITABLE_SECONDS = 2.0  # between attempts to start something, at least, while nothing can be recorded
_UNCLEAR_SECONDS = 0.2  # between looks at what was found half done
_OVERDUE_SECONDS = 5.0  # beyond its own limit, then a probe that hangs counts as one without an answer


class Monitor:
    """Watches services and starts them again, until `stop` is called or an interruption is raised.

    `tell` takes lines for people, `told` everything that happens; both are called in the loop's thread and may
    call `stop`. More descriptors can be attended in `loop`, and `every` calls back in intervals: `up` follows logs
    so. The caller has made sure that nobody else watches (`claim.claimed`).
    """

    def __init__(
        self,
        scope: Scope,
        services: Iterable[Service],
        *,
        tell: Callable[[str], None],
        told: Callable[[Happening], None] = lambda _: None,
    ) -> None:
        self.loop = Loop()
        self.watched = {one.name: Watched(one) for one in services if one.command}
        self._scope = scope
        self._world = scope.world
        self._project = scope.project
        self._state = scope.state
        self._memory = self._state.watching
        self._tell = tell
        self._told = told
        self._groups: dict[str, list[Watched]] = {}
        for one in self.watched.values():
            self._groups.setdefault(one.service.group, []).append(one)
        self._probers = {
            one.name: Prober(self._world, self._project, one.service)
            for one in self.watched.values()
            if one.service.health is not None
        }
        self._heart = Heart(self._world, self._memory)
        self._spares = Spares(libraries())
        self._evidence = Evidence(self._world, self._project)
        self._timers: list[tuple[float, float, Callable[[], None]]] = []  # due, interval, what
        self._over = threading.Event()
        self._sync_due = True
        self._shared = True  # whether what is recorded can be read by other commands
        self._beat_at = 0.0
        self._by_hand_at = 0.0
        self._seen: Observation | None = None
        self._seen_at = 0.0
        self._changes = Changes(self._project, self.loop, self._state, self._look_soon)

    # --- for whoever runs it ------------------------------------------------------------------------------

    def run(self) -> None:
        """Adopt what runs, unless that is done, then watch. Services go on when it returns or raises."""
        if not self._beat_at:
            self.adopt()
        try:
            while not self._over.is_set():
                self.turn()
        finally:
            self.close()

    def stop(self) -> None:
        """Have `run` return soon. May be called in any thread."""
        self._over.set()
        self.loop.post(lambda: None)

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        """Call back in the loop's thread, again and again."""
        self._timers.append((self._now() + seconds, seconds, call))

    def turn(self, timeout_seconds: float | None = None) -> None:
        """Wait for the next thing that happens, at most so long, and see to it."""
        pause = self._pause()
        if timeout_seconds is not None:
            pause = min(pause, timeout_seconds)
        self.loop.turn(pause)
        self._advance()

    def close(self) -> None:
        """Let go of everything; what is being launched is not waited for, and given up where it can be."""
        self._over.set()
        for one in self.watched.values():
            self._forget(one)
        self._spares.close()
        self._heart.farewell()
        self._changes.close()
        self.loop.close()

    # --- what is there already ----------------------------------------------------------------------------

    def adopt(self) -> None:
        """Take up what runs, and what an earlier monitor left undone: a restart that was due, a budget."""
        now = self._now()
        policies = {name: one.service.restart for name, one in self.watched.items()}
        kept = self._memory.kept(policies, boot=self._world.boot, now=now)
        for name, one in self.watched.items():
            if name in kept:
                left = kept[name]
                one.budget, one.own, one.acting, one.cause = left.budget, left.nonce, left.acting, left.cause
        self._seen, self._seen_at = self._scope.observer.observe(), now
        wanted = self._memory.wanted()
        for one in self.watched.values():
            self._place(one, self._seen, wanted)
        self._beat_at = now
        self._by_hand_at = now + _BY_HAND_SECONDS
        self._advance()
        self._prepare()

    def _place(self, one: Watched, seen: Observation, wanted: dict[str, Wanted]) -> None:
        """Where a service stands when the monitor comes."""
        standing = stand(seen, one.service)
        one.elsewhere = standing.standing == "elsewhere"
        if standing.main is not None:
            if standing.by_hand:
                self._take_by_hand(one, standing.main)
            else:
                run = standing.run or self._recorded(one.service, standing.main, seen)
                self._take_up(one, run, standing.main, wanted)
            return
        one.phase = "unclear" if standing.standing == "beginning" else "idle"
        if standing.standing not in ("absent", "orphaned"):
            return
        last = self._state.last_run(one.name)
        if last is None or last.boot != self._world.boot or last.namespace != self._world.namespace:
            return
        if last.main is None and last.nonce != one.own:
            return
        one.run, one.main = last, last.main
        if not self._is_wanted(one, wanted.get(one.name), adopting=True):
            return
        if one.budget.failed and last.nonce == one.own:
            one.phase = "failed"
        elif one.budget.next_at is not None and last.nonce == one.own:
            one.phase = "waiting"
        else:
            lived = last.ended_at - last.started_at if last.ended_at is not None else None
            self._exited(one, last.exit_code, lived)

    def _recorded(self, service: Service, main: Process, seen: Observation) -> Run | None:
        """A run whose record was lost, recorded anew."""
        try:
            Starter(self._scope.observer, self._tell, permit=lambda _: None).adopt(service, main, seen)
        except DevtasksError:
            return None
        return next(iter(self._state.open_runs(service.name)), None)

    # --- from one moment to the next ----------------------------------------------------------------------

    def _now(self) -> float:
        return self._world.monotonic()

    def _pause(self) -> float:
        """Seconds until something is due."""
        now = self._now()
        times = [self._beat_at + BEAT_SECONDS, self._changes.due_at(), *(due for due, _, _ in self._timers)]
        for one in self.watched.values():
            at = self._due(one)
            if at is not None:
                times.append(at)
            if one.handle is not None and one.handle.descriptor is None:
                times.append(now + _SHORT_POLL_SECONDS)
        return max(0.0, min(times) - now)

    def _due(self, one: Watched) -> float | None:
        """When this service needs to be looked after."""
        if one.phase in ("ending", "unclear"):
            return one.look_at
        times = []
        restart_at = restarts.due_at(one.budget)
        if restart_at is not None and one.blocked is None and one.phase in ("waiting", "failed", "running"):
            times.append(restart_at)
        if one.health is not None and one.phase == "running":
            if one.asked_at is None:
                times.append(one.health.next_at)
            else:
                times.append(one.asked_at + one.health.probe.timeout_seconds + _OVERDUE_SECONDS)
        return min(times, default=None)

    def _advance(self) -> None:
        now = self._now()
        self._poll_handles()
        if self._sync_due or now >= self._changes.due_at():
            self._sync_due = False
            if self._changes.look(now):
                self._synchronise()
        for one in self.watched.values():
            self._advance_one(one, now)
        for number, (due, interval, call) in enumerate(self._timers):
            if now >= due:
                self._timers[number] = (now + interval, interval, call)
                call()
        if now >= self._beat_at + BEAT_SECONDS:
            self._tick(now)
        elif self._heart.has_news(self.watched.values(), now):
            self._beat(now)

    def _advance_one(self, one: Watched, now: float) -> None:
        if one.phase == "ending" and now >= one.look_at:
            self._look_how_it_ended(one, now)
        if one.phase == "unclear" and now >= one.look_at:
            one.look_at = now + _UNCLEAR_SECONDS
            self._seen = None
            self._place(one, self._look(now), self._memory.wanted())
        restart_at = restarts.due_at(one.budget)
        if restart_at is not None and now >= restart_at and one.phase in ("waiting", "failed", "running"):
            self._restart(one, now)
        if one.phase == "running" and one.health is not None:
            self._probe(one, now)

    def _tick(self, now: float) -> None:
        """What is looked at now and then: memory, dead workers, unconfirmed starts, what was started by hand."""
        self._changes.renew()
        reap()
        self._prepare()
        wanted = self._memory.wanted()
        running = [one for one in self.watched.values() if one.phase == "running" and not one.by_hand]
        for one in running:
            self._confirm(one, wanted.get(one.name), now)
            self._restore_record(one, wanted.get(one.name))
        self._weigh(now)
        self._look_for_dead_workers(running)
        if now >= self._by_hand_at:
            self._by_hand_at = now + _BY_HAND_SECONDS
            self._look_for_handmade(now)
        self._beat(now)

    def _prepare(self) -> None:
        """Have a runner ready for a restart, unless one is under way or nothing could ever be restarted."""
        quiet = all(one.phase not in ("acting", "ending", "waiting") for one in self.watched.values())
        if quiet and any(one.phase == "running" and not one.by_hand for one in self.watched.values()):
            self._spares.refill()

    def _beat(self, now: float) -> None:
        self._beat_at = now
        self._shared = self._heart.beat(self.watched.values(), now) and self._state.file is not None

    def _look_soon(self) -> None:
        self._sync_due = True

    # --- what other commands did --------------------------------------------------------------------------

    def _synchronise(self) -> None:
        """Take over what others recorded: runs that began, services that are wanted no more."""
        runs: dict[str, Run] = {}
        for begun in self._state.open_runs():
            here = begun.boot == self._world.boot and begun.namespace == self._world.namespace
            if here and begun.main is not None:
                runs.setdefault(begun.service, begun)
        wanted = self._memory.wanted()
        for one in self.watched.values():
            row, run = wanted.get(one.name), runs.get(one.name)
            if one.phase == "acting":
                continue
            if run is not None and (one.run is None or (run.nonce, run.main) != (one.run.nonce, one.main)):
                self._take_up_recorded(one, run, wanted)
            elif one.phase in ("waiting", "failed") and row is not None and not row.wanted:
                self._stand_down(one)
            elif one.phase == "running" and row is not None and not row.wanted and one.sick is not None:
                one.sick, one.budget = None, restarts.recovered(one.budget, self._now())
            if one.phase == "running" and not one.ready:
                self._note_ready(one, row)

    def _take_up_recorded(self, one: Watched, run: Run, wanted: dict[str, Wanted]) -> None:
        if run.main is None:
            return
        row = self._world.reread([run.main.pid]).get(run.main.pid)
        if row is None or row.gone or row.start != run.main.start:
            self._forget(one)
            one.run, one.main, one.began, one.ready = run, run.main, self._now(), False
            if run.nonce != one.own:
                one.budget = restarts.Budget()
            self._begin_ending(one)
            return
        self._take_up(one, run, row, wanted)

    def _take_up(self, one: Watched, run: Run | None, main: Process, wanted: dict[str, Wanted]) -> None:
        """Watch a process that was found alive."""
        self._forget(one)
        now = self._now()
        one.run, one.main, one.elsewhere = run, self._world.identity(main), False
        one.phase, one.ready, one.blocked = "running", False, None
        one.folder = self._changes.folder
        one.began = now - max(0.0, self._world.now() - self._world.started_at(main))
        if run is None or run.nonce != one.own:
            one.budget, one.acting = restarts.Budget(), False  # somebody started it: a new budget
            one.own = one.cause = None
        try:
            one.handle = self._world.pin(main)
        except OSError:  # no descriptor is left, or none for it: it is looked at in short intervals
            one.handle = None
        else:
            if one.handle is None:
                self._begin_ending(one)
                return
        if one.handle is not None and one.handle.descriptor is not None:
            self.loop.attend(one.handle.descriptor, lambda: self._gone(one))
        self._note_ready(one, wanted.get(one.name))

    def _take_by_hand(self, one: Watched, main: Process) -> None:
        """What nobody recorded is probed and nothing else: it is not ours to start again."""
        self._take_up(one, None, main, {})
        one.by_hand = True
        self._note_ready(one, None)

    def _note_ready(self, one: Watched, row: Wanted | None) -> None:
        """It is ready, as its starter recorded, or as its age tells: from then on it is probed."""
        if one.phase != "running" or one.ready:
            return
        now = self._now()
        recorded = row is not None and one.run is not None and row.nonce == one.run.nonce
        if recorded or one.by_hand or now - one.began >= one.service.ready.timeout_seconds:
            one.ready = True
            if one.service.health is not None:
                one.health = begin(one.service.health, now)
            else:
                one.budget = restarts.well(one.budget, now)

    def _confirm(self, one: Watched, row: Wanted | None, now: float) -> None:
        """A run whose starter was killed, and which lives on, is wanted all the same."""
        self._note_ready(one, row)
        recorded = row is not None and one.run is not None and row.nonce == one.run.nonce
        if one.ready and not recorded and one.run is not None and now - one.began >= BEAT_SECONDS:
            self._memory.confirm(one.name, one.run.nonce)

    def _restore_record(self, one: Watched, row: Wanted | None) -> None:
        """The state was deleted: what is known here is written down again."""
        if row is not None or one.run is None or one.run.main is None or not one.ready:
            return
        run, main = one.run, one.run.main
        if not any(known.nonce == run.nonce for known in self._state.runs(one.name, 5)):
            self._state.intend(
                one.name,
                run.nonce,
                boot=run.boot,
                namespace=run.namespace,
                started_at=run.started_at,
                port=run.port,
            )
            self._state.record(run.nonce, main=main, runner=run.runner, session=run.session, pid_file=run.pid_file)
            self._keep(one)

    def _look_for_handmade(self, now: float) -> None:
        """What was started by hand shows in no record, only in the process table."""
        idle = [one for one in self.watched.values() if one.phase == "idle" and one.service.health is not None]
        if idle:
            seen = self._look(now)
            for one in idle:
                standing = stand(seen, one.service)
                if standing.main is not None and standing.by_hand:
                    self._take_by_hand(one, standing.main)

    def _look(self, now: float) -> Observation:
        """A look at the machine, not older than a second."""
        if self._seen is None or now - self._seen_at >= _LOOK_AGAIN_SECONDS:
            table = self._seen.table if self._seen is not None else None
            self._seen, self._seen_at = self._scope.observer.observe(table), now
        return self._seen

    def _stand_down(self, one: Watched) -> None:
        """Somebody stopped it: nothing is to be done any more."""
        self._forget(one)
        one.phase, one.budget, one.blocked, one.cause, one.acting = "idle", restarts.Budget(), None, None, False
        one.own = None

    def _forget(self, one: Watched) -> None:
        if one.handle is not None and one.handle.descriptor is not None:
            self.loop.neglect(one.handle.descriptor)
        one.let_go()

    # --- an exit ------------------------------------------------------------------------------------------

    def _poll_handles(self) -> None:
        """Where no descriptor tells of exits."""
        handles: dict[int, tuple[Watched, Handle]] = {}
        for one in self.watched.values():
            if one.phase == "running" and one.handle is None and one.main is not None:
                row = self._world.reread([one.main.pid]).get(one.main.pid)
                if row is None or row.gone or row.start != one.main.start:
                    self._gone(one)
            elif one.phase == "running" and one.handle is not None and one.handle.descriptor is None:
                handles[id(one.handle)] = one, one.handle
        if handles:
            for handle in self._world.wait([handle for _, handle in handles.values()], 0):
                self._gone(handles[id(handle)][0])

    def _gone(self, one: Watched) -> None:
        """Its main process has ended."""
        by_hand = one.by_hand
        self._forget(one)
        if by_hand:
            one.phase = "idle"
            return
        self._begin_ending(one)
        self._look_how_it_ended(one, self._now())

    def _begin_ending(self, one: Watched) -> None:
        now = self._now()
        one.phase, one.look_at = "ending", now
        one.give_up_at = now + _EXIT_RECORD_SECONDS
        if one.service.daemon_pid_file is not None:
            one.give_up_at = now + one.service.ready.timeout_seconds

    def _look_how_it_ended(self, one: Watched, now: float) -> None:
        """Whether its runner has written that down by now; else look again soon."""
        known, code = self._exit_code(one)
        daemonises = one.service.daemon_pid_file is not None and code in (0, None)
        if (known and not daemonises) or now >= one.give_up_at:
            lived = now - one.began if one.began else None
            self._exited(one, code, lived)
            return
        waited = now - (one.give_up_at - _EXIT_RECORD_SECONDS)
        one.look_at = now + min(_LONGEST_LOOK_SECONDS, max(_FIRST_LOOK_SECONDS, waited / 4))

    def _exit_code(self, one: Watched) -> tuple[bool, int | None]:
        """Whether the end is recorded, and the exit code if it is known."""
        run = one.run
        if run is None or one.main is None:
            return True, None
        found = next((end for end in exits.read(self._project) if end.nonce == run.nonce), None)
        if found is not None and found.pid == one.main.pid:
            return True, found.status
        recorded = next((row for row in self._state.runs(one.name, 5) if row.nonce == run.nonce), None)
        if recorded is not None and recorded.exit_code is not None:
            return True, recorded.exit_code
        if run.runner is not None:
            row = self._world.reread([run.runner.pid]).get(run.runner.pid)
            if (row is None or row.gone) and not exits.read(self._project):
                return True, None  # nobody is left who could tell
        return False, None

    def _exited(self, one: Watched, code: int | None, lived: float | None) -> None:
        """It ended: is that what was wanted, and if not, what is to be done?"""
        self._state.collect_exits(self._project)
        wanted = self._is_wanted(one, self._memory.wanted().get(one.name))
        if wanted and not self._shared and self._now() < one.give_up_at + _DOUBT_SECONDS:
            one.phase, one.look_at, one.give_up_at = "ending", one.give_up_at + _DOUBT_SECONDS, 0.0
            return
        pid = one.main.pid if one.main is not None else None
        if not wanted:
            self._stand_down(one)
            self._happened(one, "exit", how_it_ended(code), pid=pid, exit_code=code, wanted=False)
            return
        lines = self._evidence.last_lines(one.service)
        cause = self._evidence.cause(one.service, code, lines)
        one.cause = "\n".join(causes.report(code, lived, (), cause))
        self._happened(one, "exit", one.cause.replace("\n", "; "), pid=pid, exit_code=code)
        if self._over.is_set():
            return
        failure = restarts.is_failure(code)
        told = causes.report(code, lived, lines, cause)
        self._decide(one, failure=failure, told=told)

    def _is_wanted(self, one: Watched, row: Wanted | None, *, adopting: bool = False) -> bool:
        if one.run is None:
            return False
        run = next((run for run in self._state.runs(one.name, 5) if run.nonce == one.run.nonce), one.run)
        intact = None
        same_folder = adopting or one.folder == self._changes.folder
        if (adopting or not self._shared) and same_folder and run.main is not None:
            reading = pidfile.read(one.service.pid_file, statedir.owners(self._project.root))
            intact = reading.pid is not None  # an older PID was left by a start that was killed, not by a stop
        return is_wanted(row, run, own=one.own, acting=one.acting, known=one.ready, pid_file=intact)

    # --- a decision ---------------------------------------------------------------------------------------

    def _decide(self, one: Watched, *, failure: bool, told: tuple[str, ...], sick: str | None = None) -> None:
        """What follows from an end, or from a reason to end it."""
        now, policy = self._now(), one.service.restart
        one.budget, verdict = restarts.ended(
            one.budget,
            policy,
            now,
            failure=failure,
            chance=random.random(),  # noqa: S311
        )
        one.sick = sick
        if verdict == "restart" and not self._shared:  # a start that cannot be recorded fails
            at = max(one.budget.next_at or now, now + _UNWRITABLE_SECONDS)
            one.budget = replace(one.budget, next_at=at)
        first = told[0] if told else ""
        if verdict == "restart":
            one.phase = "waiting" if sick is None else one.phase
            pause = max(0.0, (one.budget.next_at or now) - now)
            left = restarts.left(one.budget, policy, now)
            how = f"{first}; restarting {f'in {duration(pause)}' if pause >= 0.05 else 'now'}"
            self._tell(f"{one.name}: {how} ({policy.max - left + 1} of {policy.max})")
        elif verdict == "failed":
            one.phase = "failed" if sick is None else one.phase
            self._give_up(one, told)
        else:
            one.phase = "idle" if sick is None else one.phase
            self._tell(f"{one.name}: {first}; its restart policy is {policy.policy}: left alone")
        self._keep(one)

    def _give_up(self, one: Watched, told: tuple[str, ...]) -> None:
        policy = one.service.restart
        until = one.budget.failed_until
        if until is None:
            then = f"until someone starts it: inv start-{one.service.group}"
        else:
            then = f"for {duration(until - self._now())}"
        many = f"{policy.max} restart{'s' if policy.max != 1 else ''} in {policy.window_seconds:g} s"
        heading = f"given up {then}: {many} did not help" if policy.max else f"given up {then}: max = 0"
        report = (heading, *told)
        one.cause = "\n".join(report)
        for line in (f"{one.name}: {heading}", *(f"{one.name}: {line}" for line in told)):
            self._tell(line)
        self._happened(one, "failure", f"{heading}; {'; '.join(told[:2])}", report=report)

    def _restart(self, one: Watched, now: float) -> None:
        """Its moment has come: if nothing speaks against it, a thread does it."""
        if self._over.is_set():
            return
        missing = next((name for name in one.service.depends_on if not self._group_is_up(name)), None)
        if missing is not None:
            if one.blocked != missing:
                self._tell(f"{one.name}: waits for {missing}, which it depends on")
            one.blocked = missing
            return
        one.blocked = None
        row = self._memory.wanted().get(one.name)
        if row is not None and not row.wanted:
            self._stand_down(one)
            return
        budget = restarts.spend(one.budget, one.service.restart, now)
        if budget is None:
            one.budget = restarts.overdrawn(one.budget, one.service.restart, now)
            one.phase = "failed" if one.phase == "waiting" else one.phase
            return
        replacing = one.run.nonce if one.phase == "running" and one.run is not None else None
        why = one.sick or (one.cause or "it ended").partition("\n")[0]
        one.budget, one.acting = budget, replacing is not None
        one.own = secrets.token_hex(8)
        self._keep(one, acting_on=replacing)
        pid = one.main.pid if one.main is not None else None
        number = one.service.restart.max - restarts.left(budget, one.service.restart, now)
        self._happened(one, "restart", f"{why}: restart {number} of {one.service.restart.max}", pid=pid)
        if replacing is not None:
            self._tell(f"{one.name}: {why}; restarting ({number} of {one.service.restart.max})")
        self._forget(one)
        one.phase = "acting"
        order = deed.Order(
            project=self._project,
            service=one.service,
            nonce=one.own,
            replacing=replacing,
            known=self._seen.table if self._seen is not None else None,
            spare=self._spares.take,
            may=lambda: not self._over.is_set(),
            tell=lambda line: self.loop.post(lambda: self._tell(line)),
        )
        deed.begin(order, lambda result: self.loop.post(lambda: self._done(one, result)))

    def _group_is_up(self, name: str) -> bool:
        return all(one.is_up for one in self._groups.get(name, ()))

    def _done(self, one: Watched, result: deed.Done) -> None:
        """A thread has started it, or could not."""
        now = self._now()
        one.acting = False
        one.phase = "idle"
        started = result.started
        if result.forbidden:
            self._stand_down(one)
            return
        if started.outcome in ("started", "already-running"):
            run = next(iter(self._state.open_runs(one.name)), None)
            one.budget = restarts.begun(one.budget, now)
            if run is None or run.main is None:
                self._lost_sight(one, now)
                return
            self._take_up_recorded(one, run, self._memory.wanted())
            if started.outcome == "started":
                self._keep(one)
                self._tell(f"{one.name}: runs again (PID {started.pid}), ready after {duration(started.seconds)}")
                self._happened(one, "ready", f"after {duration(started.seconds)}", pid=started.pid)
                self._prepare()
            return
        one.budget = restarts.begun(one.budget, now)
        one.run = self._state.last_run(one.name) or one.run
        told = self._evidence.of_failed_start(one.service, started)
        one.cause = "\n".join(line for line in told if not line.startswith("  |"))
        self._decide(one, failure=True, told=told)

    def _lost_sight(self, one: Watched, now: float) -> None:
        """It was started, and its record is gone: the process table tells."""
        self._seen = None
        self._place(one, self._look(now), self._memory.wanted())

    def _keep(self, one: Watched, *, acting_on: str | None = None) -> None:
        """Keep the budget, so that a monitor that comes after this one goes on with it."""
        nonce = acting_on or one.own or (one.run.nonce if one.run is not None else None)
        kept = self._memory.keep(
            one.name, one.budget, boot=self._world.boot, nonce=nonce, acting=one.acting, cause=one.cause
        )
        self._shared = kept and self._state.file is not None

    # --- health -------------------------------------------------------------------------------------------

    def _probe(self, one: Watched, now: float) -> None:
        health = one.health
        if health is None:
            return
        if one.asked_at is not None:
            limit = health.probe.timeout_seconds + _OVERDUE_SECONDS
            if now >= one.asked_at + limit:
                one.asked_at = now  # still one in flight; it is counted once an interval
                seconds = health.probe.timeout_seconds
                hangs = Answer(
                    state="unhealthy", probe="", seconds=limit, detail=f"no answer within {seconds:g} s"
                )
                self._answered(one, hangs, now)
            return
        if now < health.next_at:
            return
        members = self._members(one)
        one.asked_at = now
        one.health = health.asked(now)
        prober, main = self._probers[one.name], one.main

        def ask() -> None:
            try:
                answer = prober.ask(members)
            except Exception as error:  # noqa: BLE001 - a thread's end is told like any other
                answer = Answer(state="unknown", probe=prober.kind, seconds=0.0, detail=str(error))
            self.loop.post(lambda: self._answer(one, main, answer))

        threading.Thread(target=ask, name=f"probe {one.name}", daemon=True).start()

    def _answer(self, one: Watched, main: Identity | None, answer: Answer) -> None:
        """An answer arrived; one about an earlier process counts no more."""
        if one.main == main and one.phase == "running" and one.health is not None and one.asked_at is not None:
            one.asked_at = None
            self._answered(one, answer, self._now())

    def _answered(self, one: Watched, answer: Answer, now: float) -> None:
        before = one.health
        if before is None:
            return
        health = one.health = before.told(answer, now)
        condition = health.condition
        if condition == "healthy":
            one.budget = restarts.well(one.budget, now)
        if condition == before.condition:
            return
        pid = one.main.pid if one.main is not None else None
        detail = f"{answer.probe}: {answer.detail}" if answer.probe else answer.detail
        if condition == "healthy":
            if before.condition != "starting":
                self._tell(f"{one.name}: healthy again")
            if one.sick is not None:
                one.sick, one.budget = None, restarts.recovered(one.budget, now)
                self._keep(one)
        elif condition in ("unhealthy", "foreign"):
            self._tell(f"{one.name}: {condition}: {detail}")
        if condition in ("healthy", "unhealthy", "foreign"):
            kind: Kind = condition
            self._happened(one, kind, detail, pid=pid)
        if condition == "unhealthy" and not one.by_hand and one.sick is None:
            self._sicken(one, f"unhealthy, {health.failures} probes in a row: {detail}")

    def _sicken(self, one: Watched, why: str) -> None:
        """A running service is to be started again, if it is wanted and a restart is left."""
        if one.run is None or not self._is_wanted(one, self._memory.wanted().get(one.name)):
            return
        lines = self._evidence.last_lines(one.service)
        cause = self._worker_dead(one)
        one.cause = why if cause is None else f"{why}\ncause: {cause.text}"
        told = (why, *((f"cause: {cause.text}",) if cause is not None else ()), *(f"  | {line}" for line in lines))
        self._decide(one, failure=True, told=told, sick=why)

    # --- now and then -------------------------------------------------------------------------------------

    def _weigh(self, now: float) -> None:
        """Whose tree has outgrown its memory."""
        heavy = [
            one
            for one in self.watched.values()
            if one.service.restart.memory_above_bytes is not None
            and one.phase == "running"
            and one.sick is None
            and not one.by_hand
            and not one.budget.failed
        ]
        if not heavy:
            return
        seen = self._look(now)
        for one in heavy:
            limit = one.service.restart.memory_above_bytes or 0
            usage = self._world.usage(match.process.pid for match in seen.of(one.name))
            total = sum(rss for _, rss in usage.values())
            if total > limit:
                self._sicken(one, f"uses {total >> 20} MiB of memory, above {limit >> 20} MiB")

    def _look_for_dead_workers(self, running: Iterable[Watched]) -> None:
        """A reloader lives on when its worker is dead: said once; it is restarted only if a probe fails, too."""
        for one in running:
            if not one.ready:
                continue
            dead = self._worker_dead(one)
            if dead is not None and not one.mute:
                self._tell(f"{one.name}: {dead.text}")
                self._happened(one, "unhealthy", dead.text, pid=one.main.pid if one.main is not None else None)
            one.mute = dead is not None

    def _worker_dead(self, one: Watched) -> causes.Cause | None:
        if one.main is None:
            return None
        return self._evidence.worker_dead(one.service, one.main, lambda: self._members(one))

    def _members(self, one: Watched) -> tuple[int, ...]:
        found = tuple(match.process.pid for match in self._look(self._now()).of(one.name))
        return found or ((one.main.pid,) if one.main is not None else ())

    # --- telling ------------------------------------------------------------------------------------------

    def _happened(
        self,
        one: Watched,
        kind: Kind,
        detail: str,
        *,
        pid: int | None = None,
        exit_code: int | None = None,
        wanted: bool = True,
        report: tuple[str, ...] = (),
    ) -> None:
        at = self._world.now()
        if kind not in ("exit", "ready"):  # those are told by whoever ends a run in the state, and by its starter
            self._state.event(one.name, kind, pid=pid, detail=detail, at=at)
        self._told(
            Happening(
                kind=kind,
                service=one.name,
                at=at,
                pid=pid,
                exit_code=exit_code,
                wanted=wanted,
                detail=detail,
                report=report,
            )
        )
