"""What the parts of a monitor share: the services it watches, where things are written down, and who is told."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterable

from devtasks.model import Service
from devtasks.monitoring.changes import Changes
from devtasks.monitoring.evidence import Evidence
from devtasks.monitoring.happening import Happening, Kind
from devtasks.monitoring.loop import Loop
from devtasks.monitoring.watched import Watched
from devtasks.observing import Observation
from devtasks.verbs import Scope

BEAT_SECONDS = 5.0
_LOOK_AGAIN_SECONDS = 1.0  # who belongs to a service is found out at most so often


class Surroundings:
    """Belongs to one monitor; everything but `over` is for the loop's thread alone."""

    def __init__(
        self,
        scope: Scope,
        services: Iterable[Service],
        *,
        tell: Callable[[str], None],
        told: Callable[[Happening], None],
    ) -> None:
        self.scope = scope
        self.world = scope.world
        self.project = scope.project
        self.state = scope.state
        self.memory = scope.state.watching
        self.tell = tell
        self._told = told
        self.loop = Loop()
        self.watched = {one.name: Watched(one) for one in services if one.command}
        self.evidence = Evidence(self.world, self.project)
        self.over = threading.Event()
        self.shared = True  # whether what is recorded can be read by other commands
        self.changed = True  # other commands may have written something
        self.seen: Observation | None = None
        self.seen_at = 0.0
        self.changes = Changes(self.project, self.loop, self.state, self._look_soon)

    def _look_soon(self) -> None:
        self.changed = True

    def now(self) -> float:
        return self.world.monotonic()

    def look(self, now: float) -> Observation:
        """A look at the machine, not older than a second."""
        if self.seen is None or now - self.seen_at >= _LOOK_AGAIN_SECONDS:
            table = self.seen.table if self.seen is not None else None
            self.seen, self.seen_at = self.scope.observer.observe(table), now
        return self.seen

    def keep(self, one: Watched, *, acting_on: str | None = None) -> None:
        """Keep the budget, so that a monitor that comes after this one goes on with it."""
        nonce = acting_on or one.own or (one.run.nonce if one.run is not None else None)
        kept = self.memory.keep(
            one.name, one.budget, boot=self.world.boot, nonce=nonce, acting=one.acting, cause=one.cause
        )
        self.shared = kept and self.state.file is not None

    def happened(
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
        at = self.world.now()
        if kind not in ("exit", "ready"):  # those are told by whoever ends a run in the state, and by its starter
            self.state.event(one.name, kind, pid=pid, detail=detail, at=at)
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
