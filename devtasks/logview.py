"""The logs of services as somebody looks at them: what they hold, and what comes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from devtasks.model import LogLine, Service
from devtasks.outcomes import LogLines, LogProblem
from devtasks.store import statedir
from devtasks.store.logs.follow import Follower
from devtasks.store.logs.lookback import MOST_LINES, TimedLine, look_back, timed
from devtasks.store.logs.merging import in_time_order, just_arrived

LINES = 20  # of each service, without --lines and --since


class LogView:
    """The lines of `services` that match: the last `lines` of each, none known to be older than `since`."""

    def __init__(
        self,
        services: Sequence[Service],
        *,
        lines: int | None = None,
        since: float | None = None,
        matches: Callable[[str], bool] | None = None,
    ) -> None:
        self._logs = {service.name: service.log_file for service in services if service.command}
        self._containers = {service.name: service for service in services if service.contained}
        self.services = tuple(service.name for service in services if service.command or service.contained)
        self._lines = lines or (LINES if since is None else MOST_LINES)
        self._since = since or 0.0
        self._matches = matches

    def so_far(self, *, now: float, follower: Follower | None = None) -> LogLines:
        """What the logs hold; with a `follower`, up to where it goes on."""
        begun = follower.begun() if follower is not None else dict.fromkeys(self._logs)
        found: dict[str, list[TimedLine]] = {}
        problems: list[LogProblem] = []
        for name, present in begun.items():
            try:
                found[name] = look_back(
                    self._logs[name],
                    lines=self._lines,
                    since=self._since,
                    matches=self._matches,
                    present=present,
                    reference=now,
                )
            except FileNotFoundError:
                problems.append(self._problem(name, "there is no log yet"))
            except OSError as error:
                detail = f"the log cannot be read: {statedir.explain(error)}"
                problems.append(self._problem(name, detail, failure=True))
        found |= {name: self._of_container(service, now) for name, service in self._containers.items()}
        in_order = {name: found[name] for name in self.services if name in found}
        return LogLines(lines=tuple(in_time_order(in_order)), services=self.services, problems=tuple(problems))

    def follower(self) -> Follower:
        """What goes on from now on; the caller's to close."""
        return Follower(self._logs)

    def not_followed(self) -> list[str]:
        """What does not go on, as lines for people."""
        return [f"{name}: the log of a container is not followed, only shown" for name in self._containers]

    def coming(self, lines: Sequence[tuple[str, str]], *, now: float, times: bool) -> list[LogLine]:
        """What has just come, as it is to be shown; of one service alone with the time of each only on request."""
        if self._matches is not None:
            lines = [(name, line) for name, line in lines if self._matches(line)]
        if not times and len({name for name, _ in lines}) == 1:
            return [LogLine(name, line) for name, line in lines]
        return just_arrived(lines, now)

    def _of_container(self, service: Service, now: float) -> list[TimedLine]:
        from devtasks.engines import contained

        lines = timed([line for _, line in contained.logs(service, self._lines)], reference=now)
        matches = self._matches or (lambda _line: True)
        return [line for line in lines if line.at >= self._since and matches(line.text)]

    def _problem(self, name: str, what: str, *, failure: bool = False) -> LogProblem:
        return LogProblem(service=name, detail=f"{self._logs[name]}: {what}", failure=failure)
