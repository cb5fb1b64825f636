"""Rows of the process table from /proc: three short reads a process, because thousands are read at a time.

First reads are small and go on only where they were filled: command lines and environments are short as a
rule, and large buffers cost more than a second read.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from collections.abc import Iterable

from devtasks.model import Process

_FLAGS = os.O_RDONLY | getattr(os, "O_CLOEXEC", 0)
_PF_KTHREAD = 0x00200000
_PF_EXITING = 0x00000004
_NO_DESCRIPTORS = (errno.EMFILE, errno.ENFILE)
_FIRST_READ = 4096
_FURTHER_READ = 1 << 17
_HALF_LOOKS = 3  # how often a row that shows only one of command line and environment is read again at once
_EXEC_LOOKS = 20  # how often, and every how many seconds, one in the middle of an exec is looked at again
_EXEC_PAUSE_SECONDS = 0.001


def pids() -> list[int]:
    """All processes of this PID namespace."""
    return [int(name) for name in os.listdir("/proc") if name.isdigit()]


def rows(wanted: Iterable[int]) -> dict[int, Process]:
    """The rows of `wanted`; those that are gone are missing.

    A process in the middle of an exec shows neither command line nor environment for a moment: it is read
    again until it is through, or turns out to have none.
    """
    found: dict[int, Process] = {}
    blurred: list[int] = []
    for pid in wanted:
        row = _row(pid)
        if row is not None:
            found[pid] = row
            if row.blurred:
                blurred.append(pid)
    for _ in range(_EXEC_LOOKS):
        if not blurred:
            break
        time.sleep(_EXEC_PAUSE_SECONDS)
        for pid in blurred:
            row = _row(pid)
            if row is None:
                del found[pid]
            else:
                found[pid] = row
        blurred = [pid for pid in blurred if pid in found and found[pid].blurred]
    return found


def read(name: str, size: int = _FIRST_READ) -> bytes | None:
    """A file below /proc, whole; None: gone, or not for us. Raises OSError where no descriptor is left."""
    try:
        descriptor = os.open(f"/proc/{name}", _FLAGS)
    except OSError as error:
        if error.errno in _NO_DESCRIPTORS:
            raise
        return None
    try:
        data = os.read(descriptor, size)
        if len(data) == size:
            parts = [data]
            while chunk := os.read(descriptor, _FURTHER_READ):
                parts.append(chunk)
            data = b"".join(parts)
    except OSError:
        return None
    else:
        return data
    finally:
        os.close(descriptor)


def columns(pid: int) -> list[bytes]:
    """The columns of stat after the name, the first of them the state; empty when the process is gone."""
    stat = read(f"{pid}/stat", 512) or b""
    return stat[stat.rfind(b")") + 2 :].split()


def start_of(pid: int) -> int | None:
    """The start ticks of the process that has this PID now."""
    found = columns(pid)
    return int(found[19]) if len(found) > 19 else None


def _row(pid: int) -> Process | None:
    # Written out rather than built from `read`: at thousands of processes the calls cost as much as the reads
    place = f"/proc/{pid}"
    try:
        descriptor = os.open(f"{place}/stat", _FLAGS)
    except OSError as error:
        if error.errno in _NO_DESCRIPTORS:
            raise
        return None
    try:
        stat = os.read(descriptor, 512)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    fields = stat[stat.rfind(b")") + 2 :].split(None, 20)
    if len(fields) < 20:
        return None
    state = fields[0].decode("ascii", "replace")
    flags = int(fields[6])
    kernel = bool(flags & _PF_KTHREAD)
    if state == "Z" and int(fields[17]) > 1:
        # the leader ended its own thread (pthread_exit); the process lives in the others
        state, place = _living_thread(pid)
    cmdline: bytes = b""
    marker, keep, runner, blurred = None, False, False, False
    if not kernel and state not in ("Z", "X"):
        cmdline, environ = _words(place)
        blurred = not (cmdline or environ or flags & _PF_EXITING)
        if b"DEVTASKS_" in environ:
            marker, keep, runner = _marks(environ)
    return Process(
        pid,
        int(fields[1]),
        int(fields[3]),
        int(fields[4]),
        state,
        int(fields[19]),
        cmdline,
        marker,
        keep,
        runner,
        kernel,
        blurred,
    )


def _words(place: str) -> tuple[bytes, bytes]:
    """Command line and environment. One without the other may be the two sides of an exec: read again."""
    for _ in range(_HALF_LOOKS):
        cmdline, _ = _whole(f"{place}/cmdline")
        environ, readable = _whole(f"{place}/environ")
        if not readable or bool(cmdline) == bool(environ):
            break
    return cmdline, environ


def _whole(path: str) -> tuple[bytes, bool]:
    """Its content, and whether it could be read."""
    try:
        descriptor = os.open(path, _FLAGS)
    except OSError as error:
        if error.errno in _NO_DESCRIPTORS:
            raise
        return b"", False
    try:
        data = os.read(descriptor, _FIRST_READ)
        if len(data) == _FIRST_READ:
            while chunk := os.read(descriptor, _FURTHER_READ):
                data += chunk
    except OSError:
        return b"", False
    else:
        return data, True
    finally:
        os.close(descriptor)


def _living_thread(pid: int) -> tuple[str, str]:
    """State and folder of a thread that lives; of the leader if none does."""
    with contextlib.suppress(OSError):
        for tid in os.listdir(f"/proc/{pid}/task"):
            stat = read(f"{pid}/task/{tid}/stat", 512) or b""
            state = stat[stat.rfind(b")") + 2 :][:1].decode("ascii", "replace")
            if state and state not in ("Z", "X"):
                return state, f"/proc/{pid}/task/{tid}"
    return "Z", f"/proc/{pid}"


def _marks(environ: bytes) -> tuple[str | None, bool, bool]:
    marker = _variable(environ, b"DEVTASKS_ID=")
    keep = _variable(environ, b"DEVTASKS_KEEP=") == b"1"
    runner = _variable(environ, b"DEVTASKS_RUNNER=") is not None
    return None if marker is None else marker.decode("ascii", "replace"), keep, runner


def _variable(environ: bytes, name: bytes) -> bytes | None:
    """The value of the first entry that begins with `name`, which ends in "="."""
    at = 0 if environ.startswith(name) else environ.find(b"\0" + name) + 1
    if at == 0 and not environ.startswith(name):
        return None
    end = environ.find(b"\0", at)
    return environ[at + len(name) : end if end >= 0 else None]
