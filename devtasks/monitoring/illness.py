"""Whether what runs is well: probes (each in a thread of its own), memory, workers that died behind a reloader."""

from __future__ import annotations

import threading
from collections.abc import Iterable

from devtasks import causes, restarts
from devtasks.health import Answer
from devtasks.model import Identity
from devtasks.monitoring.ends import Ends
from devtasks.monitoring.happening import Kind
from devtasks.monitoring.restarting import Restarter
from devtasks.monitoring.surroundings import Surroundings
from devtasks.monitoring.watched import Watched
from devtasks.probes import Prober

OVERDUE_SECONDS = 5.0  # beyond its own limit, then a probe that hangs counts as one without an answer


class Illness:
    """Notices it in services that run, and has them started again."""

    def __init__(self, around: Surroundings, ends: Ends, restarter: Restarter) -> None:
        self._around = around
        self._tell = around.tell
        self._ends = ends
        self._restarter = restarter
        self._probers = {
            one.name: Prober(around.world, around.project, one.service)
            for one in around.watched.values()
            if one.service.health is not None
        }

    def probe(self, one: Watched, now: float) -> None:
        health = one.health
        if health is None:
            return
        if one.asked_at is not None:
            limit = health.probe.timeout_seconds + OVERDUE_SECONDS
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
            self._around.loop.post(lambda: self._answer(one, main, answer))

        threading.Thread(target=ask, name=f"probe {one.name}", daemon=True).start()

    def _answer(self, one: Watched, main: Identity | None, answer: Answer) -> None:
        """An answer arrived; one about an earlier process counts no more."""
        if one.main == main and one.phase == "running" and one.health is not None and one.asked_at is not None:
            one.asked_at = None
            self._answered(one, answer, self._around.now())

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
                self._around.keep(one)
        elif condition in ("unhealthy", "foreign"):
            self._tell(f"{one.name}: {condition}: {detail}")
        if condition in ("healthy", "unhealthy", "foreign"):
            kind: Kind = condition
            self._around.happened(one, kind, detail, pid=pid)
        if condition == "unhealthy" and not one.by_hand and one.sick is None:
            self._sicken(one, f"unhealthy, {health.failures} probes in a row: {detail}")

    def _sicken(self, one: Watched, why: str) -> None:
        """A running service is to be started again, if it is wanted and a restart is left."""
        if one.run is None or not self._ends.is_wanted(one, self._around.memory.wanted().get(one.name)):
            return
        lines = self._around.evidence.last_lines(one.service)
        cause = self._worker_dead(one)
        one.cause = why if cause is None else f"{why}\ncause: {cause.text}"
        told = (why, *((f"cause: {cause.text}",) if cause is not None else ()), *(f"  | {line}" for line in lines))
        self._restarter.decide(one, failure=True, told=told, sick=why)

    def weigh(self, now: float) -> None:
        """Whose tree has outgrown its memory."""
        heavy = [
            one
            for one in self._around.watched.values()
            if one.service.restart.memory_above_bytes is not None
            and one.phase == "running"
            and one.sick is None
            and not one.by_hand
            and not one.budget.failed
        ]
        if not heavy:
            return
        seen = self._around.look(now)
        for one in heavy:
            limit = one.service.restart.memory_above_bytes or 0
            usage = self._around.world.usage(match.process.pid for match in seen.of(one.name))
            total = sum(rss for _, rss in usage.values())
            if total > limit:
                self._sicken(one, f"uses {total >> 20} MiB of memory, above {limit >> 20} MiB")

    def look_for_dead_workers(self, running: Iterable[Watched]) -> None:
        """A reloader lives on when its worker is dead: said once; it is restarted only if a probe fails, too."""
        for one in running:
            if not one.ready:
                continue
            dead = self._worker_dead(one)
            if dead is not None and not one.mute:
                self._tell(f"{one.name}: {dead.text}")
                self._around.happened(
                    one, "unhealthy", dead.text, pid=one.main.pid if one.main is not None else None
                )
            one.mute = dead is not None

    def _worker_dead(self, one: Watched) -> causes.Cause | None:
        if one.main is None:
            return None
        return self._around.evidence.worker_dead(one.service, one.main, lambda: self._members(one))

    def _members(self, one: Watched) -> tuple[int, ...]:
        found = tuple(match.process.pid for match in self._around.look(self._around.now()).of(one.name))
        return found or ((one.main.pid,) if one.main is not None else ())
