"""The handle of a process where there is no pidfd."""

from __future__ import annotations

import errno
import signal
import sys
from collections.abc import Callable

import psutil


class CheckedHandle:
    """A PID whose start time is compared before each signal: the best to be had without a pidfd.

    `lives` tells whether the process with this PID and start still runs.
    """

    __slots__ = ("_lives", "_process", "pid", "start")

    def __init__(self, process: psutil.Process, start: int, lives: Callable[[int, int], bool]) -> None:
        self._process = process
        self._lives = lives
        self.pid = process.pid
        self.start = start

    def lives(self) -> bool:
        return self._lives(self.pid, self.start)

    def send(self, name: str) -> bool:
        if not self.lives():
            return False
        try:
            if sys.platform != "win32":
                self._process.send_signal(signal.Signals[f"SIG{name}"])
            elif name != "CONT":
                # Windows can only terminate one process. Ctrl-Break reaches a console's group, and with a PID
                # that leads none the whole console, us included; who leads one is not told.
                self._process.kill()
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            raise PermissionError(errno.EPERM, f"process {self.pid} may not be signalled") from None
        return True

    def close(self) -> None:
        """Nothing is held."""

    @property
    def descriptor(self) -> None:
        """Nothing tells of its end by itself."""
        return
