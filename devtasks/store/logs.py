"""Log files: opened for a service, read from their end, shown without what would command a terminal.

A service appends to its file itself; it is rotated at start (facts: nothing is lost, nothing stands in between).
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
import time
from collections.abc import Iterable
from pathlib import Path

from devtasks.model import Project, Service
from devtasks.store import statedir

KEPT = 10  # rotated files
LONGEST_LINE_BYTES = 4096
_BLOCK_BYTES = 64 * 1024
_TAIL_BYTES = 8 * 1024 * 1024  # as far back as `tail` looks
_WATCH_BYTES = 1024 * 1024  # as much as one look of a LogWatch reads

# C0 but tab, DEL, C1, the line and paragraph separators, and the bidirectional overrides, which reorder what
# follows; lone surrogates cannot be printed at all.
_UNPRINTABLE = "[\x00-\x08\x0a-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff\ufeff]"


def printable(text: str) -> str:
    r"""`text` with everything that a terminal would obey written out, as in `\x1b`. Tabs stay."""
    if text.isprintable():
        return text
    return re.sub(_UNPRINTABLE, lambda found: _escape(found[0]), text)


def _escape(character: str) -> str:
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # an undecodable byte (PEP 383): shown as the byte that it is
        return f"\\x{code - 0xDC00:02x}"
    return f"\\x{code:02x}" if code < 0x100 else f"\\u{code:04x}"


def open_log(path: Path) -> int:
    """Rotate what is there (`path` to `path.1`, ten kept) and open the log for appending, 0600.

    The descriptor is not inherited; pass it as stdout. Raises DevtasksError where the file is a link, a FIFO,
    a folder or another user's, or cannot be written.
    """
    try:
        _rotate(path)
        return statedir.open_nofollow(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
    except OSError as error:
        raise statedir.failure("the log cannot be written", error.filename or path, error) from None


def _rotate(path: Path) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        return
    for number in range(KEPT - 1, 0, -1):
        with contextlib.suppress(FileNotFoundError):
            os.replace(_rotated(path, number), _rotated(path, number + 1))
    os.replace(path, _rotated(path, 1))


def _rotated(path: Path, number: int) -> Path:
    return path.with_name(f"{path.name}.{number}")


def tail(path: Path, lines: int) -> tuple[str, ...]:
    """The last `lines` lines, printable, oldest first; what is longer than 4 KiB is cut and ends in `…`.

    Empty where there is no such file or it may not be read. Reads at most the last 8 MiB.
    """
    if lines <= 0:
        return ()
    try:
        descriptor = statedir.open_nofollow(path, os.O_RDONLY)
    except (OSError, ValueError):
        return ()
    try:
        return tuple(_line(raw) for raw in _last(descriptor, lines))
    except OSError:
        return ()
    finally:
        os.close(descriptor)


def _last(descriptor: int, lines: int) -> list[bytes]:
    size = position = os.fstat(descriptor).st_size
    blocks: list[bytes] = []
    breaks = 0
    while position > 0 and breaks <= lines and size - position < _TAIL_BYTES:
        begin = max(0, position - _BLOCK_BYTES)
        block = os.pread(descriptor, position - begin, begin)
        blocks.append(block)
        breaks += block.count(b"\n")
        position = begin
    found = b"".join(reversed(blocks)).split(b"\n")
    if found[-1] == b"":
        found.pop()  # the end of the last line, not a line
    return found[-lines:]


def _line(raw: bytes) -> str:
    raw = raw.removesuffix(b"\r")
    cut = len(raw) > LONGEST_LINE_BYTES
    text = raw[:LONGEST_LINE_BYTES].decode("utf-8", "ignore" if cut else "replace")
    return printable(text) + ("…" if cut else "")


def merged_tail(services: Iterable[Service], lines: int) -> tuple[tuple[str, str], ...]:
    """The last `lines` lines of each service as (name, line), in the order of the services."""
    return tuple((service.name, line) for service in services for line in tail(service.log_file, lines))


class LogWatch:
    """The lines that a log gains from a byte offset on: for readiness by log line.

    Without an offset it begins at the present end. A file that became shorter or another one is read anew.
    """

    def __init__(self, path: Path, offset: int | None = None) -> None:
        self._path = path
        self._file: tuple[int, int] | None = None  # device and inode
        self._offset = offset or 0
        self._rest = b""
        if offset is None:
            with contextlib.suppress(OSError):
                self._offset = os.lstat(path).st_size

    def new_lines(self) -> tuple[str, ...]:
        """Complete lines since the last call, printable; at most 1 MiB a call, the next one goes on there.

        Never raises: a log that cannot be read has no new lines. A line beyond 4 KiB comes cut, with `…`.
        """
        try:
            descriptor = statedir.open_nofollow(self._path, os.O_RDONLY)
        except (OSError, ValueError):
            return ()
        try:
            status = os.fstat(descriptor)
            file = (status.st_dev, status.st_ino)
            if status.st_size < self._offset or (self._file is not None and file != self._file):
                self._offset, self._rest = 0, b""
            self._file = file
            read = os.pread(descriptor, _WATCH_BYTES, self._offset)
        except OSError:
            return ()
        finally:
            os.close(descriptor)
        self._offset += len(read)
        *complete, rest = (self._rest + read).split(b"\n")
        self._rest = rest[: LONGEST_LINE_BYTES + 1]  # what is dropped would be cut anyway
        return tuple(_line(raw) for raw in complete)


def since(path: Path, offset: int | None = None) -> LogWatch:
    """Watch `path` from `offset` on; by default from its present end."""
    return LogWatch(path, offset)


def files(service: Service) -> tuple[Path, ...]:
    """The log files of a service that exist as regular files: the present one first, then by age."""
    names = (service.log_file, *(_rotated(service.log_file, number) for number in range(1, KEPT + 1)))
    return tuple(path for path in names if _modified(path) is not None)


def stale_logs(project: Project, older_than_days: float, *, now: float | None = None) -> tuple[Path, ...]:
    """The project's log files, rotated or not, that were last written more than `older_than_days` ago.

    Only names that the configuration gives, only regular files. A service that still runs and is silent is
    among them: the caller leaves out the present log of what runs.
    """
    limit = (time.time() if now is None else now) - older_than_days * 86_400
    return tuple(
        path
        for service in project.services
        for path in files(service)
        if (modified := _modified(path)) is not None and modified < limit
    )


def _modified(path: Path) -> float | None:
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    return status.st_mtime if stat.S_ISREG(status.st_mode) else None
