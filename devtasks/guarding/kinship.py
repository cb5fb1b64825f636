"""Is a process on our port one of our own, or one that began when we did? Pure, but for asking who we are."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence

from devtasks.guarding.earlier import EarlierRuns
from devtasks.model import Process
from devtasks.observing import Observation
from devtasks.ownership import split_marker
from devtasks.world import World


def is_current(seen: Observation, holders: Sequence[Process], *, pid: int, ancestry: frozenset[int]) -> bool:
    """Whether process `pid` (with all above it in `ancestry`) shares a server with one of the holders.

    A reloader or master above us has the port and hands it down; so may we have it already, or a child of ours, or
    a sibling under the same master.
    """
    mine = seen.table.processes.get(pid)
    for holder in holders:
        if holder.pid in ancestry or _descends(seen, holder, pid):
            return True
        if mine is not None and _siblings(seen, mine, holder):
            return True
    return False


def _descends(seen: Observation, process: Process, pid: int) -> bool:
    passed: set[int] = set()
    one: Process | None = process
    while one is not None and one.pid not in passed:
        if one.pid == pid:
            return True
        passed.add(one.pid)
        one = seen.table.processes.get(one.ppid)
    return False


def _siblings(seen: Observation, mine: Process, other: Process) -> bool:
    """Whether one master started both: one of which both are forks, or one of the same run of the project.

    A common shell is no master, nor is the runner that adopts what a run left behind.
    """
    parent = seen.table.processes.get(mine.ppid)
    if parent is None or parent.pid <= 1 or other.ppid != parent.pid or parent.runner:
        return False
    if parent.cmdline and parent.cmdline == mine.cmdline:
        return True
    nonces = {split_marker(one.marker).nonce for one in (mine, other, parent)}
    return len(nonces) == 1 and None not in nonces


def first_fresh(
    world: World, observer: EarlierRuns, seen: Observation, holders: Sequence[Process], claimed: Mapping[int, int]
) -> Process | None:
    """The first holder that is no leftover, because it began when this process did, or later.

    Its whole tree has to be younger than we are, or its guard gave it the port while we lived; `claimed` maps PIDs
    to when that was. Binding takes a moment after that, so a claim counts that is a second older than we.
    """
    mine = seen.table.processes.get(os.getpid())
    if mine is None:
        return None
    second = world.born_before(0) - world.born_before(1)
    for holder in holders:
        top = observer.top(seen, holder)
        claims = [claimed[pid] for pid in (holder.pid, holder.ppid, top.pid) if pid in claimed]
        if top.start >= mine.start or any(at >= mine.start - second for at in claims):
            return holder
    return None


__all__ = ["first_fresh", "is_current"]
