"""What an earlier run left, as a server that is about to take its place sees it: and nothing of its own."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from devtasks.model import Match, Process, Project, Snapshot
from devtasks.observing import Observation, Observer
from devtasks.ownership import split_marker
from devtasks.store.state import State
from devtasks.values import replace
from devtasks.world import World


class EarlierRuns(Observer):
    """An observer that can be aimed at the runs behind some processes, and then shows nothing else.

    A stop of what it shows can so never reach a sibling or a child of ours: those above us, which all our kin
    descend from, are never a part of any run that it is aimed at.
    """

    def __init__(self, world: World, project: Project, state: State) -> None:
        super().__init__(world, project, state)
        self._my_nonce = split_marker(os.environ.get("DEVTASKS_ID")).nonce
        self._nonces: frozenset[str] | None = None  # None: not aimed yet
        self._members: set[tuple[int, int]] = set()  # PID and start: its parent may end and leave it to others

    def aim_at(self, seen: Observation, pids: Iterable[int]) -> Observation:
        """Leave nothing in `seen`, and in what is observed from now on, but the runs behind `pids`."""
        rows = [seen.table.processes[pid] for pid in pids if pid in seen.table.processes]
        found = {split_marker(row.marker) for row in rows}
        nonces = {one.nonce for one in found if one.digest == self.project.digest and one.nonce}
        self._nonces = frozenset(nonces - {self._my_nonce})
        self._members = {(top.pid, top.start) for row in rows for top in [self.top(seen, row)]}
        return self._narrowed(seen)

    def top(self, seen: Observation, process: Process) -> Process:
        """The highest process of the same service above `process`, if that is ours; else itself."""
        services = {match.process.pid: name for name, found in seen.matches.items() for match in found}
        rows = seen.table.processes
        service = services.get(process.pid)
        climbed = {process.pid}
        while service is not None and services.get(process.ppid) == service and process.ppid not in climbed:
            process = rows[process.ppid]
            climbed.add(process.pid)
        return process

    def observe(self, previous: Snapshot | None = None) -> Observation:
        return self._narrowed(super().observe(previous))

    def newer(self, before: Observation) -> tuple[Observation, tuple[int, ...]]:
        fresh, arrived = super().newer(before)
        return self._narrowed(fresh), arrived

    def recheck(self, before: Observation, pids: Iterable[int]) -> Observation:
        return self._narrowed(super().recheck(before, pids))

    # --------------------------------------------------------------------------------------------------

    def _narrowed(self, seen: Observation) -> Observation:
        rows = seen.table.processes
        kept = {
            name: tuple(match for match in found if self._is_earlier(match, rows))
            for name, found in seen.matches.items()
        }
        nonces = self._nonces
        return replace(
            seen,
            matches={name: found for name, found in kept.items() if found},
            # a stop freezes and thaws the cgroups of runs: never our own
            runs=tuple(
                run for run in seen.runs if run.nonce != self._my_nonce and (nonces is None or run.nonce in nonces)
            ),
            runners={
                name: tuple(row for row in found if split_marker(row.marker).nonce != self._my_nonce)
                for name, found in seen.runners.items()
            },
        )

    def _is_earlier(self, match: Match, rows: Mapping[int, Process]) -> bool:
        if self._nonces is None:
            return True
        nonce = split_marker(match.process.marker).nonce
        above = _line(match.process, rows)
        if nonce in self._nonces or any((row.pid, row.start) in self._members for row in above):
            self._members.add((match.process.pid, match.process.start))
            return True
        return False


def _line(process: Process, rows: Mapping[int, Process]) -> list[Process]:
    """The process and all above it."""
    line: dict[int, Process] = {}
    one: Process | None = process
    while one is not None and one.pid not in line:
        line[one.pid] = one
        one = rows.get(one.ppid)
    return list(line.values())
