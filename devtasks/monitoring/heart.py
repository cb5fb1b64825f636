"""The monitor's heartbeat, and what it tells of each service: for `status`, the dashboard, and who comes after."""

from __future__ import annotations

import os
from collections.abc import Iterable

from devtasks import restarts
from devtasks.monitoring.watched import Watched
from devtasks.store.watching import MonitorBeat, ServiceBeat, Watching
from devtasks.values import replace
from devtasks.world import World


class Heart:
    """Writes rarely: all at a beat, and at once what people wait for."""

    def __init__(self, world: World, memory: Watching) -> None:
        self._world = world
        self._memory = memory
        me = world.reread([os.getpid()]).get(os.getpid())
        self._identity = world.identity(me) if me is not None else None
        self._since = world.now()

    def has_news(self, watched: Iterable[Watched], now: float) -> bool:
        """Whether something changed that should not wait for the next beat."""
        return any(one.told is None or _news(one.told) != _news(self._row(one, now)) for one in watched)

    def beat(self, watched: Iterable[Watched], now: float) -> bool:
        """Write down that we live, and what is new. Whether that was kept."""
        if self._identity is None:
            return False
        rows = []
        for one in watched:
            row = self._row(one, now)
            if one.told is None or replace(one.told, at=row.at) != row:
                rows.append(row)
            one.told = row
        monitor = MonitorBeat(identity=self._identity, since=self._since, at=self._world.now())
        return self._memory.beat(monitor, rows)

    def farewell(self) -> None:
        self._memory.farewell()

    def _row(self, one: Watched, now: float) -> ServiceBeat:
        health, budget, policy = one.health, one.budget, one.service.restart
        answer = health.answer if health is not None else None
        answered_at = health.answered_at if health is not None else None
        due = restarts.due_at(budget) if not budget.failed else None
        return ServiceBeat(
            service=one.name,
            at=self._world.now(),
            nonce=one.run.nonce if one.run is not None else one.own,
            health=health.condition if health is not None else None,
            probe=answer.probe if answer is not None else None,
            answered_at=self._wall(answered_at, now),
            seconds=answer.seconds if answer is not None else None,
            detail=one.sick or (answer.detail if answer is not None else None),
            restarts=budget.total,
            max_restarts=policy.max,
            left=restarts.left(budget, policy, now),
            next_restart_at=self._wall(due, now),
            failed=budget.failed,
            failed_until=self._wall(budget.failed_until, now),
            cause=one.cause,
            blocked=one.blocked,
        )

    def _wall(self, at: float | None, now: float) -> float | None:
        """A moment of ours in seconds since the epoch, in whole tenths: it would differ with each look else."""
        return None if at is None else round(self._world.now() + at - now, 1)


def _news(row: ServiceBeat) -> tuple[object, ...]:
    """What of it should not wait."""
    planned = row.next_restart_at is not None
    return row.nonce, row.health, row.restarts, planned, row.failed, row.cause, row.blocked
