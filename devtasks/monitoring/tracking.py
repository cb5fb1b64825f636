"""Which process a monitor watches for each service: taking it up, noticing its end, letting go of it."""

from __future__ import annotations

from devtasks import restarts
from devtasks.health import begin
from devtasks.model import Process, Run
from devtasks.monitoring.surroundings import BEAT_SECONDS, Surroundings
from devtasks.monitoring.watched import Watched
from devtasks.standing import stand
from devtasks.store.watching import Wanted
from devtasks.world import Handle

EXIT_RECORD_SECONDS = 0.5  # how long a runner may take to write down an exit that we saw


class Tracker:
    """Keeps `run`, `main`, `handle` and `phase` of what is watched true, from running to ending."""

    def __init__(self, around: Surroundings) -> None:
        self._around = around
        self._world = around.world
        self._state = around.state

    def take_up_recorded(self, one: Watched, run: Run, wanted: dict[str, Wanted]) -> None:
        if run.main is None:
            return
        row = self._world.reread([run.main.pid]).get(run.main.pid)
        if row is None or row.gone or row.start != run.main.start:
            self.forget(one)
            one.run, one.main, one.began, one.ready = run, run.main, self._around.now(), False
            if run.nonce != one.own:
                one.budget = restarts.Budget()
            self._begin_ending(one)
            return
        self.take_up(one, run, row, wanted)

    def take_up(self, one: Watched, run: Run | None, main: Process, wanted: dict[str, Wanted]) -> None:
        """Watch a process that was found alive."""
        self.forget(one)
        now = self._around.now()
        one.run, one.main, one.elsewhere = run, self._world.identity(main), False
        one.phase, one.ready, one.blocked = "running", False, None
        one.folder = self._around.changes.folder
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
            self._around.loop.attend(one.handle.descriptor, lambda: self._gone(one))
        self.note_ready(one, wanted.get(one.name))

    def take_by_hand(self, one: Watched, main: Process) -> None:
        """What nobody recorded is probed and nothing else: it is not ours to start again."""
        self.take_up(one, None, main, {})
        one.by_hand = True
        self.note_ready(one, None)

    def note_ready(self, one: Watched, row: Wanted | None) -> None:
        """It is ready, as its starter recorded, or as its age tells: from then on it is probed."""
        if one.phase != "running" or one.ready:
            return
        now = self._around.now()
        recorded = row is not None and one.run is not None and row.nonce == one.run.nonce
        if recorded or one.by_hand or now - one.began >= one.service.ready.timeout_seconds:
            one.ready = True
            if one.service.health is not None:
                one.health = begin(one.service.health, now)
            else:
                one.budget = restarts.well(one.budget, now)

    def confirm(self, one: Watched, row: Wanted | None, now: float) -> None:
        """A run whose starter was killed, and which lives on, is wanted all the same."""
        self.note_ready(one, row)
        recorded = row is not None and one.run is not None and row.nonce == one.run.nonce
        if one.ready and not recorded and one.run is not None and now - one.began >= BEAT_SECONDS:
            self._around.memory.confirm(one.name, one.run.nonce)

    def restore_record(self, one: Watched, row: Wanted | None) -> None:
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
            self._around.keep(one)

    def look_for_handmade(self, now: float) -> None:
        """What was started by hand shows in no record, only in the process table."""
        idle = [
            one for one in self._around.watched.values() if one.phase == "idle" and one.service.health is not None
        ]
        if idle:
            seen = self._around.look(now)
            for one in idle:
                standing = stand(seen, one.service)
                if standing.main is not None and standing.by_hand:
                    self.take_by_hand(one, standing.main)

    def stand_down(self, one: Watched) -> None:
        """Somebody stopped it: nothing is to be done any more."""
        self.forget(one)
        one.phase, one.budget, one.blocked, one.cause, one.acting = "idle", restarts.Budget(), None, None, False
        one.own = None

    def forget(self, one: Watched) -> None:
        if one.handle is not None and one.handle.descriptor is not None:
            self._around.loop.neglect(one.handle.descriptor)
        one.let_go()

    def poll(self) -> None:
        """Where no descriptor tells of exits."""
        handles: dict[int, tuple[Watched, Handle]] = {}
        for one in self._around.watched.values():
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
        self.forget(one)
        if by_hand:
            one.phase = "idle"
            return
        self._begin_ending(one)

    def _begin_ending(self, one: Watched) -> None:
        now = self._around.now()
        one.phase, one.look_at = "ending", now
        one.give_up_at = now + EXIT_RECORD_SECONDS
        if one.service.daemon_pid_file is not None:
            one.give_up_at = now + one.service.ready.timeout_seconds
