"""The helpers that a probe runs for itself, and their burial."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections import deque
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from devtasks.asking.attempt import Wait
from devtasks.asking.link import Doing

_HERE = Path(__file__).parent
_leaving: deque[int] = deque()  # helpers that nobody waits for any more; several threads may bury them


class Helper:
    """One of the scripts beside this file, in a session of its own; what it says comes through a pipe.

    Only whoever runs it reaps it, so that until then its PID can be nobody else's.
    """

    def __init__(self, script: str, label: str, *, env: Mapping[str, str], source: int | IO[bytes]) -> None:
        _bury()
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_HERE / script), label],
            stdin=source,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**_libraries(), **env},
            start_new_session=True,
        )
        self._process.returncode = 0  # reaped here
        self._reaped = False

    def hand_over(self, data: bytes) -> Doing[None]:
        """Write to its standard input, which stays open."""
        pipe = self._process.stdin
        if pipe is None:
            return
        os.set_blocking(pipe.fileno(), False)
        with contextlib.suppress(BrokenPipeError):  # killed: it will have said nothing
            while data:
                yield Wait(pipe.fileno(), writing=True)
                data = data[os.write(pipe.fileno(), data) :]

    def output(self) -> Doing[bytes]:
        """All that it writes until it ends, which is little."""
        pipe = self._process.stdout
        said = b""
        while pipe is not None:
            yield Wait(pipe.fileno())
            piece = os.read(pipe.fileno(), 4096)
            if not piece:
                self._reaped = _reap(self._process.pid, 0)
                break
            said += piece
        return said

    def let_go(self, *, kill: bool = False) -> None:
        """Close its pipes. Unless it is killed it ends by itself; it is reaped when the next one is run."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
        if not self._reaped:
            if kill:
                os.kill(self._process.pid, signal.SIGKILL)
            self._reaped = True
            _leaving.append(self._process.pid)
            _bury()


def _bury() -> None:
    for _ in range(len(_leaving)):
        with contextlib.suppress(IndexError):
            pid = _leaving.popleft()
            if not _reap(pid, os.WNOHANG):
                _leaving.append(pid)


def _reap(pid: int, options: int) -> bool:
    try:
        return os.waitpid(pid, options)[0] == pid
    except ChildProcessError:
        return True


def _libraries() -> dict[str, str]:
    """Where this Python's own libraries are: some builds (GitHub's setup-python) do not start without."""
    names = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {name: os.environ[name] for name in names if name in os.environ}
