"""What streams are told beside states: new log lines and new events of the history. For the lookout's thread."""

from __future__ import annotations

from collections.abc import Sequence

from devtasks.dashboard import views
from devtasks.dashboard.streams import Hub
from devtasks.model import Project
from devtasks.store.logs.follow import Follower
from devtasks.verbs import Scope

LINES_AT_ONCE = 500  # of one service; of a flood the rest is counted only
EVENTS_AT_ONCE = 200
_POLLS_AT_ONCE = 8  # while a flood goes on, each of 256 KiB a log


class News:
    """Follows the logs and the history, from the moment when somebody wants them."""

    def __init__(self, hub: Hub) -> None:
        self._hub = hub
        self._followed: tuple[Project, Follower] | None = None
        self._last: tuple[object, int] | None = None  # the state's file, and the number of the last event told
        self._history: Sequence[object] = ()

    def tell(self, scope: Scope, *, history: Sequence[object]) -> None:
        """`history` is what changes when the state's file does."""
        self._tell_logs(scope.project)
        if history != self._history and self._hub.wants("history"):
            self._history = history
            self._tell_history(scope)

    def forget(self) -> None:
        """Nobody listens any more: what comes next begins at the then present end."""
        if self._followed is not None:
            self._followed[1].close()
        self._followed = self._last = None
        self._history = ()

    # ----------------------------------------------------------------------------------------------------

    def _tell_logs(self, project: Project) -> None:
        wanted = {service.name for service in project.services if self._hub.wants_log(service.name)}
        if self._followed is None or self._followed[0] is not project:
            if self._followed is not None:
                self._followed[1].close()
            follower = Follower({service.name: service.log_file for service in project.services})
            self._followed = (project, follower)
        lines: dict[str, list[str]] = {}
        for name, line in self._polled(self._followed[1]):
            if name in wanted:
                lines.setdefault(name, []).append(line)
        for name, found in lines.items():
            shown = found[-LINES_AT_ONCE:]
            told = views.log(((name, line) for line in shown), dropped=len(found) - len(shown))
            self._hub.publish("log", told)

    def _polled(self, follower: Follower) -> list[tuple[str, str]]:
        found = follower.poll()
        for _ in range(_POLLS_AT_ONCE - 1):
            if not found or follower.timeout_seconds > 0:
                break
            found += follower.poll()
        return found

    def _tell_history(self, scope: Scope) -> None:
        last = self._last[1] if self._last is not None and self._last[0] == scope.state.file else None
        found = scope.state.events(after=last or 0, limit=EVENTS_AT_ONCE if last is not None else 1)
        number = max((one.number for one in found), default=last or 0)
        if last is not None and found:
            self._hub.publish("history", views.history(found))
        self._last = (scope.state.file, number)
