"""Open a log for a service that is about to be started."""

from __future__ import annotations

import contextlib
import os
import stat
import sys
import time
from pathlib import Path

from devtasks.store import statedir
from devtasks.store.logs import rotation
from devtasks.store.logs.logfile import LogFile, patiently, rotated

_PATIENCE_SECONDS = 2.0


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


def end_of(path: Path) -> int:
    """The position at which what is written next will begin: for a LogWatch."""
    try:
        with LogFile(path) as log:
            return patiently(log.end)
    except (OSError, ValueError):
        return 0


def _rotate(path: Path) -> None:
    try:
        status = os.lstat(path)
    except FileNotFoundError:
        return
    if not stat.S_ISREG(status.st_mode) or status.st_size == 0:
        return
    with contextlib.ExitStack() as stack:
        if sys.platform == "linux":
            _settle(path, stack)
        rotation.shift(None, str(path))
        os.replace(path, rotated(path, 1))


def _settle(path: Path, stack: contextlib.ExitStack) -> None:
    """Finish what a killed runner has begun, and keep whoever rotates or reads this log away from it.

    As far as that can be done: neither a log that may only be appended to nor a stopped reader prevents a start.
    """
    with contextlib.suppress(OSError):
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        stack.callback(os.close, folder)
        log = statedir.open_nofollow(path, os.O_RDWR)
        stack.callback(os.close, log)
        deadline = time.monotonic() + _PATIENCE_SECONDS
        while not rotation.lock(log):
            if time.monotonic() > deadline:
                return
            time.sleep(0.005)
        rotation.recover(folder, path.name, log)
