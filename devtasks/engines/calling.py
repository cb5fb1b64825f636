"""One call of an engine's command line, bounded in time and in what is read of it."""

from __future__ import annotations

import os
import selectors
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from devtasks.values import Value

MOST_BYTES = 4 * 1024 * 1024  # of standard output, and of standard error
_PIECE = 64 * 1024


class Called(Value):
    """How a call ended. `code` None: it did not end in time, and was ended."""

    code: int | None
    output: str
    errors: str
    too_much: bool = False


def call(words: Sequence[str], *, cwd: Path, environ: Mapping[str, str], seconds: float) -> Called:
    """Run a program without a shell, and wait until it ends or the time is over. Raises OSError if it cannot run.

    It has a session of its own, so that its plugins can be ended with it; the caller's marker is not handed on,
    and what it leaves running (a container's keeper) is told to be nobody's.
    """
    clean = {name: value for name, value in environ.items() if not name.startswith("DEVTASKS_")}
    child = subprocess.Popen(
        words,
        cwd=cwd,
        env={**clean, "DEVTASKS_KEEP": "1"},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    )
    try:
        return _read(child, time.monotonic() + seconds)
    except BaseException:
        _end(child)
        raise
    finally:
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                stream.close()


def _read(child: subprocess.Popen[bytes], deadline: float) -> Called:
    """What it says until it ends. What it left behind may hold its output open, and is not waited for."""
    said: dict[int, bytearray] = {}
    too_much = False
    with selectors.DefaultSelector() as selector:
        for stream in (child.stdout, child.stderr):
            if stream is not None:
                os.set_blocking(stream.fileno(), False)
                said[stream.fileno()] = bytearray()
                selector.register(stream, selectors.EVENT_READ)
        while selector.get_map() and not too_much:
            left = deadline - time.monotonic()
            if left <= 0:
                break
            ended = child.poll() is not None
            ready = selector.select(0 if ended else min(left, 0.05))
            for key, _ in ready:
                piece = os.read(key.fd, _PIECE)
                said[key.fd] += piece
                too_much = too_much or len(said[key.fd]) > MOST_BYTES
                if not piece:
                    selector.unregister(key.fileobj)
            if ended and not ready:
                break
    code = None
    if not too_much:
        with suppress(subprocess.TimeoutExpired):
            code = child.wait(max(deadline - time.monotonic(), 0))
    if child.returncode is None:
        _end(child)
    output, errors = (bytes(one).decode("utf-8", "replace") for one in said.values())
    return Called(code=code, output=output, errors=errors, too_much=too_much)


def _end(child: subprocess.Popen[bytes]) -> None:
    """End a call with its plugins: our own child, not waited for yet, so that its number cannot be another's."""
    if child.poll() is None:
        with suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, signal.SIGKILL)
        child.wait()
