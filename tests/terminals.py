"""A terminal that a test types into and reads: `devtasks` in a session of its own on a pseudo-terminal."""

from __future__ import annotations

import fcntl
import os
import pty
import select
import signal
import struct
import subprocess
import termios
import time
from typing import Any, Self

from toolbox import PATIENCE_SECONDS, PYTHON, Scratch


class Terminal:
    """One command on a terminal of its own. What it wrote so far is in `text`."""

    def __init__(self, scratch: Scratch, *arguments: str, columns: int = 80, lines: int = 24, **env: str) -> None:
        self._master, slave = pty.openpty()
        self.resize(columns, lines)
        self.before = termios.tcgetattr(slave)
        self.text = ""
        self.child: subprocess.Popen[Any] = scratch.stage.popen(
            [PYTHON, "-c", _LEAD, PYTHON, "-m", "devtasks", *arguments],
            scratch.root,
            stdin=slave,
            stdout=slave,
            stderr=slave,
            start_new_session=True,
            env={"TERM": "xterm", **env},
        )
        os.close(slave)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_exception: object) -> None:
        self.hang_up()

    def resize(self, columns: int, lines: int) -> None:
        fcntl.ioctl(self._master, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))

    def type(self, keys: bytes) -> None:
        os.write(self._master, keys)

    def hang_up(self) -> None:
        """Close it, as a window is closed: the kernel sends HUP."""
        if self._master >= 0:
            os.close(self._master)
            self._master = -1

    def read(self, seconds: float = 0.05) -> bool:
        """Take what has been written; False at its end."""
        if not select.select([self._master], [], [], seconds)[0]:
            return True
        try:
            data = os.read(self._master, 65536)
        except OSError:  # nobody has the other side open
            return False
        self.text += data.decode(errors="replace")
        return bool(data)

    def expect(self, words: str, seconds: float = PATIENCE_SECONDS, after: int = 0) -> int:
        """Wait until `words` were written behind `after`; where they end."""
        deadline = time.monotonic() + seconds
        while (at := self.text.find(words, after)) < 0:
            open_still = self.read()
            assert open_still or words in self.text[after:], f"ended without {words!r}:\n{self.text}"
            assert time.monotonic() < deadline, f"no {words!r} within {seconds:g} s:\n{self.text}"
        return at + len(words)

    def state(self) -> list[Any]:
        return termios.tcgetattr(self._master)

    def wait(self, seconds: float = PATIENCE_SECONDS) -> int:
        """Read to the end; the exit code."""
        deadline = time.monotonic() + seconds
        while self.child.poll() is None:
            self.read()
            assert time.monotonic() < deadline, f"still there after {seconds:g} s:\n{self.text}"
        while select.select([self._master], [], [], 0)[0] and self.read():
            pass
        return int(self.child.returncode)

    def signal(self, number: signal.Signals) -> None:
        self.child.send_signal(number)


# Makes the terminal the controlling one of the new session, and becomes the command.
_LEAD = "import fcntl, os, sys, termios; fcntl.ioctl(0, termios.TIOCSCTTY, 0); os.execv(sys.argv[1], sys.argv[1:])"
