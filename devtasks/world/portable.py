"""Everywhere else: psutil for the process table, a checked identity before each signal, short naps for waiting.

Correct without /proc. Where /proc is there, the columns of a row come from /proc/PID/stat, in the kernel's own
ticks, so that what one world recorded is understood by the other. What this world cannot do is in
docs/platforms.md: above all, between the check of an identity and the signal a PID may still be reused.
"""
# ruff: noqa: ARG002 - the protocol's parameters, some without use here

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import sys
import time
import zlib
from collections.abc import Callable, Iterable, Sequence
from typing import NamedTuple, TypeVar

import psutil

from devtasks.model import Details, Process, Snapshot
from devtasks.world import Handle

Answer = TypeVar("Answer")

_PF_KTHREAD = 0x00200000
_PER_SECOND = 1_000_000  # units of a start time where the kernel's ticks are not to be had
_NAP_SECONDS = 0.01
_EXEC_LOOKS = 20  # how often a process in the middle of an exec is looked at again
_EXEC_PAUSE_SECONDS = 0.001
_LETTERS = {
    psutil.STATUS_RUNNING: "R",
    psutil.STATUS_DISK_SLEEP: "D",
    psutil.STATUS_STOPPED: "T",
    psutil.STATUS_TRACING_STOP: "t",
    psutil.STATUS_ZOMBIE: "Z",
    psutil.STATUS_DEAD: "X",
    psutil.STATUS_IDLE: "I",
}
_NO_DESCRIPTOR = (errno.EMFILE, errno.ENFILE)


class _Columns(NamedTuple):
    """What a row says besides command line and environment. `thread` shows those two: the PID, if it can."""

    ppid: int
    session: int
    terminal: int
    state: str
    start: int
    kernel: bool
    thread: int


class PortableWorld:
    """The `World` protocol on psutil. With `stat` false nothing is read from /proc/PID/stat."""

    def __init__(self, *, stat: bool | None = None) -> None:
        self._stat = os.path.exists("/proc/self/stat") if stat is None else stat
        self._per_second = os.sysconf("SC_CLK_TCK") if self._stat else _PER_SECOND
        self._columns: Callable[[int], _Columns | None] = _columns_of_stat if self._stat else _columns_of_psutil
        self.boot = _boot()
        self.namespace = _inode("/proc/self/ns/pid") or 0

    # --- the process table ---------------------------------------------------------------------------

    def look(self, previous: Snapshot | None = None) -> Snapshot:
        _forget_terminals()
        return Snapshot(
            boot=self.boot,
            namespace=self.namespace,
            processes=self.reread(psutil.pids()),
            cursor=None,
            generation=previous.generation + 1 if previous else 0,
        )

    def reread(self, pids: Iterable[int]) -> dict[int, Process]:
        rows: dict[int, Process] = {}
        unclear: list[int] = []
        for pid in pids:
            self._read_into(rows, unclear, pid)
        for _ in range(_EXEC_LOOKS):
            if not unclear:
                break
            time.sleep(_EXEC_PAUSE_SECONDS)
            again, unclear = unclear, []
            for pid in again:
                del rows[pid]
                self._read_into(rows, unclear, pid)
        return rows

    def newer(self, snapshot: Snapshot) -> tuple[Snapshot, tuple[int, ...]]:
        fresh = []
        for pid in psutil.pids():
            known = snapshot.processes.get(pid)
            columns = self._columns(pid) if known else None
            if known is None or columns is None or columns.start != known.start:
                fresh.append(pid)
        arrived = self.reread(fresh)
        grown = Snapshot(
            boot=self.boot,
            namespace=self.namespace,
            processes={**snapshot.processes, **arrived},
            cursor=None,
            generation=snapshot.generation,
        )
        return grown, tuple(sorted(arrived))

    def ancestry(self) -> frozenset[int]:
        chain: set[int] = {os.getpid()}
        pid = os.getppid()
        while pid > 0 and pid not in chain:
            chain.add(pid)
            columns = self._columns(pid)
            pid = columns.ppid if columns else 0
        return frozenset(chain)

    def _read_into(self, rows: dict[int, Process], unclear: list[int], pid: int) -> None:
        """Put the present row of `pid` into `rows`, and `pid` into `unclear` if it may be executing."""
        columns = self._columns(pid)
        if columns is None:
            return
        cmdline: list[str] = []
        environ: dict[str, str] | None = {}  # None: not for us
        running = not columns.kernel and columns.state not in ("Z", "X")
        if running:
            try:
                process = psutil.Process(columns.thread)
                cmdline = _ask(process.cmdline, [])
                environ = _ask(process.environ, None)
            except psutil.NoSuchProcess:
                environ = {}  # ended or began anew in between; the columns say which
            after = self._columns(pid)
            if after is None:
                return
            if after.start != columns.start:
                columns, cmdline, environ = after, [], {}
        # elsewhere an empty environment is an everyday answer (macOS shows none of a protected program)
        empty = running and environ == {} and (self._stat or not cmdline)
        rows[pid] = Process(
            pid=pid,
            ppid=columns.ppid,
            session=columns.session,
            terminal=columns.terminal,
            state=columns.state,
            start=columns.start,
            cmdline=b"".join(os.fsencode(word) + b"\0" for word in cmdline),
            marker=(environ or {}).get("DEVTASKS_ID"),
            keep=(environ or {}).get("DEVTASKS_KEEP") == "1",
            runner="DEVTASKS_RUNNER" in (environ or {}),
            kernel=columns.kernel,
            blurred=empty and not cmdline,
        )
        if empty:
            unclear.append(pid)

    # --- what is read of candidates only ---------------------------------------------------------------

    def details(self, pids: Iterable[int]) -> dict[int, Details]:
        found = {}
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                cwd = _ask(process.cwd, "") or None
                # psutil guesses the executable from argv[0] where it may not read it: such a process hides
                # its folder too
                exe = _ask(process.exe, "") or None if cwd else None
                found[pid] = Details(cwd=cwd, exe=exe, uid=_uid(process), namespaces=_namespaces(pid))
        return found

    def my_details(self) -> Details:
        return self.details([os.getpid()])[os.getpid()]

    def started_at(self, process: Process) -> float:
        if sys.platform == "linux" and self._stat:
            origin = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        else:
            # zero where starts are counted from the epoch, save for what the clock was moved since
            myself = psutil.Process()
            origin = myself.create_time() - _start_seconds(myself)
        return origin + process.start / self._per_second

    def usage(self, pids: Iterable[int]) -> dict[int, tuple[float, int]]:
        found = {}
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                with process.oneshot():
                    times = process.cpu_times()
                    found[pid] = (times.user + times.system, process.memory_info().rss)
        return found

    # --- sockets ---------------------------------------------------------------------------------------

    def listening(self, ports: Iterable[int]) -> frozenset[int]:
        wanted = frozenset(ports)
        if not wanted:
            return wanted
        try:
            return frozenset(_listeners(psutil.net_connections("tcp"))) & wanted
        except (psutil.AccessDenied, PermissionError):  # macOS tells nobody but root
            return frozenset(port for port in wanted if taken(port))

    def holders(self, ports: Iterable[int], likely: Sequence[int] = ()) -> dict[int, tuple[int, ...]]:
        held: dict[int, list[int]] = {port: [] for port in sorted(self.listening(ports))}
        if held:
            # psutil names one process per socket when asked for all sockets: so each process is asked
            for pid in dict.fromkeys([*likely, *psutil.pids()]):
                with contextlib.suppress(psutil.NoSuchProcess):
                    for port in _listeners(_ask(psutil.Process(pid).net_connections, [], "tcp")):
                        if port in held and pid not in held[port]:
                            held[port].append(pid)
        return {port: tuple(pids) for port, pids in held.items()}

    # --- acting ----------------------------------------------------------------------------------------

    def pin(self, process: Process) -> Handle | None:
        try:
            handle = CheckedHandle(psutil.Process(process.pid), process.start, self.lives)
        except psutil.NoSuchProcess:
            return None
        return handle if handle.lives() else None

    def wait(self, handles: Sequence[Handle], timeout_seconds: float) -> list[Handle]:
        # not psutil.wait_procs: it reaps our children behind their parents' backs, and waits for zombies
        deadline = time.monotonic() + timeout_seconds
        while True:
            began = time.monotonic()
            gone = [handle for handle in handles if not self.lives(handle.pid, handle.start)]
            now = time.monotonic()
            if gone or now >= deadline:
                return gone
            time.sleep(min(max(_NAP_SECONDS, now - began), deadline - now))

    def lives(self, pid: int, start: int) -> bool:
        """Whether the process that started then still runs: a zombie does not."""
        columns = self._columns(pid)
        return columns is not None and columns.start == start and columns.state not in ("Z", "X")

    # --- cgroups: there are none, or not for us ----------------------------------------------------------

    def make_cgroup(self, name: str) -> str | None:
        return None

    def remove_cgroup(self, path: str) -> None:
        return None

    def cgroup_members(self, path: str) -> tuple[int, ...] | None:
        return None

    def freeze(self, path: str, frozen: bool) -> bool:
        return False

    # --- time ------------------------------------------------------------------------------------------

    def monotonic(self) -> float:
        return time.monotonic()

    def now(self) -> float:
        return time.time()

    def sleep(self, seconds: float) -> None:
        time.sleep(seconds)


class CheckedHandle:
    """A PID whose start time is compared before each signal: the best to be had without a pidfd."""

    __slots__ = ("_lives", "_process", "pid", "start")

    def __init__(self, process: psutil.Process, start: int, lives: Callable[[int, int], bool]) -> None:
        self._process = process
        self._lives = lives
        self.pid = process.pid
        self.start = start

    def lives(self) -> bool:
        return self._lives(self.pid, self.start)

    def send(self, name: str) -> bool:
        if not self.lives():
            return False
        try:
            if sys.platform == "win32":
                self._send_on_windows(name)
            else:
                self._process.send_signal(signal.Signals[f"SIG{name}"])
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            raise PermissionError(errno.EPERM, f"process {self.pid} may not be signalled") from None
        return True

    def _send_on_windows(self, name: str) -> None:
        """Windows has no signals: whatever is not CONT or KILL asks to end, CONT has nothing to continue.

        Ctrl-Break reaches a whole console group, and with a PID that leads none the whole console, us included.
        Only a run's main process surely leads one: its parent is a runner.
        """
        if name == "CONT":
            return
        if name != "KILL" and _child_of_runner(self._process):
            with contextlib.suppress(OSError):  # no console in common
                self._process.send_signal(signal.CTRL_BREAK_EVENT)  # type: ignore[attr-defined,unused-ignore]
                return
        self._process.kill()

    def close(self) -> None:
        """Nothing is held."""


def taken(port: int) -> bool:
    """Whether somebody listens on the TCP port, found out by binding it: for where nobody tells.

    Each local address is tried: with SO_REUSEADDR connections of the past are no obstacle, but then a listener on
    one address does not hinder binding another. Where we may not bind, a connection is tried.
    """
    addresses = {"0.0.0.0", "::"}  # noqa: S104 - bound for a moment, never listened on
    for entries in psutil.net_if_addrs().values():
        addresses.update(entry.address for entry in entries if entry.family in (socket.AF_INET, socket.AF_INET6))
    return any(_taken_at(address, port) for address in addresses)


def _taken_at(address: str, port: int) -> bool:
    try:
        family, kind, protocol, _, place = socket.getaddrinfo(
            address, port, type=socket.SOCK_STREAM, flags=socket.AI_NUMERICHOST
        )[0]
        with socket.socket(family, kind, protocol) as probe:
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            probe.bind(place)
    except PermissionError:
        with socket.socket(family, kind, protocol) as probe:
            probe.settimeout(0.2)
            return probe.connect_ex(place) == 0
    except OSError as error:
        return error.errno == errno.EADDRINUSE
    return False


def _listeners(connections: Iterable[object]) -> list[int]:
    """The local ports of those psutil connections that listen."""
    return [
        item.laddr.port  # type: ignore[attr-defined]
        for item in connections
        if item.status == psutil.CONN_LISTEN and item.laddr  # type: ignore[attr-defined]
    ]


def _ask(question: Callable[..., Answer], otherwise: Answer, *arguments: object) -> Answer:
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


def _columns_of_stat(pid: int) -> _Columns | None:
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
    return _Columns(
        ppid=int(fields[1]),
        session=int(fields[3]),
        terminal=int(fields[4]),
        state=state,
        start=int(fields[19]),
        kernel=bool(int(fields[6]) & _PF_KTHREAD),
        thread=thread,
    )


def _columns_of_psutil(pid: int) -> _Columns | None:
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            state, thread = _LETTERS.get(_ask(process.status, ""), "S"), pid
            if state == "Z" and _ask(process.num_threads, 1) > 1:
                state, thread = _living_thread(pid)
            return _Columns(
                ppid=_ppid(process),
                session=_session(pid),
                terminal=_terminal(process),
                state=state,
                start=round(_start_seconds(process) * _PER_SECOND),
                kernel=pid == 0 or (sys.platform == "win32" and pid == 4),
                thread=thread,
            )
    except psutil.NoSuchProcess:
        return None


def _living_thread(pid: int) -> tuple[str, int]:
    """State and number of a thread that outlived the leader of its process, which then reads as a zombie."""
    with contextlib.suppress(psutil.Error, OSError):
        for thread in psutil.Process(pid).threads():
            with contextlib.suppress(psutil.Error, OSError):
                state = _LETTERS.get(psutil.Process(thread.id).status(), "S")
                if state not in ("Z", "X"):
                    return state, thread.id
    return "Z", pid


def _start_seconds(process: psutil.Process) -> float:
    """The start time that psutil tells processes apart by: unlike create_time(), no clock moves it."""
    seconds = process._ident[1]  # type: ignore[attr-defined]  # noqa: SLF001 - not to be had otherwise
    return float(_ask(process.create_time, 0.0) if seconds is None else seconds)


def _ppid(process: psutil.Process) -> int:
    """The parent's PID; 0 for one that is gone, for Windows lets a stranger have its number."""
    if sys.platform == "win32":
        parent = _ask(process.parent, None)
        return parent.pid if parent else 0
    return _ask(process.ppid, 0)


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
    return 1 if _ask(process.terminal, None) else 0


def _forget_terminals() -> None:
    """Terminals opened since psutil listed them would be unknown to it for ever."""
    with contextlib.suppress(AttributeError):  # of an inner module, and not on Windows
        psutil._psposix.get_terminal_map.cache_clear()  # type: ignore[attr-defined]  # noqa: SLF001


def _uid(process: psutil.Process) -> int | None:
    """The real user; on Windows a number made from the account's name, never root's 0."""
    if sys.platform == "win32":
        name = _ask(process.username, None)
        return None if name is None else zlib.crc32(name.casefold().encode("utf-8", "replace")) + 1
    uids = _ask(process.uids, None)
    return None if uids is None else uids.real


def _namespaces(pid: int) -> tuple[int, int, int] | None:
    """Of processes, mounts and network. All zero where the system has none: everybody shares one."""
    if sys.platform != "linux":
        return 0, 0, 0
    pid_space, mounts, network = (_inode(f"/proc/{pid}/ns/{kind}") for kind in ("pid", "mnt", "net"))
    if pid_space is None or mounts is None or network is None:
        return None
    return pid_space, mounts, network


def _inode(path: str) -> int | None:
    try:
        return os.stat(path).st_ino
    except OSError:
        return None


def _boot() -> str:
    """The boot id; a constant where starts are counted from the epoch, for no two boots share such a start.

    Not psutil.boot_time(): it moves with the clock on macOS and is off by one at times on Windows.
    """
    try:
        with open("/proc/sys/kernel/random/boot_id", encoding="ascii") as file:
            return file.read().strip()
    except (OSError, ValueError):
        return "epoch"


def _child_of_runner(process: psutil.Process) -> bool:
    parent = _ask(process.parent, None)
    return parent is not None and "DEVTASKS_RUNNER" in (_ask(parent.environ, None) or ())


__all__ = ["PortableWorld", "taken"]
