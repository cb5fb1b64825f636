"""All that a judgement rests on, as values."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType

from devtasks.model import Details, Process, Project, Run, Snapshot
from devtasks.ownership.places import Places
from devtasks.programs.patterns import Matcher
from devtasks.values import Value

UNKNOWN = Details()


class Facts(Value):
    """What is known of the machine and the project when a judgement is made.

    `details` may be a lazy mapping: it is asked for candidates only. `holders` maps a configured port to every
    process that listens on it, `cgroup_members` a PID to the run whose cgroup it is in.
    """

    project: Project
    table: Snapshot
    runs: tuple[Run, ...]  # of this boot and PID namespace, newest first, ended ones too
    pid_files: Mapping[str, int]  # service name to the PID that its PID file holds
    matchers: Mapping[str, Matcher]
    places: Places
    details: Mapping[int, Details]
    me: Details
    users: frozenset[int]  # whose processes a sweep may reach
    callers: frozenset[int]  # this process and all above it
    holders: Mapping[int, tuple[int, ...]] = MappingProxyType({})
    cgroup_members: Mapping[int, Run] = MappingProxyType({})

    def never(self, process: Process) -> bool:
        """What is no target whatever speaks for it."""
        return process.pid <= 1 or process.kernel or process.pid in self.callers

    def details_of(self, pid: int) -> Details:
        """What is known of a candidate; all unknown if nothing could be read."""
        return self.details.get(pid, UNKNOWN)

    def parent(self, process: Process) -> Process | None:
        """Its parent in the table. One that is younger got the number of a parent that is gone: that is none."""
        above = self.table.processes.get(process.ppid)
        return above if above is not None and above.start <= process.start else None

    def names(self, run: Run) -> bool:
        """Whether the PID that a run recorded as its main process still is that process."""
        row = self.table.processes.get(run.main.pid) if run.main is not None else None
        return row is not None and self.table.identity(row) == run.main
