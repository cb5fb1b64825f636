"""Noticing what other commands do: their files in the state folder, and what they write to the state."""

from __future__ import annotations

import contextlib
import math
import os
from collections.abc import Callable

from devtasks.model import Project
from devtasks.monitoring.loop import Loop
from devtasks.store import exits
from devtasks.store.state import State
from devtasks.world.notices import Notices, open_notices

_LOOK_SECONDS = 1.0  # between looks, where the kernel tells of no change


class Changes:
    """Calls `changed` in the loop's thread when something may be new; without inotify, look when it is due."""

    def __init__(self, project: Project, loop: Loop, state: State, changed: Callable[[], None]) -> None:
        self._project = project
        self._path = project.state_dir
        self._loop = loop
        self._state = state
        self._changed = changed
        self._notices: Notices | None = None
        self._held: int | None = None
        self._number = 0
        self._version: object = None
        self._looked_at = -math.inf
        self.renew()

    def due_at(self) -> float:
        """When to look without having been told."""
        return math.inf if self._notices is not None else self._looked_at + _LOOK_SECONDS

    def look(self, now: float) -> bool:
        """Whether the state has changed since the last look."""
        self._looked_at = now
        version = self._state.version()
        changed = version != self._version
        self._version = version
        return changed

    @property
    def folder(self) -> int | None:
        """Which state folder this is, in the order in which they were seen; None: the last one is gone."""
        return self._number if self._is_there() else None

    def renew(self) -> None:
        """Watch the folder that is there now: it may have been deleted and made again."""
        if self._is_there() and self._notices is not None:
            return
        self.close()
        self._number += 1
        # Held open, so that no later folder gets the number of this one
        with contextlib.suppress(OSError):
            self._held = os.open(self._path, os.O_RDONLY | os.O_CLOEXEC)
        notices = open_notices()
        if notices is not None and not notices.folder(self._path, written=True):
            notices.close()
            notices = None
        self._notices = notices
        if notices is not None:
            notices.folder(exits.folder(self._project), written=True)
            self._loop.attend(notices.descriptor, self._told)
        self._changed()

    def close(self) -> None:
        if self._held is not None:
            os.close(self._held)
            self._held = None
        if self._notices is not None:
            self._loop.neglect(self._notices.descriptor)
            self._notices.close()
            self._notices = None

    def _told(self) -> None:
        if self._notices is not None:
            self._notices.drain()
        self._changed()

    def _is_there(self) -> bool:
        try:
            return self._held is not None and os.path.samestat(os.fstat(self._held), os.stat(self._path))
        except OSError:
            return False
