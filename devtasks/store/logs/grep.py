"""Which lines match a regular expression, given up on when one of them takes too long."""

from __future__ import annotations

import re
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from devtasks.errors import UsageError

_LONGEST_SECONDS = 0.5  # of computing, for one line of at most 4 KiB


class Grep:
    """Lines in which `expression` matches.

    Within `watched`, in the main thread, a line on which it backtracks without end ends the search with a
    UsageError: Python's engine looks for signals as it goes. Elsewhere it takes the time it takes.
    """

    def __init__(self, expression: str) -> None:
        self._pattern = re.compile(expression)
        self._count = self._seen = 0
        self._searching = False

    def matches(self, line: str) -> bool:
        self._count += 1
        self._searching = True
        try:
            return self._pattern.search(line) is not None
        finally:
            self._searching = False

    @contextmanager
    def watched(self) -> Iterator[None]:
        if sys.platform == "win32" or threading.current_thread() is not threading.main_thread():
            yield
            return
        before = signal.signal(signal.SIGVTALRM, self._look)  # it counts computing, not a busy machine's delays
        signal.setitimer(signal.ITIMER_VIRTUAL, _LONGEST_SECONDS, _LONGEST_SECONDS)
        try:
            yield
        finally:
            signal.setitimer(signal.ITIMER_VIRTUAL, 0)
            signal.signal(signal.SIGVTALRM, before)

    def _look(self, _number: int, _frame: FrameType | None) -> None:
        if self._searching and self._seen == self._count:
            raise UsageError(
                f"--grep: {self._pattern.pattern[:80]} takes too long: it backtracks without end on a line",
                hint="write it without repetitions of repetitions",
            )
        self._seen = self._count
