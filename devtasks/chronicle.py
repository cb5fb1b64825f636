"""The events of a project, as `history` shows them: those so far, and those that come."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from devtasks.observing import select
from devtasks.outcomes import History
from devtasks.store.events import Event
from devtasks.store.state import EVENTS_KEPT
from devtasks.verbs import Scope

_PAUSE_SECONDS = 0.5


class Chronicle:
    """What happened to the services called `names`; without names, all there is, also of services that were."""

    def __init__(self, scope: Scope, names: tuple[str, ...], *, since: float = 0.0) -> None:
        self._scope = scope
        self._names = tuple(service.name for service in select(scope.project, names)) if names else ()
        self._since = since
        self._last = 0  # the number of the last event that was read
        self._file: tuple[int, int] | None = None

    def so_far(self, lines: int | None = None) -> History:
        """The last `lines` events, oldest first; all without it. What ended unseen is noticed first."""
        return History(project=self._scope.project.name, events=self._read(lines or EVENTS_KEPT))

    def follow(self, show: Callable[[Sequence[Event]], bool]) -> None:
        """Give `show` what happens from now on, within a second, as long as it says yes.

        Of a database that takes the place of the one that was read, everything is new.
        """
        going_on = True
        while going_on:
            self._scope.world.sleep(_PAUSE_SECONDS)
            found = self._read(EVENTS_KEPT)
            self._scope.tell_notes()
            going_on = show(found)

    def _read(self, limit: int) -> tuple[Event, ...]:
        state = self._scope.state
        self._scope.observer.reconcile()
        found = state.events(self._names, since=self._since, after=self._last, limit=limit)
        if state.file != self._file:
            if self._last:
                found = state.events(self._names, since=self._since, limit=limit)
            self._file, self._last = state.file, 0
        self._last = max((event.number for event in found), default=self._last)
        return found
