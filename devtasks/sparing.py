"""A runner that was started before anybody needs it: what it costs to start Python is paid in advance.

It is nobody's until it is told its task: the marker in its environment is a row of dashes, over which it then
writes the one of its run. When its owner ends, it does, too.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import select
import socket
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

_RUNNER = Path(__file__).with_name("runner.py")
_ROOM = 300  # bytes for a marker, and for a label
_LONGEST_TASK = 100_000  # in one message; what is longer (a huge environment) gets a runner of its own


class Spare:
    """One of them. To be started in a quiet moment; it serves one run."""

    def __init__(self, libraries: Mapping[str, str]) -> None:
        from devtasks.world.pidfd import subreaper

        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs:
            self._process = subprocess.Popen(
                [sys.executable, "-I", "-S", str(_RUNNER), "spare".ljust(_ROOM, "-")],
                stdin=theirs.fileno(),
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                env={**libraries, "DEVTASKS_ID": "-" * _ROOM, "DEVTASKS_RUNNER": "1"},
                cwd="/",
                start_new_session=True,
                preexec_fn=subreaper(),  # noqa: PLW1509 - prctl takes no lock that another thread may hold
            )
        self._ours = ours
        self.pid = self._process.pid

    def run(
        self, task: Mapping[str, object], label: str, marker: str, descriptors: Sequence[int], seconds: float
    ) -> bytes | None:
        """Hand over the task; the line that it answers, empty if it ended before. None: it was not told.

        `task` names the `descriptors` in the order output, error, input, hold.
        """
        message = marshal.dumps((dict(task), os.fsencode(label), marker.encode()))
        answer = self._process.stdout
        with contextlib.ExitStack() as stack:
            stack.callback(self._let_go)
            if len(message) > _LONGEST_TASK or len(marker) > _ROOM or self._process.poll() is not None:
                return None
            try:
                socket.send_fds(self._ours, [message], list(descriptors))
            except OSError:
                return None
            if answer is None or not select.select([answer], [], [], seconds)[0]:
                return b"silent"
            line: bytes = answer.readline()
            return line

    def close(self) -> None:
        """Send it away."""
        self._let_go()
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(1)

    def _let_go(self) -> None:
        self._ours.close()
        if self._process.stdout is not None:
            self._process.stdout.close()


class Spares:
    """Keeps one ready. `take` and `refill` may be called from different threads."""

    def __init__(self, libraries: Mapping[str, str]) -> None:
        self._libraries = libraries
        self._ready: list[Spare] = []

    def refill(self) -> None:
        """Start one, unless one is there or cannot be had."""
        if not self._ready and sys.platform == "linux":
            with contextlib.suppress(OSError, subprocess.SubprocessError):
                self._ready.append(Spare(self._libraries))

    def take(self) -> Spare | None:
        try:
            return self._ready.pop()
        except IndexError:
            return None

    def close(self) -> None:
        while (spare := self.take()) is not None:
            spare.close()
