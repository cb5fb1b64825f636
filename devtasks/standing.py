"""How a service stands, as far as one observation tells: pure. Both `start` and `status` ask here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Literal

from devtasks.model import Match, Process, Run, Service
from devtasks.observing import Observation
from devtasks.planning import roots
from devtasks.values import Value

Standing = Literal["running", "beginning", "orphaned", "elsewhere", "absent"]


class Stand(Value):
    """`main` is the process that stands for the service while it is running, and then only."""

    standing: Standing
    main: Process | None = None
    run: Run | None = None  # the open run that `main` belongs to, if it was recorded
    by_hand: bool = False  # found by port or pattern: nobody recorded a start

    @property
    def ending(self) -> bool:
        """It runs, and was asked to end."""
        return self.run is not None and self.run.cause == "stopping"


def stand(seen: Observation, service: Service) -> Stand:
    """Where a service stands in `seen`.

    running: its main process lives. beginning: a start is on its way to one. orphaned: only what it left lives.
    """
    matches = seen.of(service.name)
    open_runs = [run for run in seen.runs if run.service == service.name and run.ended_at is None]
    if not matches:
        if any(_begins(runner, seen) for runner in seen.idle_runners(service.name)):
            return Stand(standing="beginning")
        return Stand(standing="elsewhere" if service.name in seen.elsewhere else "absent")
    by_pid = {match.process.pid: match for match in matches}
    daemon = seen.pid_files[service.name].pid if service.daemon_pid_file is not None else None
    if daemon in by_pid:
        return Stand(standing="running", main=by_pid[daemon].process, run=next(iter(open_runs), None))
    for run in open_runs:
        if run.main is not None and run.main.pid in by_pid:
            process = by_pid[run.main.pid].process
            if seen.table.identity(process) == run.main:
                return Stand(standing="running", main=process, run=run)
    tops = roots(matches)
    leader = _unrecorded(seen, service, tops, by_pid.values())
    if leader is not None:
        return Stand(standing="running", main=leader)
    if any(run.main is None for run in open_runs) and any(by_pid[row.pid].proven for row in tops):
        return Stand(standing="beginning")
    hand = next((row for row in tops if any(e.kind == "pattern" for e in by_pid[row.pid].evidence)), None)
    if hand is not None and not by_pid[hand.pid].proven:
        return Stand(standing="running", main=hand, by_hand=True)
    return Stand(standing="orphaned")


def _unrecorded(
    seen: Observation, service: Service, tops: Iterable[Process], matches: Iterable[Match]
) -> Process | None:
    """The main process of a run that no state remembers: the leader of a marked session, atop of its tree.

    A run that is remembered lost its main process if that was not found above.
    """
    remembered = {run.nonce for run in seen.runs if run.service == service.name and run.main is not None}
    marked = {match.process.pid for match in matches if match.process.marker is not None}
    for row in tops:
        nonce = (row.marker or "").rpartition("/")[2]
        if row.pid in marked and row.pid == row.session and nonce not in remembered:
            return row
    return None


def _begins(runner: Process, seen: Observation) -> bool:
    """Whether an idle runner is about to launch its run; one that has done so is about to leave."""
    nonce = (runner.marker or "").rpartition("/")[2]
    return all(run.main is None for run in seen.runs if run.nonce == nonce)
