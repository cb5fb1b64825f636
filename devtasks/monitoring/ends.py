"""How a service ended, whether that was wanted, and what is told of it."""

from __future__ import annotations

from devtasks import causes, restarts
from devtasks.monitoring.intent import is_wanted
from devtasks.monitoring.restarting import Restarter
from devtasks.monitoring.surroundings import Surroundings
from devtasks.monitoring.tracking import EXIT_RECORD_SECONDS, Tracker
from devtasks.monitoring.watched import Watched
from devtasks.phrases import how_it_ended
from devtasks.store import exits, pidfile, statedir
from devtasks.store.watching import Wanted

_FIRST_LOOK_SECONDS = 0.001
_LONGEST_LOOK_SECONDS = 0.02
_DOUBT_SECONDS = 2.0  # where nothing can be recorded, a stop tells by the PID file that it removes at its end


class Ends:
    """Sees to services in the phase `ending`; what follows from an end is the restarter's."""

    def __init__(self, around: Surroundings, tracker: Tracker, restarter: Restarter) -> None:
        self._around = around
        self._state = around.state
        self._project = around.project
        self._tracker = tracker
        self._restarter = restarter

    def look(self, one: Watched, now: float) -> None:
        """Whether its runner has written that down by now; else look again soon."""
        known, code, kills = self._end(one)
        daemonises = one.service.daemon_pid_file is not None and code in (0, None)
        if (known and not daemonises) or now >= one.give_up_at:
            lived = now - one.began if one.began else None
            self.exited(one, code, lived, kills)
            return
        waited = now - (one.give_up_at - EXIT_RECORD_SECONDS)
        one.look_at = now + min(_LONGEST_LOOK_SECONDS, max(_FIRST_LOOK_SECONDS, waited / 4))

    def _end(self, one: Watched) -> tuple[bool, int | None, int | None]:
        """Whether the end is recorded; the exit code, and the kernel's kills for memory in the run, if known."""
        run = one.run
        if run is None or one.main is None:
            return True, None, None
        found = next((end for end in exits.read(self._project) if end.nonce == run.nonce), None)
        if found is not None and found.pid == one.main.pid:
            return True, found.status, found.oom_kills
        recorded = next((row for row in self._state.runs(one.name, 5) if row.nonce == run.nonce), None)
        if recorded is not None and recorded.exit_code is not None:
            return True, recorded.exit_code, None
        if run.runner is not None:
            row = self._around.world.reread([run.runner.pid]).get(run.runner.pid)
            if (row is None or row.gone) and not exits.read(self._project):
                return True, None, None  # nobody is left who could tell
        return False, None, None

    def exited(self, one: Watched, code: int | None, lived: float | None, oom_kills: int | None = None) -> None:
        """It ended: is that what was wanted, and if not, what is to be done?"""
        self._state.collect_exits(self._project)
        row = self._around.memory.wanted().get(one.name)
        wanted = self.is_wanted(one, row)
        if wanted and not self._around.shared and self._around.now() < one.give_up_at + _DOUBT_SECONDS:
            one.phase, one.look_at, one.give_up_at = "ending", one.give_up_at + _DOUBT_SECONDS, 0.0
            return
        pid = one.main.pid if one.main is not None else None
        if not wanted:
            self._tracker.stand_down(one)
            self._around.happened(one, "exit", how_it_ended(code), pid=pid, exit_code=code, wanted=False)
            return
        if one.run is not None and (row is None or row.nonce != one.run.nonce):
            self._around.memory.confirm(one.name, one.run.nonce)  # for a monitor that comes after this one
        lines = self._around.evidence.last_lines(one.service)
        cause = self._around.evidence.cause(one.service, code, lines, oom_kills)
        one.cause = "\n".join(causes.report(code, lived, (), cause))
        self._around.happened(one, "exit", one.cause.replace("\n", "; "), pid=pid, exit_code=code)
        if self._around.over.is_set():
            return
        failure = restarts.is_failure(code)
        told = causes.report(code, lived, lines, cause)
        self._restarter.decide(one, failure=failure, told=told)

    def is_wanted(self, one: Watched, row: Wanted | None, *, adopting: bool = False) -> bool:
        if one.run is None:
            return False
        run = next((run for run in self._state.runs(one.name, 5) if run.nonce == one.run.nonce), one.run)
        intact = None
        same_folder = adopting or one.folder == self._around.changes.folder
        if (adopting or not self._around.shared) and same_folder and run.main is not None:
            reading = pidfile.read(one.service.pid_file, statedir.owners(self._project.root))
            intact = reading.pid is not None  # an older PID was left by a start that was killed, not by a stop
        return is_wanted(row, run, own=one.own, acting=one.acting, known=one.ready, pid_file=intact)
