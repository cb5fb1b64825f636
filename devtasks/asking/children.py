"""The helpers that a probe runs for itself, and their burial."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import IO

from devtasks.asking.attempt import Wait
from devtasks.asking.link import Doing

_HERE = Path(__file__).parent
_leaving: list[int] = []  # helpers that nobody waits for any more


def spawn(script: str, label: str, *, env: Mapping[str, str], source: int | IO[bytes]) -> subprocess.Popen[bytes]:
    """Run one of the scripts beside this file, a session of its own, its output in a pipe."""
    for pid in tuple(_leaving):
        _reap(pid, os.WNOHANG)
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", str(_HERE / script), label],
        stdin=source,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env={**_libraries(), **env},
        start_new_session=True,
    )
    child.returncode = 0  # reaped here, and only here
    _leaving.append(child.pid)
    return child


def output(child: subprocess.Popen[bytes]) -> Doing[bytes]:
    """All that it writes until it ends, which is little."""
    pipe = child.stdout
    if pipe is None:
        return b""
    said = b""
    while True:
        yield Wait(pipe.fileno())
        piece = os.read(pipe.fileno(), 4096)
        if not piece:
            _reap(child.pid, 0)
            return said
        said += piece


def let_go(child: subprocess.Popen[bytes], *, kill: bool = False) -> None:
    """Close its pipes. Unless it is killed it ends by itself; it is reaped now, or when the next one is run."""
    if kill and child.pid in _leaving:  # not reaped yet: its PID can be nobody else's
        os.kill(child.pid, signal.SIGKILL)
    for pipe in (child.stdin, child.stdout):
        if pipe is not None:
            with contextlib.suppress(BrokenPipeError):
                pipe.close()
    if child.pid in _leaving:
        _reap(child.pid, os.WNOHANG)


def _reap(pid: int, options: int) -> None:
    try:
        done = os.waitpid(pid, options)[0] == pid
    except ChildProcessError:
        done = True
    if done and pid in _leaving:
        _leaving.remove(pid)


def _libraries() -> dict[str, str]:
    """Where this Python's own libraries are: some builds (GitHub's setup-python) do not start without."""
    names = ("LD_LIBRARY_PATH", "DYLD_LIBRARY_PATH")
    return {name: os.environ[name] for name in names if name in os.environ}
