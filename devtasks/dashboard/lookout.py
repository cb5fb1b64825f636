"""The one thread that looks at the machine, for all requests and all streams.

It keeps an observation, and before it answers finds out cheaply whether that is still true: the kernel's cursor of
given out PIDs, the listening ports, the PID files, and the pidfds of what is ours. Only when one of these has
changed, or two seconds have passed, does it look again. Without requests and streams it sleeps.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections import deque
from collections.abc import Callable, Mapping
from concurrent.futures import Future
from typing import Any, TypeVar

from devtasks import verbs
from devtasks.dashboard import views
from devtasks.dashboard.news import News
from devtasks.dashboard.streams import Hub
from devtasks.errors import DevtasksError
from devtasks.metering import Meter
from devtasks.model import Match, Project
from devtasks.observing import Observation
from devtasks.observing import select as selected
from devtasks.outcomes import Processes, Status
from devtasks.ownership import split_marker
from devtasks.showing import Showing
from devtasks.verbs import Scope
from devtasks.world import Handle

TICK_SECONDS = 0.15  # while somebody watches
LOOK_SECONDS = 2.0  # as old as an observation may get
RESOURCES_SECONDS = 1.9  # of every look that is due, not of those between
METER_SECONDS = 1.0
PINNED = 48  # processes whose end is heard of at once

T = TypeVar("T")


class Sight:
    """What is seen at this moment. Valid while it is asked, in the lookout's thread."""

    def __init__(self, scope: Scope, seen: Observation, meter: Meter) -> None:
        self.scope = scope
        self.seen = seen
        self._meter = meter

    def status(self) -> Status:
        return self._showing().status(self.scope.project.services)

    def processes(self, name: str) -> Processes:
        services = selected(self.scope.project, (name,))
        return self._showing().processes(services, everything=False)

    def cpu_seconds(self) -> dict[str, float]:
        """CPU time that the living processes of each service have used."""
        usage = self.scope.world.usage(self.seen.pids())
        return {
            name: sum(usage[match.process.pid][0] for match in matches if match.process.pid in usage)
            for name, matches in self.seen.matches.items()
        }

    def _showing(self) -> Showing:
        return Showing(self.scope.observer, self.seen, self._meter)


class _PacedMeter(Meter):
    """Measures once a second, however often it is asked: over a shorter time a percentage is noise."""

    _at = float("-inf")
    _pids: frozenset[int] = frozenset()

    def look(self, seen: Observation) -> None:
        pids, now = frozenset(seen.pids()), time.monotonic()
        if pids != self._pids or now - self._at >= METER_SECONDS:
            self._pids, self._at = pids, now
            super().look(seen)


class Lookout(threading.Thread):
    """Answers questions with a fresh look; while `hub` has streams, tells them what changes.

    `actions` tells what is being done to which service.
    """

    def __init__(
        self,
        project: Project,
        *,
        hub: Hub,
        actions: Callable[[], Mapping[str, str]],
    ) -> None:
        super().__init__(name="lookout", daemon=True)
        self.project = project  # and, from the first look on, what is seen of it that is configured no more
        self._hub = hub
        self._news = News(hub)
        self._actions = actions
        self._questions: deque[tuple[Callable[[Sight], Any], Future[Any]]] = deque()
        self._waking, self._wake = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        self._ending = False
        self._poll = select.poll()
        self._poll.register(self._waking, select.POLLIN)
        self._pins: dict[int, Handle] = {}  # by descriptor
        self._runners: set[int] = set()  # our own children, to be reaped
        self._told: Mapping[str, Any] = {}  # what was published last
        self._told_at: tuple[float, Mapping[str, str]] | None = None  # which look that was, and what was under way
        self._told_resources = 0.0
        self._marks: tuple[object, ...] = ()
        self._looked = float("-inf")
        self._stale = True
        self._seen: Observation | None = None

    # --- for other threads --------------------------------------------------------------------------------

    def ask(self, question: Callable[[Sight], T]) -> Future[T]:
        """The answer of `question` to what is there now."""
        answer: Future[T] = Future()
        if self._ending:
            answer.set_exception(DevtasksError("the dashboard is shutting down"))
            return answer
        self._questions.append((question, answer))
        self.wake()
        return answer

    def wake(self, *, stale: bool = False) -> None:
        """Look whether something has changed; `stale`: something has."""
        self._stale = self._stale or stale
        with contextlib.suppress(OSError):
            os.write(self._wake, b"\0")

    def end(self) -> None:
        self._ending = True
        self.wake()

    # --- the thread ---------------------------------------------------------------------------------------

    def run(self) -> None:
        scope = verbs.scope(self.project, tell=lambda _line: None)
        meter = _PacedMeter(scope.world, scope.world.monotonic, {})
        try:
            while not self._ending:
                self._wait()
                self._reap()
                if self._questions or self._hub.watched():
                    self._turn(scope, meter)
        finally:
            scope.close()
            self._unpin(list(self._pins))

    def _wait(self) -> None:
        milliseconds = TICK_SECONDS * 1000 if self._hub.watched() else None
        for descriptor, _ in self._poll.poll(milliseconds):
            if descriptor == self._waking:
                with contextlib.suppress(BlockingIOError):
                    os.read(self._waking, 4096)
            else:
                self._unpin([descriptor])
                self._stale = True

    def _turn(self, scope: Scope, meter: Meter) -> None:
        waiting = [self._questions.popleft() for _ in range(len(self._questions))]
        try:
            sight = Sight(scope, self._fresh(scope), meter)
        except Exception as error:  # noqa: BLE001 - whoever asked gets it; the thread lives on
            self._stale = True
            for _, answer in waiting:
                answer.set_exception(error)
            return
        for question, answer in waiting:
            try:
                answer.set_result(question(sight))
            except Exception as error:  # noqa: BLE001
                answer.set_exception(error)
        if self._hub.watched():
            self._tell(sight)
        else:
            self._told, self._told_at = {}, None
            self._news.forget()

    def _fresh(self, scope: Scope) -> Observation:
        """An observation that is true now."""
        now = time.monotonic()
        marks = self._present_marks(scope)
        seen = self._seen
        if seen is not None and not self._stale and marks == self._marks and now - self._looked < LOOK_SECONDS:
            newer, arrived = scope.observer.newer(seen)
            if not any(_concerns(newer, pid) for pid in arrived):
                self._seen = newer
                return newer
        opened = self._marks[:1] != marks[:1]
        self._stale, self._looked, self._marks = False, now, marks
        self._seen = seen = scope.observe(seen.table if seen is not None else None)
        self.project = scope.project
        self._pin(scope, seen)
        if opened:
            self._hub.publish("ports", {})
        return seen

    def _present_marks(self, scope: Scope) -> tuple[object, ...]:
        """What changes when something happened that no process tells of. The listening ports stand first."""
        project = scope.project
        ports = [port for service in project.services for port in service.ports]
        files = [service.daemon_pid_file or service.pid_file for service in project.services]
        stats = [_stat(path) for path in (*files, project.state_dir / "state.db")]
        return (scope.world.listening(ports), *stats)

    # --- what is ours -------------------------------------------------------------------------------------

    def _pin(self, scope: Scope, seen: Observation) -> None:
        """Hear of the end of what is ours, of main processes first."""
        mains = {run.main.pid for run in seen.runs if run.main is not None and run.ended_at is None}
        wanted = sorted(seen.pids(), key=lambda pid: (pid not in mains, pid))[:PINNED]
        known = {handle.pid: descriptor for descriptor, handle in self._pins.items()}
        self._unpin([descriptor for pid, descriptor in known.items() if pid not in wanted])
        for pid in wanted:
            if pid in known:
                continue
            with contextlib.suppress(OSError):
                handle = scope.world.pin(seen.table.processes[pid])
                descriptor = getattr(handle, "descriptor", None)
                if handle is None:
                    self._stale = True  # it ended meanwhile
                elif isinstance(descriptor, int):
                    self._pins[descriptor] = handle
                    self._poll.register(descriptor, select.POLLIN)
                else:  # a world without descriptors: the next look tells
                    handle.close()
        me = os.getpid()
        self._runners |= {
            row.pid for rows in seen.runners.values() for row in rows if row.runner and row.ppid == me
        }

    def _unpin(self, descriptors: list[int]) -> None:
        for descriptor in descriptors:
            self._poll.unregister(descriptor)
            self._pins.pop(descriptor).close()

    def _reap(self) -> None:
        """Runners that were started from here are our children: nobody else waits for them."""
        for pid in list(self._runners):
            try:
                gone = os.waitpid(pid, os.WNOHANG)[0] == pid
            except ChildProcessError:
                gone = True
            if gone:
                self._runners.discard(pid)

    # --- telling ------------------------------------------------------------------------------------------

    def _tell(self, sight: Sight) -> None:
        told_at = (self._looked, self._actions())
        if told_at != self._told_at:
            self._told_at = told_at
            told = views.services(sight.status(), sight.scope.project, told_at[1])
            lasting = views.lasting(told)
            if lasting != self._told:
                self._told = lasting
                self._hub.publish("services", told)
            if self._looked - self._told_resources >= RESOURCES_SECONDS:
                self._told_resources = self._looked
                self._hub.publish("resources", views.resources(told, sight.scope.world.now()))
        self._news.tell(sight.scope, history=self._marks[-1:])


def _concerns(seen: Observation, pid: int) -> bool:
    """Whether a process is ours, or the runner of something of ours."""
    row = seen.table.processes[pid]
    if row.runner and split_marker(row.marker)[0] == seen.project.digest:
        return True
    return isinstance(seen.judge.verdict(pid), Match)


def _stat(path: os.PathLike[str]) -> tuple[int, int, int] | None:
    try:
        found = os.stat(path, follow_symlinks=False)
    except OSError:
        return None
    return found.st_ino, found.st_mtime_ns, found.st_size
