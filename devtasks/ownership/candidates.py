"""Which processes are worth a judgement: a cheap pass over the whole table before the rules are applied."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from devtasks.model import Process
from devtasks.ownership.facts import Facts
from devtasks.programs.patterns import Matcher


class Candidates:
    """Finds what any rule could make ours, and leaves out what none can. Used for one look after another.

    A row that carries nothing and whose command line no pattern can match stays dull for as long as it is the
    same row; that is remembered, because on a busy machine nearly all rows are.
    """

    def __init__(self, matchers: Iterable[Matcher]) -> None:
        needles = [matcher.needles for matcher in matchers]
        self._always = any(some is None for some in needles)
        self._needles = tuple(dict.fromkeys(needle for some in needles for needle in some or ()))
        self._dull: dict[int, Process] = {}
        self._rows: Mapping[int, Process] = {}
        self._children: dict[int, list[int]] | None = None

    def of(self, facts: Facts) -> list[int]:
        """The PIDs to judge: what may belong to a run, all below that, and what looks like a service.

        What is below a process that only looks like one is worth a judgement once that was claimed: see `below`.
        """
        rows = facts.table.processes
        sessions = {run.session for run in facts.runs if run.session}
        runs = {run.main.pid for run in facts.runs if run.main is not None} | set(facts.cgroup_members)
        alike = {pid for pids in facts.holders.values() for pid in pids}
        dull: dict[int, Process] = {}
        self._rows, self._children = rows, None
        for pid, row in rows.items():
            if row.session in sessions:
                runs.add(pid)
            if self._dull.get(pid) is row or self._is_dull(row):
                dull[pid] = row
            elif row.marker is not None or row.keep:
                runs.add(pid)
            else:
                alike.add(pid)
        self._dull = dull
        return [pid for pid in {*self.below(runs), *alike} if pid in rows]

    def below(self, pids: Iterable[int]) -> set[int]:
        """`pids` and all their descendants in the table of the last call of `of`."""
        found: set[int] = set()
        waiting = list(pids)
        if waiting and self._children is None:
            self._children = {}
            for pid, row in self._rows.items():
                self._children.setdefault(row.ppid, []).append(pid)
        while waiting and self._children is not None:
            pid = waiting.pop()
            if pid not in found and pid > 1:
                found.add(pid)
                waiting += self._children.get(pid, ())
        return found

    def _is_dull(self, row: Process) -> bool:
        if row.marker is not None or row.keep or self._always:
            return False
        text = row.cmdline.lower()
        for needle in self._needles:  # noqa: SIM110 - a generator costs more than the search
            if needle in text:
                return False
        return True
