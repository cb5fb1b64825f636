"""The tiny parent of one run: `python -I -S runner.py LABEL`, told on standard input what to execute.

It starts the service in a session of its own, outlives every descendant (it is made a subreaper before it is
executed, so double forks and cleared environments stay its own), writes down how the main process ended, and
leaves with the last of them. It holds nothing the service needs: killed, it harms nothing. Where the service's log
has a limit, it looks at its size now and then, and takes away what is too much.

Standard input: a marshalled dict with the keys
    program, argv, env, cwd   bytes, [bytes], {bytes: bytes}, bytes: what to execute, and where
    output, error, input      descriptors the service gets as its output, its error output and its input
    hold                      descriptors to keep open for as long as the runner lives
    cgroup                    bytes or None: the folder of a cgroup to move the service into, if it can be
    limits                    [(str, int)]: resource limits by name ("NOFILE"), soft and hard; above a hard limit
                              that may not be raised, that is what is set
    log                       None or (str, str, int, str): folder and name of the log to keep small, how small,
                              and the file that knows how (store/logs/rotation.py)
    exit                      bytes: the file for "PID STATUS EPOCH-SECONDS [OOM-KILLS]"; STATUS is negative for a
                              signal, OOM-KILLS what the kernel killed in the cgroup, where that is counted
Standard output: one line, "ok PID MOVED [NAME=VALUE ...]" (MOVED 1: it is in the cgroup; then the limits that were
set to less) or "no ERRNO WHAT".

Executed by path, without site packages: it imports nothing of devtasks and next to nothing else, because each
run has one of these for as long as it lives.
"""

import marshal
import os
import signal
import sys
import time

_QUIET_SECONDS = 1.0  # between two looks at a log that is far from its limit
_TROUBLED_SECONDS = 10.0
_CLONE3 = 435  # the system call's number, the same on all architectures since Linux 5.1 (but alpha)
_CLONE_INTO_CGROUP = 0x2_0000_0000

sys.dont_write_bytecode = True


def main() -> None:
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # ignored, as it may be inherited, nobody could be waited for
    task = _handed_over() if sys.argv[1].startswith("spare-") else marshal.loads(_everything_from(0))
    if task is None:
        return
    pid, line = _start(task)
    try:
        os.write(1, line)
    except OSError:
        pass  # the starter is dead: the next command finds this run by its marker
    look = _log_watch(task) if pid and task["log"] else None
    _let_go(task)
    if look:
        _begin_looking(look)
    if pid:
        _attend(pid, task["exit"], task["cgroup"])
    if task["cgroup"]:
        _try(os.rmdir, task["cgroup"])


def _handed_over() -> dict | None:
    """A spare's task, once there is one: a message with the descriptors, and with the run that it is from now on.

    None: its owner has ended. The descriptors come in the order output, error, input, hold.
    """
    import _socket  # not the module around it, which takes more time and memory than all else here

    try:
        import _ctypes  # noqa: F401 - `_fork_into` needs it in a moment
    except ImportError:
        pass
    source = _socket.socket(fileno=os.dup(0))
    message, passed, _, _ = source.recvmsg(1 << 18, _socket.CMSG_SPACE(16 * 4))
    source.close()
    if not message:
        return None
    task: dict
    task, label, marker = marshal.loads(message)
    received = [number for _, _, data in passed for number in memoryview(data).cast("i")]
    task["output"], task["error"], task["input"], *task["hold"] = received
    for descriptor in received:
        os.set_inheritable(descriptor, True)
    _be_known_as(label, marker)
    return task


def _be_known_as(label: bytes, marker: bytes) -> None:
    """Write the run's marker and label over the dashes: others read them where the kernel put them for us."""
    with open("/proc/self/stat", "rb") as file:
        fields = file.read().rpartition(b")")[2].split()
    memory = os.open("/proc/self/mem", os.O_RDWR | os.O_CLOEXEC)
    try:
        for first, last, old, new in (
            (45, 46, b"spare-", label),
            (47, 48, b"DEVTASKS_ID=-", b"DEVTASKS_ID=" + marker),
        ):
            place, end = int(fields[first]), int(fields[last])
            content = os.pread(memory, end - place, place)
            at = content.index(old)
            size = content.index(b"\0", at) - at
            os.pwrite(memory, new[:size].ljust(size, b"\0"), place + at)
    finally:
        os.close(memory)


def _start(task: dict) -> tuple[int, bytes]:
    """Fork and execute. Returns the PID, 0 when nothing was executed, and the line for the starter."""
    ours, theirs = os.pipe()  # closed by the exec, so its end says that the program runs
    pid = _fork_into(task["cgroup"])
    inside = pid is not None
    if pid is None:
        pid = os.fork()
    if pid == 0:
        what = "setsid"
        try:
            os.setsid()
            if inside or (task["cgroup"] and _try(_move_into, task["cgroup"])):
                os.write(theirs, b"moved\n")
            what = "limits"
            for name, value in task["limits"]:
                _limit(name, value, theirs)
            what = "cwd"
            os.chdir(task["cwd"])
            what = "program"
            for target, source in ((0, task["input"]), (1, task["output"]), (2, task["error"])):
                os.dup2(source, target)
            for number in range(1, signal.NSIG):
                _try(signal.signal, number, signal.SIG_DFL)  # an ignored signal would stay ignored across exec
            signal.pthread_sigmask(signal.SIG_SETMASK, ())
            for descriptor in {task["input"], task["output"], task["error"], *task["hold"]}:
                os.close(descriptor)
            os.execve(task["program"], task["argv"], task["env"])
        except OSError as error:
            os.write(theirs, f"failed {error.errno} {what}".encode())
        finally:
            os._exit(127)
    os.close(theirs)
    told = [line.partition(b" ") for line in _everything_from(ours).split(b"\n")]
    os.close(ours)
    for word, _, rest in told:
        if word == b"failed":
            os.waitpid(pid, 0)
            return 0, b"no " + rest + b"\n"
    lowered = [rest for word, _, rest in told if word == b"limit"]
    moved = any(word == b"moved" for word, _, _ in told)
    return pid, b" ".join([b"ok %d %d" % (pid, moved), *lowered]) + b"\n"


def _attend(main_pid: int, exit_file: bytes, cgroup: bytes | None) -> None:
    """Collect every descendant that ends; write down the end of the main one."""
    while True:
        try:
            pid, status = os.waitpid(-1, 0)
        except ChildProcessError:
            return
        if pid == main_pid:
            line = b"%d %d %.3f%b\n" % (pid, os.waitstatus_to_exitcode(status), time.time(), _oom_kills(cgroup))
            _try(_write_new, exit_file, line)


def _oom_kills(cgroup: bytes | None) -> bytes:
    """A space, and how many processes the kernel killed there for want of memory; nothing where it does not count.

    Read now, because the cgroup goes with its last process.
    """
    if not cgroup:
        return b""
    try:
        with open(cgroup + b"/memory.events", "rb", buffering=0) as file:
            kills = file.read(4096).partition(b"\noom_kill ")[2].split()
    except OSError:
        return b""
    return b" " + kills[0] if kills else b""


def _log_watch(task: dict) -> object:
    """What looks at the log and says when to look again; None where the log is not what the service writes."""
    folder, name, max_bytes, module = task["log"]
    try:
        there = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        log = os.open(name, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=there)
        if not os.path.samestat(os.fstat(log), os.fstat(task["output"])):
            return None
    except OSError:
        return None

    def look() -> float:
        if os.fstat(log).st_size <= max_bytes // 2:
            return _QUIET_SECONDS  # the module, and the memory it takes, may never be needed
        return float(_module(module).tend(there, name, log, max_bytes))  # type: ignore[attr-defined]

    return look


def _begin_looking(look: object) -> None:
    """From now on `look` is called now and then, in the middle of the waiting for children."""

    def alarm(_number: int, _frame: object) -> None:
        try:
            pause = look()  # type: ignore[operator]
        except Exception:  # a full disk, above all: what cannot be rotated now stays where it is
            pause = _TROUBLED_SECONDS
        signal.setitimer(signal.ITIMER_REAL, pause)

    signal.signal(signal.SIGALRM, alarm)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGALRM,))
    signal.setitimer(signal.ITIMER_REAL, _QUIET_SECONDS)


def _module(path: str) -> object:
    folder, _, file = path.rpartition("/")
    sys.path.insert(0, folder)
    try:
        return __import__(file.removesuffix(".py"))
    finally:
        sys.path.remove(folder)


def _let_go(task: dict) -> None:
    """Keep no descriptor of the service, and no terminal."""
    os.chdir("/")
    nowhere = os.open(os.devnull, os.O_RDWR)
    theirs = {task["input"], task["output"], task["error"]}
    for descriptor in {0, 1, 2} | theirs:
        os.dup2(nowhere, descriptor)
    for descriptor in {nowhere} | theirs:
        if descriptor > 2:
            _try(os.close, descriptor)


def _fork_into(cgroup: bytes | None) -> int | None:
    """Fork with the child in the cgroup from the start, as `os.fork` else; None where that is not to be had.

    Moving a process afterwards makes the kernel wait for every CPU, 5 to 20 ms on an idle machine. Without
    libc's and Python's own care for forks, which a process of one thread does not need.
    """
    if not cgroup:
        return None
    try:
        import _ctypes

        system_call = _ctypes.dlsym(_ctypes.dlopen(None, 0), "syscall")  # type: ignore[arg-type]
        folder = os.open(cgroup, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    except (ImportError, AttributeError, OSError):
        return None
    try:
        # struct clone_args; in the middle, what is not asked for: TIDs, a stack, thread-local storage
        fields = (_CLONE_INTO_CGROUP, 0, 0, 0, int(signal.SIGCHLD), 0, 0, 0, 0, 0, folder)
        asked = b"".join(field.to_bytes(8, sys.byteorder) for field in fields)
        pid: int = _ctypes.call_function(system_call, (_CLONE3, asked, len(asked)))
    finally:
        os.close(folder)
    return pid if pid >= 0 else None  # refused: an older kernel, a sandbox, a cgroup that may not be entered


def _move_into(cgroup: bytes) -> None:
    descriptor = os.open(cgroup + b"/cgroup.procs", os.O_WRONLY | os.O_CLOEXEC)
    try:
        os.write(descriptor, b"0")
    finally:
        os.close(descriptor)


def _limit(name: str, value: int, told: int) -> None:
    import resource

    number = getattr(resource, "RLIMIT_" + name)
    try:
        resource.setrlimit(number, (value, value))
    except (OSError, ValueError):  # ValueError stands for EPERM, too
        hard = resource.getrlimit(number)[1]
        resource.setrlimit(number, (hard, hard))
        os.write(told, b"limit %s=%d\n" % (name.encode(), hard))


def _write_new(path: bytes, data: bytes) -> None:
    """Write a file below two folders that may have become links to somebody else's: none is followed."""
    *folders, name = path.rsplit(b"/", 2)
    opened: list[int] = []
    try:
        for folder in folders:
            flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
            opened.append(os.open(folder, flags, dir_fd=opened[-1] if opened else None))
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        opened.append(os.open(name, flags, 0o600, dir_fd=opened[-1]))
        os.write(opened[-1], data)
    finally:
        for descriptor in opened:
            os.close(descriptor)


def _everything_from(descriptor: int) -> bytes:
    parts = []
    while chunk := os.read(descriptor, 1 << 16):
        parts.append(chunk)
    return b"".join(parts)


def _try(function: object, *arguments: object) -> bool:
    try:
        function(*arguments)  # type: ignore[operator]
    except OSError:
        return False
    return True


if __name__ == "__main__":
    main()
