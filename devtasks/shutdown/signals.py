"""The signals that ask a process to end, taken for a while."""

from __future__ import annotations

import _thread
import os
import signal
import threading
from collections.abc import Callable, Iterable
from types import FrameType
from typing import Any, Final

ENDING: Final = ("INT", "TERM", "HUP", "BREAK")
_SAY_SECONDS: Final = 0.2  # how long the last words may take


class Signals:
    """Calls `first` with the name of the first signal; at the second the process ends at once, exit 1.

    Only in the main thread; elsewhere nothing is taken. A signal that is ignored (nohup) stays ignored.
    """

    def __init__(self, names: Iterable[str], first: Callable[[str], None], say: Callable[[str], None]) -> None:
        self._names = tuple(names)
        self._first = first
        self._say = say
        self._before: dict[int, Any] = {}
        self._got = 0

    def take(self) -> None:
        """Idempotent."""
        if self._before or threading.current_thread() is not threading.main_thread():
            return
        for name in self._names:
            number = getattr(signal, f"SIG{name}", None)
            # None: a handler that was not installed from Python, and cannot be put back
            if number is not None and signal.getsignal(number) not in (signal.SIG_IGN, None):
                self._before[number] = signal.signal(number, self._handle)

    def restore(self) -> None:
        """Put back what was there, where nobody else has taken the signal meanwhile. Idempotent."""
        before, self._before = self._before, {}
        for number, handler in before.items():
            if signal.getsignal(number) == self._handle:
                signal.signal(number, handler)

    def _handle(self, number: int, _frame: FrameType | None) -> None:
        self._got += 1
        name = signal.Signals(number).name
        if self._got == 1:
            self._first(name)
        else:
            self._end_at_once(f"second signal ({name}): ending at once, exit 1")

    def _end_at_once(self, line: str) -> None:
        """Say why, if that does not block: whatever was interrupted may hold the log's lock or a full pipe."""
        said = _thread.allocate_lock()
        said.acquire()

        def say() -> None:
            try:
                self._say(line)
            finally:
                said.release()

        try:
            _thread.start_new_thread(say, ())  # threading's own takes a lock that this thread may hold
            said.acquire(timeout=_SAY_SECONDS)
        finally:
            os._exit(1)
