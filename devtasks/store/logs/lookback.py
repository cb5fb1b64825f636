"""What a log holds already: its last lines, or those since a time, or those that match."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from devtasks.store.logs.files import modified
from devtasks.store.logs.logfile import LogFile, names, patiently, rotated
from devtasks.store.logs.rotation import is_copy
from devtasks.store.logs.tail import blocks_backwards
from devtasks.store.logs.text import LONGEST_LINE_BYTES, shown
from devtasks.store.logs.timestamps import written_at

MOST_LINES = 100_000  # of one log
_MOST_CHARACTERS = 32 * 1024 * 1024  # of one log
_DISORDER_SECONDS = 5.0  # by how much the times of threads that write one log may be out of order


class TimedLine(NamedTuple):
    """A line and when it was written, as far as it or one before it tells; else when the log was last written."""

    at: float
    text: str


def look_back(
    path: Path,
    *,
    lines: int = MOST_LINES,
    since: float = 0.0,
    matches: Callable[[str], bool] | None = None,
    present: tuple[LogFile, int] | None = None,
    reference: float,
) -> list[TimedLine]:
    """The last `lines` lines that match, oldest first.

    They are of the present run only; with `since`, of earlier ones, too, without those that are known to be older.
    Lines without a time of their own have that of the one before. `present` is the log, opened, and the position
    up to which to read; by default to its end, with a last line that is not ended. Raises OSError where there is
    no log, or it cannot be read.
    """
    search = _Search(lines, since, matches, reference)
    with contextlib.ExitStack() as stack:
        if present is None:
            log = stack.enter_context(LogFile(path))
            present = log, patiently(log.end)
        search.latest = min(modified(path) or reference, reference)
        for log, end in _runs(path, present, since, stack) if since else (present,):
            search.look_through(log, end)
            if search.done:
                break
    search.found.reverse()
    return search.found


def timed(texts: Sequence[str], *, reference: float) -> list[TimedLine]:
    """Lines that somebody else keeps, with the times that they tell; the first ones have that of the next."""
    times = [written_at(text, reference=reference) for text in texts]
    at = next((one for one in times if one is not None), reference)
    found = []
    for text, own in zip(texts, times, strict=True):
        at = at if own is None else own
        found.append(TimedLine(at, text))
    return found


class _Search:
    """What was found so far, youngest first; and whether that is all that is wanted."""

    def __init__(self, lines: int, since: float, matches: Callable[[str], bool] | None, reference: float) -> None:
        self.found: list[TimedLine] = []
        self.latest = reference  # the time of the line that follows
        self.done = False
        self._lines = lines
        self._since = since
        self._matches = matches
        self._reference = reference
        self._room = _MOST_CHARACTERS

    def look_through(self, log: LogFile, end: int) -> None:
        """Go on with an earlier run."""
        pending: list[str] = []  # lines whose time is that of one before them
        for raw in _lines_backwards(log, end):
            line = shown(raw)
            at = written_at(line, reference=self._reference)
            if at is not None and at < self._since:
                pending.clear()
                if at < self._since - _DISORDER_SECONDS:
                    self.done = True
                    return
                continue
            if self._matches is None or self._matches(line):
                pending.append(line)
                self._room -= len(line)
            if at is not None:
                self._take(pending, at)
            if len(self.found) + len(pending) >= self._lines or self._room < 0:
                self.done = True
                break
        self._take(pending, self.latest)  # the first of the run, or of those that are wanted

    def _take(self, pending: list[str], at: float) -> None:
        self.latest = at
        self.found += [TimedLine(at, text) for text in pending]
        pending.clear()


def _runs(
    path: Path, present: tuple[LogFile, int], since: float, stack: contextlib.ExitStack
) -> Iterator[tuple[LogFile, int]]:
    """The run that writes now, then earlier ones that were still writing at `since`."""
    yield present
    for number, file in list(names(path)):
        name = rotated(path, number)
        if number == 0 or file == present[0].file or is_copy(name):
            continue
        if (modified(name) or 0.0) < since:
            return
        try:
            log = stack.enter_context(LogFile(path, name))
            end = patiently(log.end)
        except OSError:
            continue  # it was rotated away
        yield log, end


def _lines_backwards(log: LogFile, end: int) -> Iterator[bytes]:
    """The lines before `end`, the last one first; of what is longer than is shown, no more than that."""
    rest: bytes | None = None
    for block in blocks_backwards(log, end):
        first, *others = (block if rest is None else block + rest).split(b"\n")
        if rest is None and others and others[-1] == b"":
            others.pop()  # the end of the last line, not a line
        yield from reversed(others)
        rest = first[: LONGEST_LINE_BYTES + 2]
    if rest is not None:
        yield rest
