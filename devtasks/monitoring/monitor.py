"""The watch loop: one thread that never blocks, and a thread for each probe and each restart.

Exits come from the kernel (pidfd); what other commands start and stop shows in the state folder (inotify) and in
the state. Nothing polls where the kernel tells, so that an idle monitor sleeps.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

from devtasks import restarts
from devtasks.launching import reap
from devtasks.model import Run, Service
from devtasks.monitoring.adoption import Adoption
from devtasks.monitoring.ends import Ends
from devtasks.monitoring.happening import Happening
from devtasks.monitoring.heart import Heart
from devtasks.monitoring.illness import OVERDUE_SECONDS, Illness
from devtasks.monitoring.restarting import Restarter
from devtasks.monitoring.surroundings import BEAT_SECONDS, Surroundings
from devtasks.monitoring.tracking import Tracker
from devtasks.monitoring.watched import Watched
from devtasks.verbs import Scope

_SHORT_POLL_SECONDS = 0.05  # where the kernel does not tell of exits
_BY_HAND_SECONDS = 30.0  # between looks for what was started by hand
_UNCLEAR_SECONDS = 0.2  # between looks at what was found half done


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
        self._around = around = Surroundings(scope, services, tell=tell, told=told)
        self._world = around.world
        self._state = around.state
        self._memory = around.memory
        self.loop = around.loop
        self.watched = around.watched
        self._tracker = Tracker(around)
        self._restarter = Restarter(around, self._tracker)
        self._ends = Ends(around, self._tracker, self._restarter)
        self._illness = Illness(around, self._ends, self._restarter)
        self._adoption = Adoption(around, self._tracker, self._ends)
        self._heart = Heart(around.world, around.memory)
        self._timers: list[tuple[float, float, Callable[[], None]]] = []  # due, interval, what
        self._beat_at = 0.0
        self._by_hand_at = 0.0

    def run(self) -> None:
        """Adopt what runs, unless that is done, then watch. Services go on when it returns or raises."""
        if not self._beat_at:
            self.adopt()
        try:
            while not self._around.over.is_set():
                self.turn()
        finally:
            self.close()

    def adopt(self) -> None:
        """Take up what runs, and what an earlier monitor left undone: a restart that was due, a budget."""
        now = self._around.now()
        self._adoption.adopt(now)
        self._beat_at = now
        self._by_hand_at = now + _BY_HAND_SECONDS
        self._advance()
        self._restarter.prepare()

    def stop(self) -> None:
        """Have `run` return soon. May be called in any thread."""
        self._around.over.set()
        self.loop.post(lambda: None)

    def every(self, seconds: float, call: Callable[[], None]) -> None:
        """Call back in the loop's thread, again and again."""
        self._timers.append((self._around.now() + seconds, seconds, call))

    def turn(self, timeout_seconds: float | None = None) -> None:
        """Wait for the next thing that happens, at most so long, and see to it."""
        pause = self._pause()
        if timeout_seconds is not None:
            pause = min(pause, timeout_seconds)
        self.loop.turn(pause)
        self._advance()

    def close(self) -> None:
        """Let go of everything; what is being launched is not waited for, and given up where it can be."""
        self._around.over.set()
        for one in self.watched.values():
            self._tracker.forget(one)
        self._restarter.close()
        self._heart.farewell()
        self._around.changes.close()
        self.loop.close()

    def _pause(self) -> float:
        """Seconds until something is due."""
        now = self._around.now()
        times = [self._beat_at + BEAT_SECONDS, self._around.changes.due_at(), *(due for due, _, _ in self._timers)]
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
                times.append(one.asked_at + one.health.probe.timeout_seconds + OVERDUE_SECONDS)
        return min(times, default=None)

    def _advance(self) -> None:
        self._tracker.poll()
        now = self._around.now()
        for one in self.watched.values():
            if one.phase == "ending" and (now >= one.look_at or self._around.changed):
                self._ends.look(one, now)
        now = self._around.now()
        if self._around.changed or now >= self._around.changes.due_at():
            self._around.changed = False
            if self._around.changes.look(now):
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
        if one.phase == "unclear" and now >= one.look_at:
            one.look_at = now + _UNCLEAR_SECONDS
            self._around.seen = None
            self._adoption.place(one, self._around.look(now), self._memory.wanted())
        restart_at = restarts.due_at(one.budget)
        if restart_at is not None and now >= restart_at and one.phase in ("waiting", "failed", "running"):
            self._restarter.restart(one, now)
        if one.phase == "running" and one.health is not None:
            self._illness.probe(one, now)

    def _tick(self, now: float) -> None:
        """What is looked at now and then: memory, dead workers, unconfirmed starts, what was started by hand."""
        self._around.changes.renew()
        reap()
        self._restarter.prepare()
        wanted = self._memory.wanted()
        running = [one for one in self.watched.values() if one.phase == "running" and not one.by_hand]
        for one in running:
            self._tracker.confirm(one, wanted.get(one.name), now)
            self._tracker.restore_record(one, wanted.get(one.name))
        self._illness.weigh(now)
        self._illness.look_for_dead_workers(running)
        if now >= self._by_hand_at:
            self._by_hand_at = now + _BY_HAND_SECONDS
            self._tracker.look_for_handmade(now)
        self._beat(now)

    def _beat(self, now: float) -> None:
        self._beat_at = now
        self._around.shared = self._heart.beat(self.watched.values(), now) and self._state.file is not None

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
                self._tracker.take_up_recorded(one, run, wanted)
            elif one.phase in ("waiting", "failed") and row is not None and not row.wanted:
                self._tracker.stand_down(one)
            elif one.phase == "running" and row is not None and not row.wanted and one.sick is not None:
                one.sick, one.budget = None, restarts.recovered(one.budget, self._around.now())
            if one.phase == "running" and not one.ready:
                self._tracker.note_ready(one, row)
