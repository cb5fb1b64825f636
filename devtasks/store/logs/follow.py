"""The logs of several services at once, as they grow."""

from __future__ import annotations

import os
import select
import time
from collections.abc import Mapping
from pathlib import Path

from devtasks.store import statedir
from devtasks.store.logs.logfile import Busy, LogFile
from devtasks.store.logs.reader import Reader
from devtasks.store.logs.text import Lines
from devtasks.world.notices import open_notices

_BUSY_SECONDS = 0.005
_BLIND_SECONDS = 0.04  # between two looks where the system tells nothing
_WAITING_SECONDS = 0.25  # for a folder that is not there yet
_WATCHED_SECONDS = 5.0  # even where it does: files on a network are changed by others


class Follower:
    """The lines that services write, from now on, or from the last `lines` of each on.

    `logs` gives the services' log files by name; of several services that share one, the first is named. Logs may
    be missing, appear later, be rotated, truncated, replaced. For a loop of one's own: wait for `fileno()`, where
    there is one, to become readable, and at most `timeout_seconds`, then `poll()`.
    """

    def __init__(self, logs: Mapping[str, Path], *, lines: int = 0) -> None:
        named: dict[Path, str] = {}
        for name, path in logs.items():
            named.setdefault(path, name)
        self._notices = open_notices()
        self._more = True
        self._busy = False
        self._blind = False
        self._taps = [_Tap(name, path, lines) for path, name in named.items()]
        self._look_out()

    def fileno(self) -> int:
        """Readable when something may have happened; -1 where this system has no such thing."""
        return -1 if self._notices is None else self._notices.descriptor

    @property
    def timeout_seconds(self) -> float:
        """How long to wait at most before the next `poll`: 0 when there was more than the last one took."""
        if self._more:
            return 0.0
        if self._busy:
            return _BUSY_SECONDS
        if self._notices is None:
            return _BLIND_SECONDS
        return _WAITING_SECONDS if self._blind else _WATCHED_SECONDS

    def begun(self) -> dict[str, tuple[LogFile, int] | None]:
        """Of each service's log, where it goes on: what is before that position was there already."""
        return {tap.name: tap.reader.place for tap in self._taps}

    def poll(self) -> list[tuple[str, str]]:
        """What came since, as (service, line), printable, in the order of each log. Never blocks, never raises.

        At most 256 KiB of each log, so that none keeps the others waiting.
        """
        if self._notices is not None:
            self._notices.drain()
        self._more = self._busy = False
        found: list[tuple[str, str]] = []
        for tap in self._taps:
            lines = tap.take()
            self._more = self._more or tap.more
            self._busy = self._busy or tap.busy
            name = tap.name
            found += [(name, line) for line in lines]
        self._look_out()
        return found

    def wait(self, timeout_seconds: float | None = None) -> None:
        """Until there may be something to poll, or the time is over."""
        limit = self.timeout_seconds
        if timeout_seconds is not None:
            limit = min(limit, timeout_seconds)
        if self._notices is None:
            time.sleep(limit)
        elif limit > 0:
            select.select([self._notices.descriptor], [], [], limit)

    def problems(self) -> list[tuple[str, str]]:
        """What keeps a log from being read, or has kept, as (service, words for people), each told once."""
        found = []
        for tap in self._taps:
            missed, tap.missed = tap.reader.missed_bytes - tap.missed, tap.reader.missed_bytes
            if missed:
                found.append((tap.name, f"{missed} bytes were rotated away before they could be read"))
            if tap.problem is not None and tap.problem != tap.told:
                found.append((tap.name, tap.problem))
            tap.told = tap.problem
        return found

    def close(self) -> None:
        for tap in self._taps:
            tap.reader.close()
        if self._notices is not None:
            self._notices.close()
            self._notices = None

    def _look_out(self) -> None:
        """Watch the files that are read by now, and the folders in which others may appear."""
        self._blind = False
        for tap in self._taps:
            fresh, tap.watched = tap.watched != tap.reader.file, tap.reader.file or tap.watched
            if self._notices is None:
                continue
            watched = self._notices.folder(tap.reader.path.parent)
            if fresh and tap.reader.file is not None:
                # What was written between opening and watching would be noticed with the next line only.
                self._more = True
                watched = self._notices.file(tap.reader.path) and watched
            self._blind = self._blind or not watched


class _Tap:
    """One log on its way to lines."""

    __slots__ = ("busy", "lines", "missed", "more", "name", "problem", "reader", "told", "watched")

    def __init__(self, name: str, path: Path, lines: int) -> None:
        self.name = name
        self.reader = Reader(path, lines=lines)
        self.lines = Lines()
        self.more = self.busy = False
        self.missed = 0
        self.problem: str | None = None
        self.told: str | None = None
        self.watched: tuple[int, int] | None = None

    def take(self) -> list[str]:
        self.more = self.busy = False
        try:
            data = self.reader.read()
        except Busy:
            self.busy = True
            return []
        except OSError as error:
            self.problem = f"{self.reader.path}: the log cannot be read: {statedir.explain(error)}"
            return []
        self.problem = None
        if not data:
            if not os.path.lexists(self.reader.path):
                self.problem = (
                    f"{self.reader.path}: there is no log yet"
                    if self.watched is None
                    else (f"{self.reader.path}: the log was removed")
                )
            return []
        self.more = True
        return self.lines.feed(data)
