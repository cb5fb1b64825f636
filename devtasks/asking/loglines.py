"""Ask by log line: whether one came that matches."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from devtasks.asking.attempt import Finding, Steps
from devtasks.asking.expressions import Expression
from devtasks.store.logs import LogWatch, since

_LOOK_BYTES = 1024 * 1024  # as much as a LogWatch reads in one look; of what is older than that nothing is


class NewLines:
    """A starting service's log: a line since the start, once and for all."""

    def __init__(self, expression: str, log: LogWatch) -> None:
        self._expression = Expression(expression)
        self._log = log
        self._seen = False
        self._hard = False  # some lines could not be searched in time

    def ask(self, seconds: float, label: str) -> Steps:
        wanted = self._expression.text
        if not self._seen:
            found = yield from self._expression.search(self._log.new_lines(), seconds=seconds, label=label)
            self._seen = bool(found)
            self._hard = self._hard or found is None
        if self._seen:
            return Finding("healthy", f"a log line matches {wanted}")
        if self._hard:
            return Finding("unknown", f"searching the log for {wanted} takes too long")
        return Finding("unhealthy", f"no log line matches {wanted}")


class Heartbeat:
    """A running service's log: a line since the last probe; the first looks at its end, if that is no older than
    `interval_seconds`.
    """

    def __init__(self, expression: str, path: Path, interval_seconds: float, now: Callable[[], float]) -> None:
        self._expression = Expression(expression)
        self._path = path
        self._interval = interval_seconds
        self._now = now
        self._log: LogWatch | None = None
        self._size = 0

    def ask(self, seconds: float, label: str) -> Steps:
        wanted = self._expression.text
        try:
            status = os.stat(self._path)
        except OSError as error:
            return Finding("unhealthy", f"the log cannot be read: {error.strerror}")
        quiet = self._now() - status.st_mtime
        if self._log is None and quiet > self._interval:
            return Finding("unhealthy", f"nothing was logged for {quiet:.0f} s")
        if self._log is None or status.st_size - self._size > _LOOK_BYTES:
            self._log = since(self._path, max(0, status.st_size - _LOOK_BYTES))
        self._size = status.st_size
        found = yield from self._expression.search(self._log.new_lines(), seconds=seconds, label=label)
        if found is None:
            return Finding("unknown", f"searching the log for {wanted} takes too long")
        if found:
            return Finding("healthy", f"a log line matches {wanted}")
        return Finding("unhealthy", f"no log line matches {wanted} since the last probe")
