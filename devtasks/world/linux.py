"""Linux: /proc for what is there, pidfd for each signal and wait, sock_diag for ports, cgroup v2 for runs."""

from __future__ import annotations

import contextlib
import errno
import os
import select
import time
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

from devtasks.model import Details, Endpoint, Identity, Process, Snapshot
from devtasks.values import replace
from devtasks.world import Handle, Kind, cgroup, proc, sockets
from devtasks.world.pidfd import PidHandle, pidfd_open

_FIRST_PID_AFTER_WRAP = 300  # RESERVED_PIDS in the kernel's pid.c: lower ones are given out once per boot
_YOUNG_SECONDS = 3  # a process this young may be between fork and exec, whatever its row said before
_REFRESH_SHARE = 128  # of the rows known before, one in so many is read again at each look
_CPU_PERIOD = 100_000  # microseconds, the default of cpu.max: a quota of as many is one CPU
_SPARE_DESCRIPTORS = 12  # for reading /proc, for the state and for files, while processes are pinned


class LinuxWorld:
    """The `World` protocol on /proc, pidfd, sock_diag and cgroup v2."""

    def __init__(self) -> None:
        self.boot = (proc.read("sys/kernel/random/boot_id") or b"").decode("ascii", "replace").strip()
        self.namespace = os.stat("/proc/self/ns/pid").st_ino
        self._pid_max = int(proc.read("sys/kernel/pid_max") or b"32768")
        self._ticks = os.sysconf("SC_CLK_TCK")
        self._page = os.sysconf("SC_PAGE_SIZE")
        # lxcfs puts a /proc/loadavg of its own over the kernel's: another device, another truth
        self._cursor_trusted = os.stat("/proc/loadavg").st_dev == os.stat("/proc/self").st_dev

    # --- the process table ---------------------------------------------------------------------------

    def look(self, previous: Snapshot | None = None) -> Snapshot:
        cursor = self._cursor()
        pids = proc.pids()
        if previous is None or previous.cursor is None or cursor is None:
            table = fresh = proc.rows(pids)
            generation = 0
        else:
            generation = previous.generation + 1
            table = dict(previous.processes)
            again = self._again(previous, cursor, pids, generation)
            for pid in again | (table.keys() - set(pids)):
                table.pop(pid, None)
            fresh = proc.rows(again)
            table |= fresh
        return Snapshot(
            boot=self.boot,
            namespace=self.namespace,
            processes=table,
            cursor=cursor,
            generation=generation,
            restless=self._restless(fresh),
        )

    def reread(self, pids: Iterable[int]) -> dict[int, Process]:
        return proc.rows(pids)

    def newer(self, snapshot: Snapshot) -> tuple[Snapshot, tuple[int, ...]]:
        cursor = self._cursor()
        if cursor is None or snapshot.cursor is None:
            fresh = self.look()
            born = {pid: fresh.processes[pid] for pid in _unknown_to(snapshot, fresh)}
            return replace(fresh, processes={**snapshot.processes, **born}), tuple(born)
        if cursor == snapshot.cursor and not snapshot.unseen:
            return snapshot, ()
        given = self._given_out(snapshot.cursor, cursor)
        wanted: Sequence[int] = (*snapshot.unseen, *given)
        if len(wanted) > len(snapshot.processes):
            listed = set(proc.pids())
            wanted = [pid for pid in wanted if pid in listed]
        arrived = proc.rows(pid for pid in wanted if self._is_process(pid))
        fresh = replace(
            snapshot,
            processes={**snapshot.processes, **arrived},
            cursor=cursor,
            restless=snapshot.restless | arrived.keys(),
            unseen=tuple(pid for pid in given if pid not in arrived),
        )
        return fresh, tuple(arrived)

    def ancestry(self) -> frozenset[int]:
        chain: set[int] = set()
        pid = os.getpid()
        while pid > 0 and pid not in chain:
            chain.add(pid)
            columns = proc.columns(pid)
            pid = int(columns[1]) if len(columns) > 1 else 0
        return frozenset(chain)

    def _again(self, previous: Snapshot, cursor: int, pids: list[int], generation: int) -> set[int]:
        """The PIDs whose rows of `previous` may not be true any more, and the new ones.

        A late exec shows in neither: one row in `_REFRESH_SHARE` is read again, too, so that it is noticed
        within that many looks.
        """
        given = self._given_out(previous.cursor or 0, cursor)
        turn = pids[generation % _REFRESH_SHARE :: _REFRESH_SHARE]
        new = set(pids) - previous.processes.keys()
        return (set(given) | previous.restless) & set(pids) | set(turn) | new

    def _restless(self, rows: Mapping[int, Process]) -> frozenset[int]:
        """Those to be read at each look: the young, who may be between fork and exec, and the marked."""
        young = self.born_before(_YOUNG_SECONDS)
        return frozenset(pid for pid, row in rows.items() if row.start >= young or row.marker is not None)

    def _cursor(self) -> int | None:
        """The last PID given out in this PID namespace: field 5 of loadavg, read through our own /proc."""
        if not self._cursor_trusted:
            return None
        try:
            return int((proc.read("loadavg", 128) or b"").split()[4])
        except (IndexError, ValueError):
            return None

    def _given_out(self, old: int, new: int) -> list[int]:
        if new >= old:
            return list(range(old + 1, new + 1))
        return [*range(old + 1, self._pid_max + 1), *range(_FIRST_PID_AFTER_WRAP, new + 1)]

    def _is_process(self, pid: int) -> bool:
        """Whether `pid` is a process: /proc answers for thread numbers too, though it does not list them."""
        try:
            os.close(pidfd_open(pid))
        except OSError as error:
            return error.errno in (errno.EMFILE, errno.ENFILE, errno.ENOMEM, errno.EPERM)
        return True

    # --- what is read of candidates only ---------------------------------------------------------------

    def details(self, pids: Iterable[int]) -> dict[int, Details]:
        found = {}
        for pid in pids:
            status = proc.read(f"{pid}/status")
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
            return os.readlink(f"/proc/{name}")
        except OSError:
            return None

    def _namespaces(self, pid: int) -> tuple[int, int, int] | None:
        links = [self._link(f"{pid}/ns/{kind}") for kind in ("pid", "mnt", "net")]
        try:
            first, second, third = (int(link.split("[")[1].rstrip("]")) for link in links if link)
        except (ValueError, IndexError):
            return None
        return first, second, third

    def born_before(self, seconds: float) -> int:
        return int((time.clock_gettime(time.CLOCK_BOOTTIME) - seconds) * self._ticks)

    def started_at(self, process: Process) -> float:
        booted = time.time() - time.clock_gettime(time.CLOCK_BOOTTIME)
        return booted + process.start / self._ticks

    def usage(self, pids: Iterable[int]) -> dict[int, tuple[float, int]]:
        found = {}
        for pid in pids:
            columns = proc.columns(pid)
            if len(columns) > 21:
                seconds = (int(columns[11]) + int(columns[12])) / self._ticks
                found[pid] = (seconds, int(columns[21]) * self._page)
        return found

    def reaped_seconds(self, pids: Iterable[int]) -> dict[int, float]:
        rows = {pid: proc.columns(pid) for pid in pids}
        return {
            pid: (int(columns[13]) + int(columns[14])) / self._ticks
            for pid, columns in rows.items()
            if len(columns) > 14
        }

    def memory_kills(self) -> int | None:
        found = (proc.read("vmstat", 1 << 14) or b"").partition(b"\noom_kill ")[2].split(None, 1)
        return int(found[0]) if found else None

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

    def endpoints(self, ports: Iterable[int], kind: Kind = "listening") -> tuple[Endpoint, ...]:
        return sockets.endpoints(ports, kind)

    def owners(self, endpoints: Iterable[Endpoint]) -> dict[Endpoint, tuple[int, ...]]:
        wanted = tuple(endpoints)
        held = sockets.owners(one.inode for one in wanted)
        return {one: held.get(one.inode, ()) for one in wanted}

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
            descriptor = pidfd_open(process.pid)
        except ProcessLookupError:
            return None
        except OSError as error:
            if error.errno in (errno.EINVAL, errno.ENOENT):  # a thread's number by now
                return None
            raise
        handle = PidHandle(process.pid, process.start, descriptor)
        if proc.start_of(process.pid) != process.start:
            handle.close()
            return None
        return handle

    def pin_room(self) -> int:
        import resource

        limit, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
        return limit - len(os.listdir("/proc/self/fd")) - _SPARE_DESCRIPTORS

    def wait(
        self,
        handles: Sequence[Handle],
        timeout_seconds: float,
        enough: Callable[[Handle], bool] | None = None,
    ) -> list[Handle]:
        poll = select.poll()
        waiting = {handle.descriptor: handle for handle in handles if isinstance(handle, PidHandle)}
        for descriptor in waiting:
            poll.register(descriptor, select.POLLIN)
        deadline = time.monotonic() + timeout_seconds
        gone: list[Handle] = []
        done = False
        while waiting and not done:
            left = max(0.0, deadline - time.monotonic())
            ready = poll.poll(int(left * 1000 + 0.999))
            for descriptor, _ in ready:
                poll.unregister(descriptor)
                handle = waiting.pop(descriptor)
                gone.append(handle)
                done = done or enough is None or enough(handle)
            done = done or (not ready and time.monotonic() >= deadline)
        return gone

    # --- cgroups ---------------------------------------------------------------------------------------

    def make_cgroup(self, name: str, controllers: Collection[str] = ()) -> str | None:
        return cgroup.make(name, controllers)

    def limit_cgroup(self, path: str, *, memory_bytes: int | None, cpu: float | None) -> frozenset[str]:
        values = {"memory.max": str(memory_bytes)} if memory_bytes is not None else {}
        if cpu is not None:
            values["cpu.max"] = f"{round(cpu * _CPU_PERIOD)} {_CPU_PERIOD}"
        return frozenset(name.partition(".")[0] for name in cgroup.limit(path, values))

    def remove_cgroup(self, path: str) -> None:
        cgroup.remove(path)

    def clear_cgroups(self, prefix: str) -> None:
        cgroup.clear(prefix)

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


def _unknown_to(old: Snapshot, new: Snapshot) -> tuple[int, ...]:
    def known(row: Process) -> bool:
        before = old.processes.get(row.pid)
        return before is not None and before.start == row.start

    return tuple(sorted(row.pid for row in new.processes.values() if not known(row)))


def _real_uid(status: bytes) -> int | None:
    at = status.find(b"\nUid:")
    return int(status[at + 5 :].split(None, 1)[0]) if at >= 0 else None
