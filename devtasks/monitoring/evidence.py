"""What is gathered to tell why a service ended or is ill: last lines, who has its port, what the kernel says."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Iterable, Sequence

from devtasks import causes
from devtasks.model import Identity, Process, Project, Service
from devtasks.outcomes import Started
from devtasks.report import foreign
from devtasks.showing import command_line
from devtasks.store import logs
from devtasks.values import replace
from devtasks.world import World

_LINES = 10


class Evidence:
    """For one project. What takes long is looked up only where the log hints at it."""

    def __init__(self, world: World, project: Project) -> None:
        self._world = world
        self._project = project
        self._kills = world.memory_kills()
        self._workers: dict[
            str, tuple[int, frozenset[int]]
        ] = {}  # by service: main process, who listened beside it

    def last_lines(self, service: Service) -> tuple[str, ...]:
        """The end of its log, fit for people."""
        return tuple(foreign(line) for line in logs.tail(service.log_file, _LINES))

    def cause(
        self, service: Service, exit_code: int | None, lines: Sequence[str], oom_kills: int | None = None
    ) -> causes.Cause | None:
        """Why it ended, with `oom_kills` in its cgroup. That no command of ours killed it the caller knows."""
        facts = causes.Facts(
            ports=service.ports,
            oom_kills=oom_kills,
            oom_kills_anywhere=self._new_kills(),
            disk_free_bytes=_free(service),
        )
        found = causes.explain(exit_code, lines, facts)
        if found is not None and found.kind == "address-in-use":
            return causes.explain(exit_code, lines, replace(facts, holders=self._holders(service)))
        return found

    def of_failed_start(self, service: Service, started: Started) -> tuple[str, ...]:
        """Why a restart came to nothing, in lines."""
        lines = tuple(foreign(line) for line in started.log_tail)
        cause = self.cause(service, 1, lines) if lines else None
        told = [f"could not be started: {foreign(started.detail or started.outcome)}"]
        if cause is not None:
            told.append(f"cause: {cause.text}")
        return (*told, *(f"  | {line}" for line in lines))

    def worker_dead(
        self, service: Service, main: Identity, members: Callable[[], Iterable[int]]
    ) -> causes.Cause | None:
        """Whether it lives with nobody behind its port; `members` are looked up only where that is in doubt."""
        port = service.port
        if port is None or not _listens_itself(service):
            return None
        if port not in self._world.listening([port]):
            return causes.worker_dead(port, listening=False)
        known = self._workers.get(service.name)
        if known is not None and known[0] == main.pid and (not known[1] or self._alive(known[1])):
            return None
        holders = frozenset(self._world.holders([port], sorted(members())).get(port, ()))
        others = holders - {main.pid}
        if known is not None and known[0] == main.pid and main.pid in holders and not others:
            return causes.worker_dead(port, listening=True)
        self._workers[service.name] = (main.pid, others)
        return None

    def _alive(self, pids: frozenset[int]) -> bool:
        return any(not row.gone for row in self._world.reread(pids).values())

    def _new_kills(self) -> int | None:
        """How many processes the kernel killed for memory since we last asked, on the whole machine."""
        before, self._kills = self._kills, self._world.memory_kills()
        if before is None or self._kills is None:
            return None
        return max(0, self._kills - before)

    def _holders(self, service: Service) -> tuple[str, ...]:
        """Who listens on its ports."""
        found = []
        for pids in self._world.holders(service.ports).values():
            rows = self._world.reread(pids[:3])
            found += [_described(row) for row in rows.values()] or ["a process that we may not see"]
        return tuple(found)


def _listens_itself(service: Service) -> bool:
    asks_elsewhere = service.ready.log is not None or service.ready.command is not None
    return service.port is not None and service.listener == "ours" and not asks_elsewhere


def _described(row: Process) -> str:
    return f"PID {row.pid} ({foreign(command_line(row))[:80]})"


def _free(service: Service) -> int | None:
    try:
        return shutil.disk_usage(service.log_file.parent).free
    except OSError:
        return None
