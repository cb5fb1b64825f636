"""Many processes that do nothing: `python herd.py COUNT`, and the handle by which a benchmark holds such a herd.

The script starts COUNT sleepers, prints "ready" and their PIDs, and waits. When its input ends (whoever held it is
gone, however it went) it kills them all. Killed by a signal it leaves them, as servers do. The sleepers end by
themselves after ten minutes.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from types import TracebackType
from typing import Self

SLEEP_SECONDS = 600


class Herd:
    """A herd that lives for the length of a `with` block."""

    def __init__(self, count: int) -> None:
        self.keeper = subprocess.Popen(
            [*command(), str(count)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,  # a Ctrl-C at the terminal ends the benchmark, and that ends the herd
        )

    def __enter__(self) -> Self:
        if self.keeper.stdout is not None and not self.keeper.stdout.readline():
            self.__exit__(None, None, None)
            raise OSError("the herd could not be started: too many processes for this user or this machine?")
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for stream in (self.keeper.stdin, self.keeper.stdout):
            if stream is not None:
                stream.close()
        self.keeper.wait()


def command() -> list[str]:
    return [sys.executable, "-I", "-S", os.path.abspath(__file__)]


def main() -> None:
    sleep = shutil.which("sleep") or "/bin/sleep"
    sleepers: list[int] = []
    try:
        for _ in range(int(sys.argv[1])):
            pid = os.posix_spawn(sleep, [sleep, str(SLEEP_SECONDS)], os.environ)
            sleepers.append(pid)
        print("ready", *sleepers, flush=True)
        sys.stdin.read()
    finally:
        for pid in sleepers:
            os.kill(pid, signal.SIGKILL)  # our own children, not waited for yet: nobody else can have the PID
        for pid in sleepers:
            os.waitpid(pid, 0)


if __name__ == "__main__":
    main()
