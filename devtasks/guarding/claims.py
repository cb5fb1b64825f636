"""Which process was given a port by its guard, and when: so that a server that has just begun is no leftover.

A claim is a name in Linux's abstract socket space, `@devtasks/port/PORT/PID/TICKS`: it appears in /proc/net/unix,
in the same network namespace as the port, and ends with the process whatever ends that. Making one costs 0.02 ms.
Elsewhere there are none, and only the start of a process tells how young it is.
"""

from __future__ import annotations

import contextlib
import os
import re
import socket
import sys
import time

_PREFIX = "devtasks/port"
_held: dict[tuple[int, int], socket.socket] = {}  # by PID too: a forked child's claims are not its own


def claim(port: int) -> None:
    """Say that this process is about to bind `port`. Never raises."""
    if sys.platform != "linux":
        return
    mine = (os.getpid(), port)
    with contextlib.suppress(OSError):
        name = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        try:
            name.bind(f"\0{_PREFIX}/{port}/{mine[0]}/{_ticks()}")
        except OSError:
            name.close()
            return
        before = _held.pop(mine, None)
        if before is not None:
            before.close()
        _held[mine] = name


def claimed(port: int) -> dict[int, int]:
    """PID to when it claimed `port`, in the clock ticks since boot that process starts are counted in."""
    found: dict[int, int] = {}
    with contextlib.suppress(OSError), open("/proc/net/unix", encoding="ascii", errors="replace") as table:
        for match in re.finditer(
            rf" @{_PREFIX}/{port}/([0-9]{{1,10}})/([0-9]{{1,19}})$", table.read(), re.MULTILINE
        ):
            pid, at = int(match[1]), int(match[2])
            found[pid] = max(at, found.get(pid, 0))
    return found


def _ticks() -> int:
    return int(time.clock_gettime(time.CLOCK_BOOTTIME) * os.sysconf("SC_CLK_TCK"))


__all__ = ["claim", "claimed"]
