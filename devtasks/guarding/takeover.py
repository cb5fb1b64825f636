"""Take a held port over from what an earlier run left, or say in lines of the log why not.

observe → is it us? → may it be ended? → lock → is it still the same? → stop → prove. All ports are decided on
before anything is signalled for one of them.
"""

from __future__ import annotations

import contextlib
import logging
import os
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from devtasks import recording
from devtasks.errors import DevtasksError
from devtasks.guarding import claims, kinship, objections
from devtasks.guarding.earlier import EarlierRuns
from devtasks.guarding.objections import Held
from devtasks.guarding.question import Question, concerns_us, project_of, with_port
from devtasks.model import Process, Project
from devtasks.observing import Observation
from devtasks.outcomes import PortHolder, PortRow, Survivor
from devtasks.ports import freeing
from devtasks.ports.verdict import describe
from devtasks.report import foreign
from devtasks.stopping import Stopper
from devtasks.store import locks, statedir
from devtasks.store.state import State
from devtasks.values import replace
from devtasks.world import this_world
from devtasks.world.binding import bindable

_LOOK_SECONDS = 0.005
_ASKER = "ensure_port_available"


def take(question: Question, log: logging.Logger) -> bool:
    """Whether every port can be bound now, or is none of this process's business. Raises interruptions only."""
    try:
        project, configured = project_of(question, log)
        ports = [port for port in question.ports if concerns_us(port, question, project, log)]
        for port in ports if configured else ():
            project = with_port(project, port)
        if not ports:
            return True
        state = State.open(project, create=configured, asker=_ASKER)
        try:
            return _Takeover(question, project, state, log, configured=configured).take(ports)
        finally:
            state.close()
    except DevtasksError as error:
        told = f"{error.message}; {error.hint}" if error.hint else error.message
        log.error("%s", foreign(" ".join(told.split("\n"))))  # noqa: TRY400 - no traceback for a user
    except OSError as error:
        log.error("port %s could not be looked at: %s", ", ".join(map(str, question.ports)), error)  # noqa: TRY400
    return False


def holders(port: int, folder: Path, log: logging.Logger) -> tuple[PortHolder, ...]:
    """Who holds `port`, as the project around `folder` sees it."""
    question = Question((port,), "", force=False, environment=None, deadline=0.0, folder=folder, caller=None)
    project, configured = project_of(question, log)
    project = with_port(project, port) if configured else project
    state = State.open(project, create=False)
    try:
        observer = EarlierRuns(this_world(), project, state)
        return freeing.look(observer, observer.observe(), port).holders
    finally:
        state.close()


class _Takeover:
    """All ports of one call, in one project."""

    def __init__(
        self, question: Question, project: Project, state: State, log: logging.Logger, *, configured: bool
    ) -> None:
        self._question = question
        self._project = project
        self._state = state
        self._log = log
        self._configured = configured
        self._world = this_world()

    def take(self, ports: Sequence[int]) -> bool:
        decided = [self._decide(port) for port in ports]
        if None in decided:
            return False
        in_the_way = [one for one in decided if isinstance(one, Held)]
        if not in_the_way:
            return True
        with self._locked(in_the_way):
            return all([self._clear(one) for one in in_the_way])  # noqa: C419 - each is worth a try

    # --- deciding ---------------------------------------------------------------------------------------

    def _decide(self, port: int) -> Held | bool | None:
        """What is in the way; True: nothing (any more), None: something that stays, and it was said."""
        answer = bindable(self._question.host, port)
        if answer == "free":
            return True
        observer, seen, held = self._look(port)
        everybody = held.everybody
        if kinship.is_current(seen, everybody, pid=os.getpid(), ancestry=self._world.ancestry()):
            self._log.debug("port %d is held by this server's own processes", port)
            return True
        environment = self._project.environment
        self._log.warning("port %d is in use (environment: %s): held by %s", port, environment, _who(held.row))
        lines = objections.objection(
            self._project,
            seen,
            held,
            force=self._question.force,
            forbidden=answer == "forbidden",
            fresh=kinship.first_fresh(self._world, observer, seen, everybody, claims.claimed(port)),
        )
        if not lines:
            return held
        for line in lines:
            self._log.error("port %d: %s", port, foreign(line))
        self._refused(held, f"port {port}: {lines[0]}")
        return None

    def _look(self, port: int) -> tuple[EarlierRuns, Observation, Held]:
        """One look of an observer of its own, because it will be aimed at this port's holders."""
        observer = EarlierRuns(self._world, self._project, self._state)
        seen = observer.observe()
        row = freeing.look(observer, seen, port)
        rows = self._rows(seen, [holder.pid for holder in row.holders if holder.pid is not None])
        return observer, seen, objections.held(self._project, seen, row, rows)

    def _rows(self, seen: Observation, pids: Sequence[int]) -> Iterator[Process]:
        for pid in pids:
            process = seen.table.processes.get(pid) or self._world.reread([pid]).get(pid)
            if process is not None:
                yield process

    def _refused(self, held: Held, why: str) -> None:
        """Make it an event of the project's, if there is one."""
        if held.service is not None:
            pid = next((holder.pid for holder in held.row.holders if holder.pid is not None), None)
            refusal = recording.of_refusal(held.service.name, _ASKER, why, at=self._world.now())
            self._state.tell([replace(refusal, pid=pid)])

    # --- acting -----------------------------------------------------------------------------------------

    def _clear(self, held: Held) -> bool:
        """End what holds one port, and prove that it can be bound."""
        began = time.monotonic()
        port = held.port
        if bindable(self._question.host, port) == "free":  # another guard's doing, while we waited for the lock
            claims.claim(port)
            return True
        observer, seen, now = self._look(port)
        known = {one.pid for one in held.everybody} | {observer.top(seen, one).pid for one in held.everybody}
        newcomer = next((one for one in now.everybody if observer.top(seen, one).pid not in known), None)
        if newcomer is not None or now.row.state == "unknown":
            who = f"PID {newcomer.pid}" if newcomer is not None else "another user"
            self._log.error("port %d: %s was faster and has it now: it is no leftover", port, who)
            self._refused(now, f"port {port}: {who} was faster")
            return False
        survivors = self._end(observer, seen, now)
        for one in survivors:
            self._log.error("port %d: PID %d did not end: %s", port, one.pid, one.reason)
        if survivors or not self._proven(port):
            return False
        self._log.warning("port %d is free now (%.2f s)", port, time.monotonic() - began)
        claims.claim(port)
        return True

    def _end(self, observer: EarlierRuns, seen: Observation, held: Held) -> tuple[Survivor, ...]:
        """End the runs behind the holders, and by force strangers; who is left."""
        sent = self._teller(held.port)
        left: tuple[Survivor, ...] = ()
        if held.ours:
            self._state.watching.unwant(sorted(held.services))  # a monitor would fight for the port
            aimed = observer.aim_at(seen, [one.pid for one in held.ours])
            known = {service.name: service for service in self._project.services}
            services = [known.get(name, name) for name in sorted(held.services)]
            usual = held.service.stop.timeout_seconds if held.service is not None else self._grace()
            ended = Stopper(observer, aimed, sent).stop(services, timeout_seconds=min(usual, self._grace()))
            if ended.interrupted is not None:
                raise ended.interrupted
            left = tuple(one for ending in ended.endings.values() for one in ending.survivors)
        if held.strangers and self._question.force:
            grace = min(freeing.STRANGER_SECONDS, self._grace())
            evicted = freeing.evict(self._world, held.port, held.strangers, timeout_seconds=grace, sent=sent)
            self._state.tell(recording.of_eviction(evicted, _ASKER, at=self._world.now()))
            left += evicted.survivors
        return left

    def _grace(self) -> float:
        """How long a process is asked before it is killed: half of what is left, so that there is time to kill."""
        return max(0.0, self._question.deadline - time.monotonic()) / 2

    def _teller(self, port: int) -> Callable[[int, str], None]:
        asked: dict[int, float] = {}

        def sent(pid: int, name: str) -> None:
            now = time.monotonic()
            waited = f": it is still there after {now - asked[pid]:.1f} s" if pid in asked else ""
            asked.setdefault(pid, now)
            self._log.warning("port %d: sent %s to PID %d%s", port, name, pid, waited)

        return sent

    def _proven(self, port: int) -> bool:
        while bindable(self._question.host, port) != "free":
            if time.monotonic() >= self._question.deadline:
                _, _, held = self._look(port)
                self._log.error("port %d is still held, by %s", port, _who(held.row))
                return False
            time.sleep(_LOOK_SECONDS)
        return True

    @contextlib.contextmanager
    def _locked(self, held: Sequence[Held]) -> Iterator[None]:
        """One guard at a time acts on a port of a project. Where no lock can be made, none is needed to act."""
        with contextlib.ExitStack() as stack:
            if self._configured and _prepared(self._project):
                for port in sorted(one.port for one in held):
                    left = max(0.0, self._question.deadline - time.monotonic())
                    path = self._project.state_dir / f"port-{port}.lock"
                    stack.enter_context(locks.service_lock(path, timeout_seconds=left))
            yield


def _prepared(project: Project) -> bool:
    try:
        statedir.ensure(project)
    except DevtasksError:
        return False
    return True


def _who(row: PortRow) -> str:
    return foreign("; ".join(map(describe, row.holders))) or "nobody who listens"


__all__ = ["holders", "take"]
