"""One log as a stream of bytes that begins with the first one ever written, wherever they are kept by now.

A service that is started again begins a new one; what it wrote before is a stream of its own.
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from devtasks.store import statedir
from devtasks.store.logs import rotation
from devtasks.store.logs.rotation import Mark

_PATIENCE_SECONDS = 2.0
T = TypeVar("T")


class Busy(OSError):
    """The log is being rotated this very moment: ask again in some milliseconds."""

    def __init__(self) -> None:
        super().__init__(errno.EAGAIN, "is being rotated")


def rotated(path: Path, number: int) -> Path:
    """The rotated file `number` of a log: 1 is the youngest."""
    return path.with_name(rotation.rotated(path.name, number))


class LogFile:
    """One log, opened. Positions count from the first byte that was ever written to it.

    Raises OSError where there is none, or it is a link, no regular file, another user's, or closed to us.
    """

    def __init__(self, path: Path, name: Path | None = None) -> None:
        """`path` is the log's; the file that is opened may be `name`, a rotated one of it."""
        self.path = path
        self._descriptor = -1
        self._descriptor = statedir.open_nofollow(name or path, os.O_RDONLY)
        status = os.fstat(self._descriptor)
        self.file = (status.st_dev, status.st_ino)

    def close(self) -> None:
        descriptor, self._descriptor = self._descriptor, -1
        if descriptor >= 0:
            os.close(descriptor)

    def __del__(self) -> None:
        self.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def end(self) -> int:
        """The position behind the last byte. Raises Busy."""
        while True:
            mark = rotation.read_mark(self._descriptor)
            size = os.fstat(self._descriptor).st_size
            if not mark.settled:
                with self._still() as mark:
                    return mark.collapsed + os.fstat(self._descriptor).st_size
            if mark == rotation.read_mark(self._descriptor):
                return mark.collapsed + size

    def read(self, position: int, size: int) -> tuple[int, bytes]:
        """At most `size` bytes from `position` on, and the position at which they begin.

        That is another where those at `position` are not there: later, where they are kept no more; the new
        beginning, without bytes, where somebody has truncated the log. b"" at `position`: there is nothing more
        yet. Raises Busy.
        """
        while True:
            mark = rotation.read_mark(self._descriptor)
            if not mark.settled or position < mark.moved:
                return self._read_with_copies(position, size)
            found = self._read_at(mark, position, size)
            if mark == rotation.read_mark(self._descriptor):
                return found

    def begin(self) -> int:
        """The position of the first byte that is still kept. Raises Busy."""
        mark = rotation.read_mark(self._descriptor)
        if mark.settled and mark.moved == 0:
            return 0
        with self._still() as mark:
            return self._copies(mark)[0]

    def _read_at(self, mark: Mark, position: int, size: int) -> tuple[int, bytes]:
        data = os.pread(self._descriptor, size, position - mark.collapsed)
        if not data and os.fstat(self._descriptor).st_size < position - mark.collapsed:
            return mark.moved, b""
        return position, data

    @contextlib.contextmanager
    def _still(self) -> Iterator[Mark]:
        """While nobody rotates; the mark as it will be once what a killed runner has begun is finished.

        It says `moving` where NAME.0 is the youngest copy, and else `settled`.
        """
        if not rotation.lock(self._descriptor, shared=True):
            raise Busy
        try:
            mark = rotation.read_mark(self._descriptor)
            if mark.step == "collapsing":
                cut = rotation.data_begins(self._descriptor) < mark.target - mark.collapsed
                mark = Mark("settled", mark.target if cut else mark.collapsed, mark.moved)
            elif mark.step == "moving":
                punched = os.pread(self._descriptor, 1, mark.begin) in (b"\0", b"")
                mark = (
                    Mark("moving", mark.collapsed, mark.target)
                    if punched
                    else Mark("settled", mark.collapsed, mark.moved)
                )
            yield mark
        finally:
            rotation.unlock(self._descriptor)

    def _read_with_copies(self, position: int, size: int) -> tuple[int, bytes]:
        with self._still() as mark:
            if position < mark.moved:
                first, copies = self._copies(mark)
                position = max(position, first)
                for start, length, name in copies:
                    if start <= position < start + length:
                        descriptor = statedir.open_nofollow(name, os.O_RDONLY)
                        try:
                            offset = position - start
                            return position, os.pread(descriptor, min(size, length - offset), offset)
                        finally:
                            os.close(descriptor)
            return self._read_at(mark, position, size)

    def _copies(self, mark: Mark) -> tuple[int, list[tuple[int, int, Path]]]:
        """What was moved out of it, youngest first, as (position, length, name); and the first position of all."""
        begin = mark.moved
        found: list[tuple[int, int, Path]] = []
        own = next((number for number, file in names(self.path) if file == self.file), rotation.KEPT)
        for number in range(0 if mark.step == "moving" else own + 1, rotation.KEPT + 1):
            name = rotated(self.path, number)
            status = _regular(name)
            if status is None:
                continue  # 0 has become 1 already, or whoever was making room for it was killed
            if begin <= 0 or status.st_size > begin or not rotation.is_copy(name):
                break
            begin -= status.st_size
            found.append((begin, status.st_size, name))
        return begin, found


def names(path: Path) -> Iterator[tuple[int, tuple[int, int]]]:
    """What is there now of a log, as (number, (device, inode)); 0 is the log itself.

    Ascending: files are renamed upward, so none is missed that is renamed meanwhile; one may be met twice.
    """
    for number in range(rotation.KEPT + 1):
        status = _regular(rotated(path, number) if number else path)
        if status is not None:
            yield number, (status.st_dev, status.st_ino)


def _regular(path: Path) -> os.stat_result | None:
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    return status if stat.S_ISREG(status.st_mode) else None


def patiently(call: Callable[[], T]) -> T:
    """What `call` returns once nobody rotates. Raises Busy when that takes seconds: it was stopped meanwhile."""
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while True:
        try:
            return call()
        except Busy:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.005)
