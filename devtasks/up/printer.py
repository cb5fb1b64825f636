"""The one thread that writes to the terminal: log lines as they come, and what `up` has to say.

Whoever watches must never wait for a terminal: it hands its news over and goes on. Services write to their files;
a terminal that is stopped, or a reader that is slow, delays the view of them and nothing else.
"""

from __future__ import annotations

import json
import os
import select
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Mapping

from devtasks.report.forge import quoted
from devtasks.report.look import Look
from devtasks.store.logs.follow import Follower
from devtasks.up import news
from devtasks.up.news import News
from devtasks.world.waking import Waker

_OWN = "up"  # what stands before our own lines
_TICK_SECONDS = 1.0
_STUCK_SECONDS = 5.0  # at the end: how long a reader may take nothing before the rest is let go


class Printer:
    """Follows the logs of the services and prints, from `start` to `close`."""

    def __init__(
        self,
        follower: Follower,
        services: Iterable[str],
        look: Look,
        *,
        as_json: bool,
        closed: Callable[[], None],
        clock: Callable[[], float],
    ) -> None:
        """`closed` is called, in the printer's thread, when nobody reads any more. `clock`: since the epoch."""
        self._follower = follower
        self._json = as_json
        self._look = look
        self._closed = closed
        self._clock = clock
        self._encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
        self._descriptor = _stdout()
        self._news: deque[News] = deque()
        self._progress: Callable[[], Iterable[News]] = tuple
        self._ending = threading.Event()
        self._awake = threading.Event()
        self._waker = Waker()
        self._moved = time.monotonic()
        self._gone = False
        names = tuple(services)
        self._silent: set[str | None] = set(names)  # what has not begun yet
        width = max(map(len, (*names, _OWN)))
        self._labels: Mapping[str, str] = {
            name: look.label(f"{name:<{width}}", number) for number, name in enumerate(names)
        }
        self._own = look.paint(f"{_OWN:<{width}}", "bold")
        self._thread = threading.Thread(target=self._work, name="printer", daemon=True)

    def start(self) -> None:
        self._thread.start()

    def say(self, news: News) -> None:
        """Print it soon. Never blocks."""
        if news.event in ("ready", "joined"):
            self._silent.discard(news.service)
        self._news.append(news)
        self._rouse()

    def ask(self, progress: Callable[[], Iterable[News]]) -> None:
        """From now on, ask every second, in the printer's thread, what there is to say. `tuple`: nothing."""
        self._progress = progress
        self._rouse()

    def close(self) -> None:
        """Print what is left, unless nobody takes it, and let go."""
        self._ending.set()
        self._rouse()
        self._moved = time.monotonic()
        while self._thread.is_alive() and time.monotonic() - self._moved < _STUCK_SECONDS:
            self._thread.join(0.05)
        if not self._thread.is_alive():
            self._follower.close()
            self._waker.close()

    def _rouse(self) -> None:
        self._awake.set()
        self._waker.wake()

    # --- in the thread --------------------------------------------------------------------------------------

    def _work(self) -> None:
        due = time.monotonic() + _TICK_SECONDS
        while not self._gone:
            ending = self._ending.is_set()
            lines = self._follower.poll()
            if self._progress is tuple:
                due = time.monotonic() + _TICK_SECONDS
            elif time.monotonic() >= due:
                due += _TICK_SECONDS
                self._news.extend(self._progress())
            if lines:
                self._write(self._logs(lines))
            while self._news:
                self._write(self._told(self._news.popleft()))
            if not lines and ending:
                return
            if not lines:
                self._complain()
                left = self._follower.timeout_seconds
                self._wait(left if self._progress is tuple else min(left, max(0.0, due - time.monotonic())))

    def _complain(self) -> None:
        """What keeps logs from being read, once all services run: until then some have none yet."""
        if not self._silent:
            for service, problem in self._follower.problems():
                self.say(News(event="note", at=self._clock(), service=service, detail=problem))

    def _wait(self, seconds: float) -> None:
        if self._follower.fileno() >= 0:
            select.select([self._follower.fileno(), self._waker.descriptor], [], [], seconds)
            self._waker.drain()
        elif self._awake.wait(seconds):
            self._awake.clear()

    def _logs(self, lines: Iterable[tuple[str, str]]) -> str:
        if self._json:
            at = round(self._clock(), 3)
            return "".join(
                _line({"event": "log", "at": at, "service": service, "line": line}) for service, line in lines
            )
        if self._look.forge is not None:
            return "".join(
                f"{self._labels[service]} {quoted(line, self._look).strip()}\n" for service, line in lines
            )
        labels = self._labels
        return "".join([f"{labels[service]} | {line}\n" for service, line in lines])

    def _told(self, item: News) -> str:
        if self._json:
            return _line(news.shape(item))
        return "".join(f"{self._own} | {line}\n" for line in news.text(item, self._look))

    def _write(self, text: str) -> None:
        if self._gone:
            return
        rest = memoryview(text.encode(self._encoding, "backslashreplace"))
        while rest:
            try:
                rest = rest[os.write(self._descriptor, rest) :]
                self._moved = time.monotonic()
            except BlockingIOError:  # somebody made the terminal non-blocking: wait for it like for any other
                select.select([], [self._descriptor], [], _TICK_SECONDS)
            except OSError:  # the reader has left, the terminal is closed, the disk is full
                self._gone = True
                self._closed()
                return


def _stdout() -> int:
    """Where lines go: not through Python's own buffer, which a thread that is stuck in it would lock for all."""
    try:
        return sys.stdout.fileno()
    except (AttributeError, OSError, ValueError):  # closed before Python started, or not a file
        return os.open(os.devnull, os.O_WRONLY | getattr(os, "O_CLOEXEC", 0))


def _line(shape: Mapping[str, object]) -> str:
    return json.dumps({"version": 1, **shape}, separators=(", ", ": ")) + "\n"
