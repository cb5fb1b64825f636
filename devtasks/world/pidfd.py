"""pidfd: a descriptor that names one process for as long as it is open, reused PIDs or not."""

from __future__ import annotations

import os
import signal
from collections.abc import Callable


class PidHandle:
    """A pinned process."""

    __slots__ = ("descriptor", "pid", "start")

    def __init__(self, pid: int, start: int, descriptor: int) -> None:
        self.pid = pid
        self.start = start
        self.descriptor = descriptor

    def send(self, name: str) -> bool:
        """See `world.Handle`."""
        try:
            _send_signal(self.descriptor, signal.Signals[f"SIG{name}"])
        except ProcessLookupError:
            return False
        return True

    def close(self) -> None:
        """See `world.Handle`."""
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def pidfd_open(pid: int) -> int:
    """A descriptor for the process that has `pid` now. Raises OSError: ESRCH gone; EINVAL or ENOENT a thread."""
    if hasattr(os, "pidfd_open"):
        return os.pidfd_open(pid)
    return _system_call(434, pid, 0)


def subreaper() -> Callable[[], None]:
    """What a forked child calls so that, from then on, orphans among its descendants become its own children.

    Prepared before the fork; the attribute survives exec, so that a runner need not pay for ctypes.
    """
    import ctypes

    prctl = ctypes.CDLL(None).prctl

    def become() -> None:
        prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER

    return become


def _send_signal(descriptor: int, number: int) -> None:
    if hasattr(signal, "pidfd_send_signal"):
        signal.pidfd_send_signal(descriptor, number)
    else:
        _system_call(424, descriptor, number, 0, 0)


def _system_call(number: int, *arguments: int) -> int:
    """A system call without a function in this build of Python: some lack pidfd_open, whatever the kernel has."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result
