"""Everywhere else: psutil for the process table, a checked identity before each signal, short naps for waiting.

Correct without /proc. Where /proc is there, the columns of a row come from /proc/PID/stat, in the kernel's own
ticks, so that what one world recorded is understood by the other. What this world cannot do is in
docs/platforms.md: above all, between the check of an identity and the signal a PID may still be reused.
"""
# ruff: noqa: ARG002 - the protocol's parameters, some without use here

from __future__ import annotations

import contextlib
import os
import sys
import time
import zlib
from collections.abc import Callable, Collection, Iterable, Sequence

import psutil

from devtasks.model import Details, Endpoint, Identity, Process, Snapshot
from devtasks.world import Handle, Kind, connections
from devtasks.world.binding import taken
from devtasks.world.checked import CheckedHandle
from devtasks.world.columns import (
    PER_SECOND,
    Columns,
    ask,
    columns_of_psutil,
    columns_of_stat,
    forget_terminals,
    start_seconds,
)

_NAP_SECONDS = 0.01
_EXEC_LOOKS = 20  # how often a process in the middle of an exec is looked at again
_EXEC_PAUSE_SECONDS = 0.001


class PortableWorld:
    """The `World` protocol on psutil. With `stat` false nothing is read from /proc/PID/stat."""

    def __init__(self, *, stat: bool | None = None) -> None:
        there = sys.platform == "linux" and os.path.exists("/proc/self/stat")
        self._stat = there if stat is None else stat
        self._per_second = PER_SECOND
        if sys.platform != "win32" and self._stat:
            self._per_second = os.sysconf("SC_CLK_TCK")
        self._columns: Callable[[int], Columns | None] = columns_of_stat if self._stat else columns_of_psutil
        self.boot = _boot()
        self.namespace = _inode("/proc/self/ns/pid") or 0

    # --- the process table ---------------------------------------------------------------------------

    def look(self, previous: Snapshot | None = None) -> Snapshot:
        forget_terminals()
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
                cmdline = ask(process.cmdline, [])
                environ = ask(process.environ, None)
            except psutil.NoSuchProcess:
                environ = {}  # ended or began anew in between; the columns say which
            after = self._columns(pid)
            if after is None:
                return
            if after.start != columns.start:
                columns, cmdline, environ = after, [], {}
        nothing = running and environ == {} and not cmdline
        # elsewhere an empty environment is an everyday answer (macOS shows none of a protected program)
        half = running and self._stat and (environ == {} or not cmdline)
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
            blurred=nothing,
        )
        if nothing or half:
            unclear.append(pid)

    # --- what is read of candidates only ---------------------------------------------------------------

    def details(self, pids: Iterable[int]) -> dict[int, Details]:
        found = {}
        for pid in pids:
            with contextlib.suppress(psutil.NoSuchProcess):
                process = psutil.Process(pid)
                cwd = ask(process.cwd, "") or None
                # psutil guesses the executable from argv[0] where it may not read it: such a process hides
                # its folder too
                exe = ask(process.exe, "") or None if cwd else None
                found[pid] = Details(cwd=cwd, exe=exe, uid=_uid(process), namespaces=_namespaces(pid))
        return found

    def my_details(self) -> Details:
        return self.details([os.getpid()])[os.getpid()]

    def started_at(self, process: Process) -> float:
        return self._origin() + process.start / self._per_second

    def born_before(self, seconds: float) -> int:
        return int((time.time() - self._origin() - seconds) * self._per_second)

    def _origin(self) -> float:
        """What starts are counted from, in seconds since the epoch."""
        if sys.platform == "linux" and self._stat:
            return time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        # zero where starts are counted from the epoch, save for what the clock was moved since
        myself = psutil.Process()
        return myself.create_time() - start_seconds(myself)

    def usage(self, pids: Iterable[int]) -> dict[int, tuple[float, int]]:
        found = {}
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                process = psutil.Process(pid)
                with process.oneshot():
                    times = process.cpu_times()
                    found[pid] = (times.user + times.system, process.memory_info().rss)
        return found

    def reaped_seconds(self, pids: Iterable[int]) -> dict[int, float]:
        found = {}
        for pid in pids:
            with contextlib.suppress(psutil.Error):
                times = psutil.Process(pid).cpu_times()  # macOS and Windows do not tell: 0, or missing
                found[pid] = float(getattr(times, "children_user", 0) + getattr(times, "children_system", 0))
        return found

    # --- sockets ---------------------------------------------------------------------------------------

    def memory_kills(self) -> int | None:
        return None

    def listening(self, ports: Iterable[int]) -> frozenset[int]:
        wanted = frozenset(ports)
        if not wanted:
            return wanted
        try:
            return frozenset(one.port for one in connections.of_the_machine("listening")) & wanted
        except (psutil.AccessDenied, PermissionError):  # macOS tells nobody but root
            return frozenset(port for port in wanted if taken(port))

    def holders(self, ports: Iterable[int], likely: Sequence[int] = ()) -> dict[int, tuple[int, ...]]:
        held: dict[int, list[int]] = {port: [] for port in sorted(self.listening(ports))}
        if held:
            # psutil names one process per socket when asked for all sockets: so each process is asked
            for pid in dict.fromkeys([*likely, *psutil.pids()]):
                for port in held.keys() & _ports(pid):
                    held[port].append(pid)
        return {port: tuple(pids) for port, pids in held.items()}

    def ports_of(self, pids: Iterable[int]) -> dict[int, tuple[int, ...]]:
        found = {pid: tuple(sorted(_ports(pid))) for pid in pids}
        return {pid: ports for pid, ports in found.items() if ports}

    def endpoints(self, ports: Iterable[int], kind: Kind = "listening") -> tuple[Endpoint, ...]:
        wanted = frozenset(ports)
        if not wanted:
            return ()
        try:
            everything = connections.of_the_machine(kind)
        except (psutil.AccessDenied, PermissionError):  # macOS tells nobody but root: then what is ours
            everything = frozenset(one for pid in psutil.pids() for one in connections.of_process(pid, kind))
        found = {one for one in everything if one.port in wanted}
        if kind == "listening":
            unseen = self.listening(wanted - {one.port for one in found})
            found |= {Endpoint("tcp", port, "") for port in unseen}
        return tuple(sorted(found))

    def owners(self, endpoints: Iterable[Endpoint]) -> dict[Endpoint, tuple[int, ...]]:
        held: dict[Endpoint, list[int]] = {one: [] for one in endpoints}
        protocols = {one.protocol for one in held}
        kinds: list[Kind] = ["udp"] if "udp" in protocols else []
        kinds += ["listening", "other"] if "tcp" in protocols else []
        for pid in psutil.pids() if held else ():
            theirs = {one for kind in kinds for one in connections.of_process(pid, kind)}
            for one in held.keys() & theirs:
                held[one].append(pid)
        return {one: tuple(pids) for one, pids in held.items()}

    # --- acting ----------------------------------------------------------------------------------------

    def identity(self, process: Process) -> Identity:
        return Identity(self.boot, self.namespace, process.pid, process.start)

    def pin(self, process: Process) -> Handle | None:
        if not psutil.pid_exists(process.pid):  # Linux has rows for the numbers of threads too
            return None
        try:
            handle = CheckedHandle(psutil.Process(process.pid), process.start, self.lives)
        except psutil.NoSuchProcess:
            return None
        return handle if handle.lives() else None

    def pin_room(self) -> int:
        return sys.maxsize  # a checked handle is no descriptor

    def wait(
        self,
        handles: Sequence[Handle],
        timeout_seconds: float,
        enough: Callable[[Handle], bool] | None = None,
    ) -> list[Handle]:
        # not psutil.wait_procs: it reaps our children behind their parents' backs, and waits for zombies
        deadline = time.monotonic() + timeout_seconds
        waiting, gone = list(handles), list[Handle]()
        while True:
            began = time.monotonic()
            fresh = [handle for handle in waiting if not self.lives(handle.pid, handle.start)]
            waiting = [handle for handle in waiting if handle not in fresh]
            gone += fresh
            done = any([enough is None or enough(handle) for handle in fresh])  # noqa: C419 - it is told of all
            now = time.monotonic()
            if done or not waiting or now >= deadline:
                return gone
            time.sleep(min(max(_NAP_SECONDS, now - began), deadline - now))

    def lives(self, pid: int, start: int) -> bool:
        """Whether the process that started then still runs: a zombie does not."""
        columns = self._columns(pid)
        return columns is not None and columns.start == start and columns.state not in ("Z", "X")

    # --- cgroups: there are none, or not for us ----------------------------------------------------------

    def make_cgroup(self, name: str, controllers: Collection[str] = ()) -> str | None:
        return None

    def limit_cgroup(self, path: str, *, memory_bytes: int | None, cpu: float | None) -> frozenset[str]:
        return frozenset()

    def remove_cgroup(self, path: str) -> None:
        return None

    def clear_cgroups(self, prefix: str) -> None:
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


def _ports(pid: int) -> frozenset[int]:
    """The TCP ports the process listens on; none where we may not see."""
    return frozenset(one.port for one in connections.of_process(pid, "listening"))


def _uid(process: psutil.Process) -> int | None:
    """The real user; on Windows a number made from the account's name, never root's 0."""
    if sys.platform == "win32":
        name = ask(process.username, None)
        return None if name is None else zlib.crc32(name.casefold().encode("utf-8", "replace")) + 1
    uids = ask(process.uids, None)
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


__all__ = ["PortableWorld"]
