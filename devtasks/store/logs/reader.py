"""One log read as it grows, through rotations of both kinds and through new starts of its service."""

from __future__ import annotations

import contextlib
import os
from pathlib import Path

from devtasks.store.logs.logfile import LogFile, names, rotated
from devtasks.store.logs.rotation import is_copy
from devtasks.store.logs.tail import last_lines, whole_lines_end
from devtasks.store.logs.text import Lines

CHUNK_BYTES = 256 * 1024
_WATCH_BYTES = 1024 * 1024  # as much as one look of a LogWatch reads


class Reader:
    """The bytes of one log in the order in which they were written, each once.

    It begins at `position` of the present log, by default behind its last whole line; with `lines`, that many
    lines before its end; where there is no log yet, at its beginning. A log that was truncated or replaced is read
    from its new beginning.
    """

    def __init__(self, path: Path, position: int | None = None, *, lines: int = 0) -> None:
        self.path = path
        self._log: LogFile | None = None
        self._position = 0
        self._between = False  # of two lines
        self.missed_bytes = 0  # rotated away, and removed, before they were read
        with contextlib.suppress(OSError, ValueError):
            log = LogFile(path)
            try:
                begin = position
                if begin is None:
                    begin = last_lines(log, lines)[0] if lines else whole_lines_end(log)
            except BaseException:
                log.close()
                raise
            self._log, self._position = log, begin
        self._between = True

    @property
    def file(self) -> tuple[int, int] | None:
        """Device and inode of what is being read."""
        return None if self._log is None else self._log.file

    @property
    def place(self) -> tuple[LogFile, int] | None:
        """What is being read, and the position up to which it was."""
        return None if self._log is None else (self._log, self._position)

    def close(self) -> None:
        if self._log is not None:
            self._log.close()
            self._log = None

    def read(self) -> bytes:
        """What comes next, at most 256 KiB; b"" when there is nothing yet, or no log.

        Where a log was left in the middle of a line, the line is ended. Raises Busy, and OSError, in words for
        people, where the log cannot be read; either way the next call goes on where this one should have.
        """
        if self._log is None:
            with contextlib.suppress(FileNotFoundError):
                self._log, self._position = LogFile(self.path), 0
        while self._log is not None:
            begins, data = self._log.read(self._position, CHUNK_BYTES)
            if begins > self._position:  # what was there is kept no more
                self.missed_bytes += begins - self._position
                self._position = begins
            elif data:
                self._position = begins + len(data)
                self._between = data.endswith(b"\n")
                return data
            elif begins < self._position:  # truncated
                self._position = begins
            elif self._is_present():
                break
            elif self._log.read(self._position, 1)[1]:
                continue  # written between the last look and the new start
            elif (following := self._following()) is not None:
                self._log.close()
                self._log, self._position = following, 0
            else:
                break
            if not self._between:
                self._between = True
                return b"\n"
        return b""

    def _is_present(self) -> bool:
        try:
            status = os.lstat(self.path)
        except FileNotFoundError:
            return True  # removed: nothing follows it yet
        return self._log is not None and (status.st_dev, status.st_ino) == self._log.file

    def _following(self) -> LogFile | None:
        there = list(names(self.path))
        own = next((number for number, file in there if file == self.file), None)
        for number, file in reversed(there):
            if number == 0 or (own is not None and number < own):
                log = LogFile(self.path, rotated(self.path, number) if number else None)
                if log.file == file and not (number and is_copy(rotated(self.path, number))):
                    return log
                log.close()
        return None


class LogWatch:
    """The lines that a log gains from a position on: for readiness by log line.

    Without a position it begins at the present end. A file that became shorter or another one is read anew.
    """

    def __init__(self, path: Path, position: int | None = None) -> None:
        self._reader = Reader(path, position)
        self._lines = Lines()

    def new_lines(self) -> tuple[str, ...]:
        """Complete lines since the last call, printable; about 1 MiB a call, the next one goes on there.

        Never raises: a log that cannot be read has no new lines. A line beyond 4 KiB comes cut, with `…`.
        """
        found: list[str] = []
        read = 0
        with contextlib.suppress(OSError, ValueError):
            while read < _WATCH_BYTES and (data := self._reader.read()):
                read += len(data)
                found += self._lines.feed(data)
        return tuple(found)

    def close(self) -> None:
        self._reader.close()


def since(path: Path, position: int | None = None) -> LogWatch:
    """Watch `path` from `position` on; by default from its present end."""
    return LogWatch(path, position)
