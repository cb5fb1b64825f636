"""The handle of a process where there is no pidfd."""

from __future__ import annotations

import contextlib
import errno
import signal
import sys
from collections.abc import Callable

import psutil

from devtasks.world.columns import ask


class CheckedHandle:
    """A PID whose start time is compared before each signal: the best to be had without a pidfd."""

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
            if sys.platform == "win32":
                self._send_on_windows(name)
            else:
                self._process.send_signal(signal.Signals[f"SIG{name}"])
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            raise PermissionError(errno.EPERM, f"process {self.pid} may not be signalled") from None
        return True

    def _send_on_windows(self, name: str) -> None:
        """Windows has no signals: whatever is not CONT or KILL asks to end, CONT has nothing to continue.

        Ctrl-Break reaches a whole console group, and with a PID that leads none the whole console, us included.
        Only a run's main process surely leads one: its parent is a runner.
        """
        if name == "CONT":
            return
        if name != "KILL" and _child_of_runner(self._process):
            with contextlib.suppress(OSError):  # no console in common
                self._process.send_signal(signal.CTRL_BREAK_EVENT)  # type: ignore[attr-defined,unused-ignore]
                return
        self._process.kill()

    def close(self) -> None:
        """Nothing is held."""


def _child_of_runner(process: psutil.Process) -> bool:
    parent = ask(process.parent, None)
    return parent is not None and "DEVTASKS_RUNNER" in (ask(parent.environ, None) or ())
