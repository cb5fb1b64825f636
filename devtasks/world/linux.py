"""Linux: /proc for what is there, pidfd for every signal and every wait.

A row of the process table costs three short reads, so the scan keeps to stat, cmdline and environ; folders,
users and namespaces are read of candidates. Reads go through one descriptor of /proc, which also says for which
PID namespace that /proc was mounted.
"""

from __future__ import annotations

import contextlib
import errno
import os
import select
import signal
import time
from collections.abc import Callable, Iterable, Sequence

from devtasks.model import Details, Identity, Process, Snapshot
from devtasks.values import replace
from devtasks.world import Handle, cgroup, sockets

_PF_KTHREAD = 0x00200000
_FIRST_PID_AFTER_WRAP = 300  # RESERVED_PIDS in the kernel's pid.c: lower ones are given out once per boot
_YOUNG_TICKS = 300  # a process this young may be between fork and exec, whatever its row said before
_REFRESH_SHARE = 32  # of the rows known before, one in so many is read again at each look
_EXEC_LOOKS = 20  # how often, and every how many seconds, a process in the middle of an exec is looked at again
_EXEC_PAUSE_SECONDS = 0.001
_HALF_LOOKS = 3
_SPARE_DESCRIPTORS = 12  # for reading /proc, for the state and for files, while processes are pinned
_STARTUP_BUFFER = 4096


class LinuxWorld:
    """The `World` protocol on /proc, pidfd, sock_diag and cgroup v2."""

    def __init__(self) -> None:
        self._proc = os.open("/proc", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        self.boot = (self._read("sys/kernel/random/boot_id") or b"").decode("ascii", "replace").strip()
        self.namespace = os.stat("/proc/self/ns/pid").st_ino
        self._pid_max = int(self._read("sys/kernel/pid_max") or b"32768")
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._page = os.sysconf("SC_PAGE_SIZE")
        # lxcfs puts a /proc/loadavg of its own over the kernel's: another device, another truth
        self._cursor_trusted = os.stat("/proc/loadavg").st_dev == os.stat("/proc/self").st_dev

    # --- the process table ---------------------------------------------------------------------------

    def look(self, previous: Snapshot | None = None) -> Snapshot:
        cursor = self._cursor()
        pids = [int(name) for name in os.listdir("/proc") if name.isdigit()]
        known: dict[int, Process] = {}
        generation = 0
        if previous is not None and previous.cursor is not None and cursor is not None:
            generation = previous.generation + 1
            known = self._still_true(previous, self._given_out(previous.cursor, cursor), generation)
        rows: dict[int, Process] = {}
        blurred: list[int] = []
        for pid in pids:
            row = known.get(pid) or self._row(pid)
            if row is not None:
                rows[pid] = row
                if row.blurred:
                    blurred.append(pid)
        self._look_again(blurred, rows)
        return Snapshot(
            boot=self.boot, namespace=self.namespace, processes=rows, cursor=cursor, generation=generation
        )

    def reread(self, pids: Iterable[int]) -> dict[int, Process]:
        rows: dict[int, Process] = {}
        blurred: list[int] = []
        for pid in pids:
            row = self._row(pid)
            if row is not None:
                rows[pid] = row
                if row.blurred:
                    blurred.append(pid)
        self._look_again(blurred, rows)
        return rows

    def newer(self, snapshot: Snapshot) -> tuple[Snapshot, tuple[int, ...]]:
        cursor = self._cursor()
        if cursor is None or snapshot.cursor is None:
            fresh = self.look()
            return fresh, _unknown_to(snapshot, fresh)
        if cursor == snapshot.cursor and not snapshot.unseen:
            return snapshot, ()
        given = self._given_out(snapshot.cursor, cursor)
        if len(given) > len(snapshot.processes):
            listed = {int(name) for name in os.listdir("/proc") if name.isdigit()}
            given = [pid for pid in given if pid in listed]
        arrived = self.reread(pid for pid in (*snapshot.unseen, *given) if self._is_process(pid))
        fresh = replace(
            snapshot,
            processes={**snapshot.processes, **arrived},
            cursor=cursor,
            unseen=tuple(pid for pid in given if pid not in arrived),
        )
        return fresh, tuple(arrived)

    def ancestry(self) -> frozenset[int]:
        chain: set[int] = set()
        pid = os.getpid()
        while pid > 0 and pid not in chain:
            chain.add(pid)
            row = self._row(pid)
            if row is None:
                break
            pid = row.ppid
        return frozenset(chain)

    def _row(self, pid: int) -> Process | None:
        stat = self._read(f"{pid}/stat", 512)
        if not stat:
            return None
        fields = stat[stat.rfind(b")") + 2 :].split(None, 20)
        if len(fields) < 20:
            return None
        state = fields[0].decode("ascii", "replace")
        kernel = bool(int(fields[6]) & _PF_KTHREAD)
        cmdline = environ = b""
        if not kernel:
            place = str(pid)
            if state == "Z" and int(fields[17]) > 1:
                # the leader ended its own thread (pthread_exit); the process lives in the others
                state, place = self._living_thread(pid)
            if state not in ("Z", "X"):
                cmdline, environ = self._words(place)
        marker, keep, runner = _marks(environ) if b"DEVTASKS_" in environ else (None, False, False)
        return Process(
            pid=pid,
            ppid=int(fields[1]),
            session=int(fields[3]),
            terminal=int(fields[4]),
            state=state,
            start=int(fields[19]),
            cmdline=cmdline,
            marker=marker,
            keep=keep,
            runner=runner,
            kernel=kernel,
            blurred=not (cmdline or environ or kernel or state in ("Z", "X")),
        )

    def _words(self, place: str) -> tuple[bytes, bytes]:
        """Command line and environment. One without the other may be the two sides of an exec: read again."""
        cmdline = environ = b""
        for _ in range(_HALF_LOOKS):
            cmdline = self._read(f"{place}/cmdline") or b""
            read = self._read(f"{place}/environ")
            environ = read or b""
            if read is None or bool(cmdline) == bool(environ):
                break
        return cmdline, environ

    def _living_thread(self, pid: int) -> tuple[str, str]:
        with contextlib.suppress(OSError):
            for tid in os.listdir(f"/proc/{pid}/task"):
                stat = self._read(f"{pid}/task/{tid}/stat", 512) or b""
                state = stat[stat.rfind(b")") + 2 :][:1].decode("ascii", "replace")
                if state and state not in ("Z", "X"):
                    return state, f"{pid}/task/{tid}"
        return "Z", str(pid)

    def _look_again(self, blurred: Sequence[int], rows: dict[int, Process]) -> None:
        """Read processes in the middle of an exec until they are through it, or are what they seem."""
        for _ in range(_EXEC_LOOKS):
            if not blurred:
                return
            time.sleep(_EXEC_PAUSE_SECONDS)
            for pid in blurred:
                row = self._row(pid)
                if row is None:
                    del rows[pid]
                else:
                    rows[pid] = row
            blurred = [pid for pid in blurred if pid in rows and rows[pid].blurred]

    def _still_true(self, previous: Snapshot, given: list[int], generation: int) -> dict[int, Process]:
        """The rows of `previous` that need no second reading.

        Left out are PIDs given out since, the young, the marked (their state matters), and one in
        `_REFRESH_SHARE` of the rest, so that a late exec is noticed within that many looks.
        """
        again = set(given)
        young = int(time.clock_gettime(time.CLOCK_BOOTTIME) * self._ticks) - _YOUNG_TICKS
        turn = generation % _REFRESH_SHARE
        return {
            pid: row
            for pid, row in previous.processes.items()
            if pid % _REFRESH_SHARE != turn and row.start < young and row.marker is None and pid not in again
        }

    def _cursor(self) -> int | None:
        """The last PID given out in this PID namespace: field 5 of loadavg, read through our own /proc."""
        if not self._cursor_trusted:
            return None
        try:
            return int((self._read("loadavg", 128) or b"").split()[4])
        except (IndexError, ValueError):
            return None

    def _given_out(self, old: int, new: int) -> list[int]:
        if new >= old:
            return list(range(old + 1, new + 1))
        return [*range(old + 1, self._pid_max + 1), *range(_FIRST_PID_AFTER_WRAP, new + 1)]

    def _is_process(self, pid: int) -> bool:
        """Whether `pid` is a process: /proc answers for thread numbers too, though it does not list them."""
        try:
            os.close(_pidfd_open(pid))
        except OSError as error:
            return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EPERM)
        return True

    def _read(self, name: str, size: int = _STARTUP_BUFFER) -> bytes | None:
        """A file below /proc, whole. None: gone, or not for us."""
        try:
            descriptor = os.open(name, os.O_RDONLY | os.O_CLOEXEC, dir_fd=self._proc)
        except OSError as error:
            if error.errno in (errno.EMFILE, errno.ENFILE):
                raise
            return None
        try:
            data = os.read(descriptor, size)
            if len(data) == size:
                parts = [data]
                while chunk := os.read(descriptor, 1 << 17):
                    parts.append(chunk)
                data = b"".join(parts)
        except OSError:
            return None
        else:
            return data
        finally:
            os.close(descriptor)

    # --- what is read of candidates only ---------------------------------------------------------------

    def details(self, pids: Iterable[int]) -> dict[int, Details]:
        found = {}
        for pid in pids:
            status = self._read(f"{pid}/status")
            if status is not None:
                found[pid] = Details(
                    cwd=self._link(f"{pid}/cwd"),
                    exe=self._link(f"{pid}/exe"),
                    uid=_real_uid(status),
                    namespaces=self._namespaces(pid),
                )
        return found

    def my_details(self) -> Details:
        return self.details([os.getpid()])[os.getpid()]

    def _link(self, name: str) -> str | None:
        try:
            return os.readlink(name, dir_fd=self._proc)
        except OSError:
            return None

    def _namespaces(self, pid: int) -> tuple[int, int, int] | None:
        links = [self._link(f"{pid}/ns/{kind}") for kind in ("pid", "mnt", "net")]
        try:
            first, second, third = (int(link.split("[")[1].rstrip("]")) for link in links if link)
        except (ValueError, IndexError):
            return None
        return first, second, third

    def started_at(self, process: Process) -> float:
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        return booted + process.start / self._ticks

    def usage(self, pids: Iterable[int]) -> dict[int, tuple[float, int]]:
        found = {}
        for pid in pids:
            stat = self._read(f"{pid}/stat", 512) or b""
            fields = stat[stat.rfind(b")") + 2 :].split()
            if len(fields) > 21:
                seconds = (int(fields[11]) + int(fields[12])) / self._ticks
                found[pid] = (seconds, int(fields[21]) * self._page)
        return found

    # --- sockets ---------------------------------------------------------------------------------------

    def listening(self, ports: Iterable[int]) -> frozenset[int]:
        return frozenset(sockets.listeners(ports))

    def holders(self, ports: Iterable[int], likely: Sequence[int] = ()) -> dict[int, tuple[int, ...]]:
        wanted = {inode: port for port, found in sockets.listeners(ports).items() for inode in found}
        held: dict[int, list[int]] = {port: [] for port in wanted.values()}
        explained: set[int] = set()
        asked = set(likely)
        for pid in likely:
            inodes = self._sockets(pid) & wanted.keys()
            explained |= inodes
            for port in {wanted[inode] for inode in inodes}:
                held[port].append(pid)
        if explained != set(wanted) or not asked:
            for name in os.listdir("/proc") if wanted else ():
                if name.isdigit() and int(name) not in asked:
                    for port in {wanted[inode] for inode in self._sockets(int(name)) & wanted.keys()}:
                        held[port].append(int(name))
        return {port: tuple(pids) for port, pids in held.items()}

    def ports_of(self, pids: Iterable[int]) -> dict[int, tuple[int, ...]]:
        ports = sockets.ports_by_inode()
        found = {pid: sorted({ports[inode] for inode in self._sockets(pid) & ports.keys()}) for pid in pids}
        return {pid: tuple(some) for pid, some in found.items() if some}

    def _sockets(self, pid: int) -> set[int]:
        """The inodes of the sockets a process has open; none where we may not see."""
        found: set[int] = set()
        folder = f"/proc/{pid}/fd/"
        with contextlib.suppress(OSError):
            for name in os.listdir(folder):
                with contextlib.suppress(OSError):
                    link = os.readlink(folder + name)
                    if link.startswith("socket:["):
                        found.add(int(link[8:-1]))
        return found

    # --- acting ----------------------------------------------------------------------------------------

    def identity(self, process: Process) -> Identity:
        return Identity(self.boot, self.namespace, process.pid, process.start)

    def pin(self, process: Process) -> Handle | None:
        try:
            descriptor = _pidfd_open(process.pid)
        except ProcessLookupError:
            return None
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):  # a thread's number by now
                return None
            raise
        handle = PidHandle(process.pid, process.start, descriptor)
        stat = self._read(f"{process.pid}/stat", 512) or b""
        fields = stat[stat.rfind(b")") + 2 :].split(None, 20)
        if len(fields) < 20 or int(fields[19]) != process.start:
            handle.close()
            return None
        return handle

    def pin_room(self) -> int:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return limit - len(os.listdir("/proc/self/fd")) - _SPARE_DESCRIPTORS

    def wait(self, handles: Sequence[Handle], timeout_seconds: float) -> list[Handle]:
        poll = select.poll()
        by_descriptor = {handle.descriptor: handle for handle in handles if isinstance(handle, PidHandle)}
        for descriptor in by_descriptor:
            poll.register(descriptor, select.POLLIN)
        ready = poll.poll(max(0, int(timeout_seconds * 1000 + 0.999)))
        return [by_descriptor[descriptor] for descriptor, _ in ready]

    # --- cgroups ---------------------------------------------------------------------------------------

    def make_cgroup(self, name: str) -> str | None:
        return cgroup.make(name)

    def remove_cgroup(self, path: str) -> None:
        cgroup.remove(path)

    def cgroup_members(self, path: str) -> tuple[int, ...] | None:
        return cgroup.members(path)

    def freeze(self, path: str, frozen: bool) -> bool:
        return cgroup.freeze(path, frozen)

    # --- time ------------------------------------------------------------------------------------------

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class PidHandle:
    """A pidfd: it names one process for as long as it is open, reused PIDs or not."""

    __slots__ = ("descriptor", "pid", "start")

    def __init__(self, pid: int, start: int, descriptor: int) -> None:
        self.pid = pid
        self.start = start
        self.descriptor = descriptor

    def send(self, name: str) -> bool:
        try:
            _pidfd_send_signal(self.descriptor, signal.Signals[f"SIG{name}"])
        except ProcessLookupError:
            return False
        return True

    def close(self) -> None:
        if self.descriptor >= 0:
            os.close(self.descriptor)
            self.descriptor = -1


def _marks(environ: bytes) -> tuple[str | None, bool, bool]:
    marker: str | None = None
    keep = runner = False
    for entry in environ.split(b"\0"):
        if not entry.startswith(b"DEVTASKS_"):
            continue
        if entry.startswith(b"DEVTASKS_ID=") and marker is None:
            marker = entry[12:].decode("ascii", "replace")
        elif entry == b"DEVTASKS_KEEP=1":
            keep = True
        elif entry.startswith(b"DEVTASKS_RUNNER="):
            runner = True
    return marker, keep, runner


def _unknown_to(old: Snapshot, new: Snapshot) -> tuple[int, ...]:
    def known(row: Process) -> bool:
        before = old.processes.get(row.pid)
        return before is not None and before.start == row.start

    return tuple(sorted(row.pid for row in new.processes.values() if not known(row)))


def _real_uid(status: bytes) -> int | None:
    at = status.find(b"\nUid:")
    return int(status[at + 5 :].split(None, 1)[0]) if at >= 0 else None


def _system_call(number: int, *arguments: int) -> int:
    """A system call that this build of Python has no function for (facts: some lack pidfd_open)."""
    import ctypes

    libc = ctypes.CDLL(None, use_errno=True)
    result = int(libc.syscall(number, *arguments))
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, os.strerror(code))
    return result


def _pidfd_open(pid: int) -> int:
    if hasattr(os, "pidfd_open"):
        return os.pidfd_open(pid)
    return _system_call(434, pid, 0)


def _pidfd_send_signal(descriptor: int, number: int) -> None:
    if hasattr(signal, "pidfd_send_signal"):
        signal.pidfd_send_signal(descriptor, number)
    else:
        _system_call(424, descriptor, number, 0, 0)


def subreaper() -> Callable[[], None]:
    """What a forked child calls so that, from then on, orphans among its descendants become its own children.

    Prepared before the fork; the attribute survives exec, so that a runner need not pay for ctypes.
    """
    import ctypes

    prctl = ctypes.CDLL(None).prctl

    def become() -> None:
        prctl(36, 1, 0, 0, 0)  # PR_SET_CHILD_SUBREAPER

    return become
