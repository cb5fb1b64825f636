"""Whether a starting service is ready yet: asked again and again, never blocking."""

from __future__ import annotations

from collections.abc import Collection

from devtasks.asking.attempt import Attempt
from devtasks.model import Project, Service
from devtasks.probes import Prober
from devtasks.store.logs import since
from devtasks.world import World

_FIRST_SECONDS = 2.0  # for the first question; each that is overdue doubles it
_LONG_SECONDS = 0.5  # for an answer, to be told so
_COMMAND_PAUSE_SECONDS = 0.1  # between two commands, at least


class Readiness:
    """Of one service; `log_offset` is where its new log lines begin."""

    def __init__(self, world: World, project: Project, service: Service, *, log_offset: int) -> None:
        probe = service.ready
        log = since(service.log_file, log_offset) if probe.log is not None else None
        self._prober = Prober(world, project, service, probe=probe, log=log)
        self._world = world
        self._seconds = _FIRST_SECONDS
        self._longest = max(_FIRST_SECONDS, probe.timeout_seconds)
        self._not_before = 0.0
        self._said: str | None = None
        self.attempt: Attempt | None = None  # the question under way, for whoever waits for it

    def holds(self, members: Collection[int]) -> bool:
        """Go on asking. `members` are the service's processes; `detail` says what is missing."""
        if self.attempt is None:
            if self._world.monotonic() < self._not_before:
                return False
            self.attempt = self._prober.begin(members, seconds=self._seconds)
        attempt = self.attempt
        answer = attempt.advance()
        if answer is None:
            return False
        self.attempt = None
        self._said = answer.detail
        if attempt.overdue:  # the first answer of all may take its time, and a shorter patience never sees it
            self._seconds = min(2 * self._seconds, self._longest)
        if self._prober.kind == "command":
            self._not_before = self._world.monotonic() + max(_COMMAND_PAUSE_SECONDS, answer.seconds)
        return answer.state == "healthy"

    @property
    def detail(self) -> str:
        """What is missing: the last answer, or that one is long in coming."""
        if self.attempt is not None and (self._said is None or self.attempt.age >= _LONG_SECONDS):
            return f"{self._prober.name} has not answered yet"
        return self._said or "not asked yet"

    def close(self) -> None:
        """Nobody asks any more. Idempotent."""
        if self.attempt is not None:
            self.attempt.cancel()
            self.attempt = None
