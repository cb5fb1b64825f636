"""The columns of one row of the process table, from /proc/PID/stat or from psutil alone."""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections.abc import Callable
from typing import NamedTuple, TypeVar

import psutil

Answer = TypeVar("Answer")

PER_SECOND = 1_000_000  # units of a start time where the kernel's ticks are not to be had

_PF_KTHREAD = 0x00200000
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)
_LETTERS = {
    psutil.STATUS_RUNNING: "R",
    psutil.STATUS_DISK_SLEEP: "D",
    psutil.STATUS_STOPPED: "T",
    psutil.STATUS_TRACING_STOP: "t",
    psutil.STATUS_ZOMBIE: "Z",
    psutil.STATUS_DEAD: "X",
    psutil.STATUS_IDLE: "I",
}


class Columns(NamedTuple):
    """What a row says besides command line and environment. `thread` shows those two: the PID, if it can."""

    ppid: int
    session: int
    terminal: int
    state: str
    start: int
    kernel: bool
    thread: int


def columns_of_stat(pid: int) -> Columns | None:
    """From /proc/PID/stat, whose second column may hold anything up to the last parenthesis."""
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            line = file.read()
    except OSError as error:
        if error.errno in _NO_DESCRIPTOR:
            raise
        return None
    fields = line[line.rfind(b")") + 2 :].split()
    if len(fields) < 20:
        return None
    state, thread = fields[0].decode("ascii", "replace"), pid
    if state == "Z" and int(fields[17]) > 1:
        state, thread = _living_thread(pid)
    return Columns(
        ppid=int(fields[1]),
        session=int(fields[3]),
        terminal=int(fields[4]),
        state=state,
        start=int(fields[19]),
        kernel=bool(int(fields[6]) & _PF_KTHREAD),
        thread=thread,
    )


def columns_of_psutil(pid: int) -> Columns | None:
    """The same from psutil's public calls. Kernel threads show on Windows and macOS only."""
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            state, thread = _LETTERS.get(ask(process.status, ""), "S"), pid
            if state == "Z" and ask(process.num_threads, 1) > 1:
                state, thread = _living_thread(pid)
            return Columns(
                ppid=_ppid(process),
                session=_session(pid),
                terminal=_terminal(process),
                state=state,
                start=round(start_seconds(process) * PER_SECOND),
                kernel=pid == 0 or (sys.platform == "win32" and pid == 4),
                thread=thread,
            )
    except psutil.NoSuchProcess:
        return None


def _living_thread(pid: int) -> tuple[str, int]:
    """State and number of a thread that outlived the leader of its process, which then reads as a zombie."""
    with contextlib.suppress(psutil.NoSuchProcess):
        threads = ask(psutil.Process(pid).threads, None) or []
        for number in (thread.id for thread in threads):
            with contextlib.suppress(psutil.NoSuchProcess):
                state = _LETTERS.get(ask(psutil.Process(number).status, ""), "S")
                if state not in ("Z", "X"):
                    return state, number
    return "Z", pid


def start_seconds(process: psutil.Process) -> float:
    """The start time that psutil tells processes apart by: unlike create_time(), no clock moves it."""
    seconds = process._ident[1]  # type: ignore[attr-defined]  # noqa: SLF001 - not to be had otherwise
    return float(ask(process.create_time, 0.0) if seconds is None else seconds)


def _ppid(process: psutil.Process) -> int:
    """The parent's PID; 0 for one that is gone, for Windows lets a stranger have its number."""
    if sys.platform == "win32":
        parent = ask(process.parent, None)
        return parent.pid if parent else 0
    return ask(process.ppid, 0)


def _session(pid: int) -> int:
    """The session; 0 where there is no such thing, or where it is not told."""
    if sys.platform == "win32":
        return 0
    try:
        return os.getsid(pid)
    except OSError:
        return 0


def _terminal(process: psutil.Process) -> int:
    """1 for a process with a controlling terminal, else 0."""
    if sys.platform == "win32":
        return 0
    return 1 if ask(process.terminal, None) else 0


def forget_terminals() -> None:
    """Terminals opened since psutil listed them would be unknown to it for ever."""
    with contextlib.suppress(AttributeError):  # of an inner module, and not on Windows
        psutil._psposix.get_terminal_map.cache_clear()  # type: ignore[attr-defined]  # noqa: SLF001


def ask(question: Callable[..., Answer], otherwise: Answer, *arguments: object) -> Answer:
    """What psutil says about one process; `otherwise` where the system does not give it.

    Raises NoSuchProcess when the process is gone, OSError when we are out of descriptors.
    """
    try:
        return question(*arguments)
    except (psutil.AccessDenied, psutil.ZombieProcess):
        return otherwise
    except OSError as error:
        if error.errno in _NO_DESCRIPTOR:
            raise
        return otherwise
