"""A descriptor that one thread, or a signal, makes readable so that another wakes up."""

from __future__ import annotations

import contextlib
import os
import sys
from typing import Any


class Waker:
    """`descriptor` is readable after `wake`, until `drain`. Any thread may wake; nothing here blocks or raises."""

    def __init__(self) -> None:
        self._ends: tuple[Any, ...] = ()
        if sys.platform == "win32":  # only sockets can be waited for there
            import socket

            self._ends = socket.socketpair()
            for end in self._ends:
                end.setblocking(False)
            self.descriptor, self.signals = (end.fileno() for end in self._ends)
            return
        self.descriptor, self.signals = os.pipe()  # `signals`: for signal.set_wakeup_fd
        for descriptor in (self.descriptor, self.signals):
            os.set_blocking(descriptor, False)

    def wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is readable already; closed: nobody waits any more
            if self._ends:
                self._ends[1].send(b"\0")
            else:
                os.write(self.signals, b"\0")

    def drain(self) -> bytes:
        """What was written: of signals, their numbers."""
        found = b""
        with contextlib.suppress(OSError):
            while part := self._read():
                found += part
        return found

    def close(self) -> None:
        descriptors, self.descriptor, self.signals = (self.descriptor, self.signals), -1, -1
        for end in self._ends:
            end.close()
        for descriptor in () if self._ends else descriptors:
            os.close(descriptor)

    def _read(self) -> bytes:
        return bytes(self._ends[0].recv(4096)) if self._ends else os.read(self.descriptor, 4096)
