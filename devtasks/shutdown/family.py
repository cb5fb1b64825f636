"""Processes and what descends from them, ended: first asked, then killed."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterable
from typing import Final

from devtasks import programs
from devtasks.model import Identity, Process, Snapshot
from devtasks.world import Handle, World

_ROUNDS: Final = 10  # of stopping and looking again
_WAIT_SECONDS: Final = 0.5  # the longest sleep of a thread whose caller may be gone


class Turn:
    """Whose turn it is to signal. From force on nobody asks any more, in whatever thread: the CONT that follows a
    TERM would wake what was stopped to be killed, and it would go on forking.
    """

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._forced = False

    def force(self) -> None:
        with self._lock:
            self._forced = True

    def ask(self, handle: Handle, signal: str) -> None:
        """Send `signal`, and CONT: a stopped process cannot handle what it was sent."""
        with self._lock:
            if not self._forced:
                handle.send(signal)
                handle.send("CONT")


class Family:
    """`roots` and all their descendants, as far as they belong to the same run. Found before the first signal:
    afterwards an orphan is nobody's child.

    What carries DEVTASKS_KEEP=1 or another marker stays out, and so does a user's own program in a session of
    its own (a browser, a terminal multiplexer), each with what it started.
    """

    def __init__(self, world: World, roots: Iterable[Identity], turn: Turn | None = None) -> None:
        self._world = world
        self._turn = turn or Turn()
        self._roots = frozenset(roots)
        self._members: dict[int, Process] = {}
        self._look()

    def ask(self, seconds: float) -> bool:
        """TERM to the roots, and to what is left once they are gone. Whether all are gone within `seconds`."""
        deadline = self._world.monotonic() + seconds
        roots = {one.pid for one in self._roots}
        self._end("TERM", lambda row: row.pid in roots, deadline)
        self._end("TERM", lambda row: row.pid not in roots, deadline)
        return not self.left

    def kill(self, seconds: float) -> bool:
        """KILL to all that is left. Whether all are gone within `seconds`.

        Stopped first, until a look finds nothing new: what is killed while its parent runs may be replaced, and
        the replacement of a killed parent's child is nobody's.
        """
        deadline = self._world.monotonic() + seconds
        self._turn.force()
        stopped: set[int] = set()
        for _ in range(_ROUNDS):
            fresh = {row.pid for row in self.left} - stopped
            if not fresh:
                break
            self._send("STOP", fresh)
            stopped |= fresh
            self._look()
        self._end("KILL", lambda _: True, deadline)
        return not self.left

    @property
    def left(self) -> tuple[Process, ...]:
        """Those that live."""
        rows = self._world.reread(self._members)
        known = self._members.values()
        return tuple(
            row for row in known if (now := rows.get(row.pid)) and not now.gone and now.start == row.start
        )

    def _look(self) -> None:
        """Take in the descendants of those that live."""
        table = self._world.look()
        alive = {row.pid for row in self.left}
        children = _children(table)
        for root in self._roots:
            row = table.processes.get(root.pid)
            if row is not None and not row.gone and table.identity(row) == root:
                alive.add(row.pid)
        trail = [table.processes[pid] for pid in alive if pid in table.processes]
        while trail:
            row = trail.pop()
            self._members.setdefault(row.pid, row)
            trail += [child for child in children.get(row.pid, ()) if _belongs(child, row)]

    def _end(self, signal: str, chosen: Callable[[Process], bool], deadline: float) -> None:
        """Send `signal` to those chosen, and wait until they are gone."""
        handles = self._send(signal, {row.pid for row in filter(chosen, self.left)}, keep=True)
        try:
            waiting = list(handles)
            while waiting and (seconds := deadline - self._world.monotonic()) > 0:
                gone = self._world.wait(waiting, min(seconds, _WAIT_SECONDS))
                waiting = [handle for handle in waiting if handle not in gone]
        finally:
            for handle in handles:
                handle.close()

    def _send(self, signal: str, pids: Iterable[int], *, keep: bool = False) -> list[Handle]:
        """Send `signal` to members. With `keep` those that got it, pinned, for the caller to close.

        One that may not be signalled, or for which no descriptor is left, stays among `left`.
        """
        handles: list[Handle] = []
        for pid in pids:
            with contextlib.suppress(OSError):
                handle = self._world.pin(self._members[pid])
                if handle is None:
                    continue
                handles.append(handle)
                if signal == "TERM":
                    self._turn.ask(handle, signal)
                else:
                    handle.send(signal)
        if keep:
            return handles
        for handle in handles:
            handle.close()
        return []


def _children(table: Snapshot) -> dict[int, list[Process]]:
    found: dict[int, list[Process]] = {}
    for row in table.processes.values():
        if not row.gone and not row.kernel:
            found.setdefault(row.ppid, []).append(row)
    return found


def _belongs(row: Process, parent: Process) -> bool:
    if row.keep or row.runner or (row.marker is not None and row.marker != parent.marker):
        return False
    left_session = row.session != parent.session
    return not (left_session and programs.users_own(row.argv, terminal=row.terminal != 0))
