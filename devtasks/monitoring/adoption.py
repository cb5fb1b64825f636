"""Where services stand when a monitor comes, and what an earlier one left undone."""

from __future__ import annotations

from devtasks.errors import DevtasksError
from devtasks.model import Process, Run, Service
from devtasks.monitoring.ends import Ends
from devtasks.monitoring.surroundings import Surroundings
from devtasks.monitoring.tracking import Tracker
from devtasks.monitoring.watched import Watched
from devtasks.observing import Observation
from devtasks.standing import stand
from devtasks.starting import Starter
from devtasks.store.watching import Wanted


class Adoption:
    """Takes up what runs already, a restart that was due, a budget."""

    def __init__(self, around: Surroundings, tracker: Tracker, ends: Ends) -> None:
        self._around = around
        self._world = around.world
        self._state = around.state
        self._memory = around.memory
        self._tracker = tracker
        self._ends = ends

    def adopt(self, now: float) -> None:
        """Take up what runs, and what an earlier monitor left undone: a restart that was due, a budget."""
        policies = {name: one.service.restart for name, one in self._around.watched.items()}
        kept = self._memory.kept(policies, boot=self._world.boot, now=now)
        for name, one in self._around.watched.items():
            if name in kept:
                left = kept[name]
                one.budget, one.own, one.acting, one.cause = left.budget, left.nonce, left.acting, left.cause
        self._around.seen, self._around.seen_at = self._around.scope.observer.observe(), now
        wanted = self._memory.wanted()
        for one in self._around.watched.values():
            self.place(one, self._around.seen, wanted)

    def place(self, one: Watched, seen: Observation, wanted: dict[str, Wanted]) -> None:
        """Where a service stands when the monitor comes."""
        standing = stand(seen, one.service)
        one.elsewhere = standing.standing == "elsewhere"
        if standing.main is not None:
            if standing.by_hand:
                self._tracker.take_by_hand(one, standing.main)
            else:
                run = standing.run or self._recorded(one.service, standing.main, seen)
                self._tracker.take_up(one, run, standing.main, wanted)
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
        if not self._ends.is_wanted(one, wanted.get(one.name), adopting=True):
            return
        if one.budget.failed and last.nonce == one.own:
            one.phase = "failed"
        elif one.budget.next_at is not None and last.nonce == one.own:
            one.phase = "waiting"
        else:
            lived = last.ended_at - last.started_at if last.ended_at is not None else None
            self._ends.exited(one, last.exit_code, lived)

    def _recorded(self, service: Service, main: Process, seen: Observation) -> Run | None:
        """A run whose record was lost, recorded anew."""
        try:
            Starter(self._around.scope.observer, self._around.tell, permit=lambda _: None).adopt(
                service, main, seen
            )
        except DevtasksError:
            return None
        return next(iter(self._state.open_runs(service.name)), None)
