"""One look after another, with what was seen before: each costs what has changed since the last."""

from __future__ import annotations

from collections import deque

from devtasks.metering import Meter
from devtasks.observing import select
from devtasks.outcomes import Frame, Trail
from devtasks.showing import Showing
from devtasks.verbs import Scope

TRAIL_LENGTH = 60  # frames that a history bar may go back


class Frames:
    """Takes the frames of one live view. Nothing is recorded: `status` keeps its own measure."""

    def __init__(self, scope: Scope, names: tuple[str, ...]) -> None:
        self._scope = scope
        self._names = names
        self._meter = Meter(scope.world, scope.world.monotonic, {})
        seen = scope.observer.observe() if names else scope.observe()
        self._meter.look(seen)  # what the first frame is compared with
        self._table = seen.table
        self._cpu: dict[str, deque[float]] = {}
        self._rss: dict[str, deque[float]] = {}
        self._limits = {one.name: one.restart.memory_above_bytes for one in scope.project.services}

    def take(self) -> Frame:
        """How everything stands now."""
        seen = self._scope.observer.observe(self._table)
        self._table = seen.table
        showing = Showing(self._scope.observer, seen, self._meter)
        status = showing.status(select(self._scope.project, self._names))
        for row in status.services:
            self._cpu.setdefault(row.name, deque(maxlen=TRAIL_LENGTH)).append(row.cpu_percent or 0.0)
            self._rss.setdefault(row.name, deque(maxlen=TRAIL_LENGTH)).append(row.rss_bytes or 0)
        trails = {
            row.name: Trail(
                cpu_percent=tuple(self._cpu[row.name]),
                rss_bytes=tuple(self._rss[row.name]),
                memory_above_bytes=self._limits.get(row.name),
            )
            for row in status.services
        }
        return Frame(at=self._scope.world.now(), status=status, trails=trails)
