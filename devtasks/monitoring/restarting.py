"""What follows from an end or an illness: a restart within the limits, or giving up."""

from __future__ import annotations

import random
import secrets

from devtasks import restarts
from devtasks.launching import libraries
from devtasks.monitoring import deed
from devtasks.monitoring.surroundings import Surroundings
from devtasks.monitoring.tracking import Tracker
from devtasks.monitoring.watched import Watched
from devtasks.phrases import duration
from devtasks.sparing import Spares
from devtasks.values import replace

_UNWRITABLE_SECONDS = 2.0  # between attempts to start something, at least, while nothing can be recorded


class Restarter:
    """Spends the budgets. Each restart is carried out by a thread of its own (`deed`)."""

    def __init__(self, around: Surroundings, tracker: Tracker) -> None:
        self._around = around
        self._state = around.state
        self._memory = around.memory
        self._tell = around.tell
        self._tracker = tracker
        self._spares = Spares(libraries())
        self._hands = deed.Hands(around.project, self._tell_from_thread)
        self._groups: dict[str, list[Watched]] = {}
        for one in around.watched.values():
            self._groups.setdefault(one.service.group, []).append(one)

    def decide(self, one: Watched, *, failure: bool, told: tuple[str, ...], sick: str | None = None) -> None:
        """What follows from an end, or from a reason to end it."""
        now, policy = self._around.now(), one.service.restart
        one.budget, verdict = restarts.ended(
            one.budget,
            policy,
            now,
            failure=failure,
            chance=random.random(),  # noqa: S311
        )
        one.sick = sick
        if verdict == "restart" and not self._around.shared:  # a start that cannot be recorded fails
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
        self._around.keep(one)

    def _give_up(self, one: Watched, told: tuple[str, ...]) -> None:
        policy = one.service.restart
        until = one.budget.failed_until
        if until is None:
            then = f"until someone starts it: inv start-{one.service.group}"
        else:
            then = f"for {duration(until - self._around.now())}"
        many = f"{policy.max} restart{'s' if policy.max != 1 else ''} in {policy.window_seconds:g} s"
        heading = f"given up {then}: {many} did not help" if policy.max else f"given up {then}: max = 0"
        report = (heading, *told)
        one.cause = "\n".join(report)
        for line in (f"{one.name}: {heading}", *(f"{one.name}: {line}" for line in told)):
            self._tell(line)
        self._around.happened(one, "failure", f"{heading}; {'; '.join(told[:2])}", report=report)

    def restart(self, one: Watched, now: float) -> None:
        """Its moment has come: if nothing speaks against it, a thread does it."""
        if self._around.over.is_set():
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
            self._tracker.stand_down(one)
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
        self._around.keep(one, acting_on=replacing)
        pid = one.main.pid if one.main is not None else None
        number = one.service.restart.max - restarts.left(budget, one.service.restart, now)
        self._around.happened(one, "restart", f"{why}: restart {number} of {one.service.restart.max}", pid=pid)
        if replacing is not None:
            self._tell(f"{one.name}: {why}; restarting ({number} of {one.service.restart.max})")
        self._tracker.forget(one)
        one.phase = "acting"
        order = deed.Order(
            service=one.service,
            nonce=one.own,
            replacing=replacing,
            known=self._around.seen.table if self._around.seen is not None else None,
            spare=self._spares.take,
            may=lambda: not self._around.over.is_set(),
            done=lambda result: self._around.loop.post(lambda: self._done(one, result)),
        )
        self._hands.give(order)

    def _group_is_up(self, name: str) -> bool:
        return all(one.is_up for one in self._groups.get(name, ()))

    def _done(self, one: Watched, result: deed.Done) -> None:
        """A thread has started it, or could not."""
        now = self._around.now()
        one.acting = False
        one.phase = "idle"
        started = result.started
        if result.forbidden:
            self._tracker.stand_down(one)
            return
        if started.outcome in ("started", "already-running"):
            run = next(iter(self._state.open_runs(one.name)), None)
            one.budget = restarts.begun(one.budget, now)
            if run is None or run.main is None:
                one.phase, one.look_at = "unclear", now  # its record is gone: the process table tells
                return
            self._tracker.take_up_recorded(one, run, self._memory.wanted())
            if started.outcome == "started":
                self._around.keep(one)
                self._tell(f"{one.name}: runs again (PID {started.pid}), ready after {duration(started.seconds)}")
                self._around.happened(one, "ready", f"after {duration(started.seconds)}", pid=started.pid)
                self.prepare()
            return
        one.budget = restarts.begun(one.budget, now)
        one.run = self._state.last_run(one.name) or one.run
        told = self._around.evidence.of_failed_start(one.service, started)
        one.cause = "\n".join(line for line in told if not line.startswith("  |"))
        self.decide(one, failure=True, told=told)

    def prepare(self) -> None:
        """Have a runner ready for a restart, unless one is under way or nothing could ever be restarted."""
        quiet = all(one.phase not in ("acting", "ending", "waiting") for one in self._around.watched.values())
        if quiet and any(one.phase == "running" and not one.by_hand for one in self._around.watched.values()):
            self._spares.refill()
            self._hands.refill()

    def close(self) -> None:
        self._hands.close()
        self._spares.close()

    def _tell_from_thread(self, line: str) -> None:
        self._around.loop.post(lambda: self._tell(line))
