"""One start of a service at a time.

The lock is the kernel's (flock), so it ends with its holder however that ends. The file is never unlinked by
us: whoever opened it before would hold a lock that nobody else sees.
"""

from __future__ import annotations

import contextlib
import os
import re
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NoReturn

from devtasks.errors import DevtasksError
from devtasks.model import Project, Service
from devtasks.store import statedir

_TELL_AFTER_SECONDS = 1.0
_FIRST_PAUSE_SECONDS = 0.002
_LONGEST_PAUSE_SECONDS = 0.05
_HINT = rb"([1-9][0-9]{0,9})\n"


def path(project: Project, service: Service) -> Path:
    """The lock file of one service. It is never unlinked by us."""
    return project.state_dir / f"{service.name}.lock"


@contextlib.contextmanager
def service_lock(
    path: Path, *, timeout_seconds: float | None = None, tell: Callable[[str], None] | None = None
) -> Iterator[None]:
    """Hold the lock file at `path` for the length of the block.

    Waits `timeout_seconds` (None: for ever). After a second, `tell` hears once who is waited for, as far as
    that is known. Raises DevtasksError when the time is over or the file cannot be made. Several locks are
    taken in sorted order, or two commands wait for each other.
    """
    descriptor = _acquire(path, timeout_seconds, tell)
    try:
        _leave_hint(descriptor)
        yield
    finally:
        _release(descriptor)


def is_held(path: Path) -> bool:
    """Whether somebody holds the lock file at `path` now. One that cannot be opened is nobody's."""
    try:
        descriptor = statedir.open_nofollow(path, os.O_RDWR)
    except OSError:
        return False
    try:
        return not _try_lock(descriptor)
    finally:
        _release(descriptor)


def _acquire(path: Path, timeout_seconds: float | None, tell: Callable[[str], None] | None) -> int:
    started = time.monotonic()
    pause = _FIRST_PAUSE_SECONDS
    while True:
        descriptor = _open(path)
        taken = False
        try:
            while not (taken := _try_lock(descriptor)):
                waited = time.monotonic() - started
                if timeout_seconds is not None and waited >= timeout_seconds:
                    _give_up(path, descriptor, timeout_seconds)
                if tell is not None and waited >= _TELL_AFTER_SECONDS:
                    tell(f"waiting: {_who(descriptor)} is starting {path.stem}")
                    tell = None
                # Asking again is on purpose: a signal that arrives just before a blocking flock leaves it
                # blocked, and there is no flock with a timeout.
                time.sleep(pause)
                pause = min(2 * pause, _LONGEST_PAUSE_SECONDS)
                if not _is_at(descriptor, path):
                    break
            if taken and _is_at(descriptor, path):
                return descriptor
        except BaseException:
            _release(descriptor)
            raise
        # Unlinked while we waited (`git clean`): whoever comes now locks another file. So do we.
        _release(descriptor)


def _open(path: Path) -> int:
    try:
        return statedir.open_nofollow(path, os.O_RDWR | os.O_CREAT, 0o600)
    except OSError as error:
        raise statedir.failure("the lock file cannot be opened", path, error) from None


def _is_at(descriptor: int, path: Path) -> bool:
    try:
        there = os.lstat(path)
    except OSError:
        return False
    return os.path.samestat(os.fstat(descriptor), there)


if sys.platform == "win32":

    def _try_lock(descriptor: int) -> bool:
        import msvcrt

        os.lseek(descriptor, 0, os.SEEK_SET)
        try:
            msvcrt.locking(descriptor, msvcrt.LK_NBLCK, 1)
        except OSError:
            return False
        return True

    def _release(descriptor: int) -> None:
        os.close(descriptor)

    def _leave_hint(descriptor: int) -> None:
        """Locked bytes cannot be read by others here."""

    def _who(descriptor: int) -> str:  # noqa: ARG001
        return "another command"

else:

    def _try_lock(descriptor: int) -> bool:
        import fcntl

        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def _release(descriptor: int) -> None:
        # Closing alone would leave the lock with a child that was forked and not yet executed.
        import fcntl

        with contextlib.suppress(OSError):
            fcntl.flock(descriptor, fcntl.LOCK_UN)
        os.close(descriptor)

    def _leave_hint(descriptor: int) -> None:
        """Our PID, for people who wait. Nothing is decided by it; a full disk may swallow it."""
        with contextlib.suppress(OSError):
            os.ftruncate(descriptor, 0)
            os.pwrite(descriptor, b"%d\n" % os.getpid(), 0)

    def _who(descriptor: int) -> str:
        try:
            hint = re.fullmatch(_HINT, os.pread(descriptor, 64, 0))
        except OSError:
            hint = None
        return f"another command (PID {int(hint[1])})" if hint else "another command"


def _give_up(path: Path, descriptor: int, timeout_seconds: float) -> NoReturn:
    raise DevtasksError(
        f"{path.stem}: {_who(descriptor)} has been starting it for more than {timeout_seconds:g} s",
        hint="wait for that command or end it, then try again",
    )
