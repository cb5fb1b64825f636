"""The tiny parent of one probe command: `python -I -S warden.py LABEL`, told on standard input what to execute.

Nothing that the command starts outlives it. It is a subreaper (Linux), so that whatever the command forks, how
often and with whatever environment, stays its descendant; when the command has ended or its time is over, it
kills its children, then those that it inherits from them, until it has none. A child that was not waited for keeps
its PID, so that none of these signals can reach anybody else.

Standard input: the length of what follows as four bytes (little end first), then a marshalled dict with the keys
    program, argv, env, cwd   bytes, [bytes], {bytes: bytes}, bytes: what to execute, and where
    seconds                   float: how long the command may take
It is kept open by whoever waits for the answer: its end is the end of the probe.
Standard output: when nothing is left, "exit CODE" (negative: a signal; 126: it cannot be executed) or "late".

Executed by path, without site packages, like a runner.
"""

import ctypes
import marshal
import os
import select
import signal
import sys
import time

_PR_SET_CHILD_SUBREAPER = 36


def main() -> None:
    woken, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake, warn_on_full_buffer=False)
    signal.signal(signal.SIGCHLD, lambda _number, _frame: None)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    task = marshal.loads(_exactly(int.from_bytes(_exactly(4), "little")))
    pid = os.fork()
    if pid == 0:
        _execute(task)
    code = _exit_code(pid, woken, task["seconds"])
    _end_all(pid)
    _try(os.write, 1, b"late" if code is None else b"exit %d" % code)
    os._exit(0)


def _execute(task: dict) -> None:
    try:
        os.setsid()
        os.chdir(task["cwd"])
        nowhere = os.open(os.devnull, os.O_RDWR)
        for descriptor in (0, 1, 2):
            os.dup2(nowhere, descriptor)
        for number in range(1, signal.NSIG):
            _try(signal.signal, number, signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, ())
        os.execve(task["program"], task["argv"], task["env"])
    finally:
        os._exit(126)


def _exit_code(pid: int, woken: int, seconds: float) -> int | None:
    """How the command ended, which is not reaped yet; None when its time is over, or nobody waits for it."""
    deadline = time.monotonic() + seconds
    poll = select.poll()
    poll.register(woken, select.POLLIN)
    poll.register(0, select.POLLIN)
    while True:
        ended = _ended(pid)
        if ended is not None:
            return ended
        left = deadline - time.monotonic()
        if left <= 0:
            return None
        for descriptor, _ in poll.poll(left * 1000 + 1):
            if descriptor == 0:
                return None
            os.read(woken, 4096)


def _ended(pid: int) -> int | None:
    if not hasattr(os, "waitid"):  # macOS: reaped now, and its group is left alone
        done, status = os.waitpid(pid, os.WNOHANG)
        return os.waitstatus_to_exitcode(status) if done else None
    seen = os.waitid(os.P_PID, pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
    if seen is None:
        return None
    return seen.si_status if seen.si_code == os.CLD_EXITED else -seen.si_status


def _end_all(command: int) -> None:
    if hasattr(os, "waitid"):
        _try(os.killpg, command, signal.SIGKILL)  # all of its group at once, however quickly it forks
    while True:
        for child in _children():
            _try(os.kill, child, signal.SIGKILL)
        try:
            os.waitpid(-1, 0)
            while os.waitpid(-1, os.WNOHANG)[0]:
                pass
        except ChildProcessError:
            return


def _children() -> list[int]:
    me = os.getpid()
    try:
        with open(f"/proc/self/task/{me}/children", "rb") as file:
            return [int(pid) for pid in file.read().split()]
    except OSError:  # a kernel without, or no /proc at all
        return [pid for pid in _everybody() if _parent(pid) == me]


def _everybody() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _parent(pid: int) -> int:
    try:
        with open(f"/proc/{pid}/stat", "rb") as file:
            return int(file.read().rpartition(b")")[2].split()[1])
    except OSError:
        return 0


def _exactly(count: int) -> bytes:
    data = b""
    while len(data) < count:
        piece = os.read(0, count - len(data))
        if not piece:
            sys.exit(1)
        data += piece
    return data


def _try(function: object, *arguments: object) -> None:
    try:
        function(*arguments)  # type: ignore[operator]
    except (OSError, ValueError):
        pass


if __name__ == "__main__":
    main()
