"""A machine written by hand: processes that do what a test says, signals, and a clock that moves when it is used.

It keeps the promises of `devtasks.world.World`, and does to whoever stops things what real machines do: children
are handed to the runner or to PID 1, numbers are given out in turn and again, a process dies of a signal at once,
later or never, and what dies may have a successor. Whoever asks too often is stuck, and is told so.
"""
# ruff: noqa: ARG002 - the protocol's parameters, some without use here

from __future__ import annotations

import heapq
import itertools
import os
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from devtasks.model import Details, Identity, Process, Project, Run, Service, Snapshot
from devtasks.ownership import Facts, Judge, Places, make_marker
from devtasks.programs.patterns import matcher
from devtasks.values import replace

BOOT = "boot-1"
NAMESPACE = 4026531836
NAMESPACES = (NAMESPACE, 2, 3)  # pid, mnt, net
ME = 1000  # our user
ROOT = Path("/srv/shop")
DIGEST = "d1f0c0ffee"
TICKS = 100  # a second
DEADLY = frozenset(("HUP", "INT", "QUIT", "TERM", "KILL"))
INHERITED: Any = object()


class Stuck(AssertionError):
    """The program under test asks and asks, and gets nowhere."""


@dataclass(slots=True)
class Actor:
    """One process and its script."""

    pid: int
    ppid: int
    session: int
    start: int
    argv: tuple[str, ...]
    marker: str | None = None
    keep: bool = False
    runner: bool = False
    terminal: int = 0
    kernel: bool = False
    state: str = "S"
    blurred: bool = False
    details: Details = field(default_factory=Details)
    ports: tuple[int, ...] = ()
    cgroup: str | None = None
    dies_of: frozenset[str] = DEADLY
    lingers: float = 0.0  # seconds between a deadly signal and the end
    cpu_seconds: float = 0.0
    reaped_seconds: float = 0.0
    refuses: bool = False  # belongs to somebody else: may not be signalled
    unpinnable: bool = False
    visible_at: float = 0.0
    on_signal: Callable[[str], None] | None = None
    on_end: Callable[[], None] | None = None
    signals: list[str] = field(default_factory=list)
    asked_at: dict[str, float] = field(default_factory=dict)
    ended_at: float | None = None
    pending: str | None = None  # what a stopped process was sent

    @property
    def alive(self) -> bool:
        return self.ended_at is None

    @property
    def row(self) -> Process:
        return Process(
            pid=self.pid,
            ppid=self.ppid,
            session=self.session,
            terminal=self.terminal,
            state=self.state,
            start=self.start,
            cmdline=b"" if self.blurred else b"".join(os.fsencode(word) + b"\0" for word in self.argv),
            marker=None if self.blurred else self.marker,
            keep=self.keep and not self.blurred,
            runner=self.runner and not self.blurred,
            kernel=self.kernel,
            blurred=self.blurred,
        )


class FakeHandle:
    descriptor = None

    def __init__(self, world: FakeWorld, actor: Actor) -> None:
        self._world = world
        self.actor = actor
        self.pid = actor.pid
        self.start = actor.start
        self.open = True

    def send(self, name: str) -> bool:
        assert self.open, "a signal through a pin that was given back"
        return self._world.deliver(self.actor, name)

    def close(self) -> None:
        if self.open:
            self.open = False
            self._world.pins.remove(self)


class FakeWorld:
    """`World` by hand. `me` is the calling command; 1 is init, and time stands still but for what is asked."""

    boot = BOOT
    namespace = NAMESPACE

    def __init__(self, *, room: int = 1000, cursor_trusted: bool = True, pid_max: int = 32768) -> None:
        self.time = 1000.0
        self.budget = 20_000  # questions
        self.pace = 0.0001  # seconds that each takes
        self.room = room
        self.cursor_trusted = cursor_trusted
        self.pid_max = pid_max
        self.last_pid = 0
        self.actors: dict[int, Actor] = {}
        self.ended: list[Actor] = []
        self.pins: list[FakeHandle] = []
        self.log: list[tuple[float, int, str]] = []  # time, PID, signal
        self.frozen: set[str] = set()
        self.cgroups: dict[str, bool] = {}  # folder to whether it is frozen
        self.freezable = True
        self.before: dict[str, list[Callable[[], None]]] = {}  # of a call of ours, once each
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._order = itertools.count()
        self.init = self.add("init", pid=1, parent=0, uid=0)
        shell = self.add("bash", pid=50, parent=1, session=50, terminal=34816, cwd="/srv/shop")
        self.me = self.add("inv stop", pid=60, parent=shell)
        self.last_pid = 99

    # --- the script ----------------------------------------------------------------------------------

    def add(
        self,
        command: str | Sequence[str],
        *,
        pid: int | None = None,
        parent: Actor | int = 1,
        marker: str | None = INHERITED,
        keep: bool = INHERITED,
        session: int | None = INHERITED,  # None: one of its own
        terminal: int = INHERITED,
        cwd: str | Path | None = INHERITED,
        exe: str | None = "/usr/bin/python3",
        uid: int | None = ME,
        namespaces: tuple[int, int, int] | None = NAMESPACES,
        cgroup: str | None = INHERITED,
        **script: Any,
    ) -> Actor:
        """A new process; what is not given it has from its parent, as after a fork."""
        if pid is None:
            pid = self._give_out()
        ppid = parent.pid if isinstance(parent, Actor) else parent
        above = self.actors.get(ppid)

        def inherited(value: Any, name: str, otherwise: Any) -> Any:
            if value is not INHERITED:
                return value
            return getattr(above, name) if above is not None and above.pid > 1 else otherwise

        own = session is None
        folder = cwd
        if cwd is INHERITED:
            folder = above.details.cwd if above is not None and above.pid > 1 else "/"
        actor = Actor(
            pid=pid,
            ppid=ppid,
            session=pid if own else inherited(session, "session", pid),
            start=script.pop("start", int(self.time * TICKS)),
            argv=tuple(command.split()) if isinstance(command, str) else tuple(command),
            marker=inherited(marker, "marker", None),
            keep=inherited(keep, "keep", False),
            terminal=0 if own and terminal is INHERITED else inherited(terminal, "terminal", 0),
            cgroup=inherited(cgroup, "cgroup", None),
            details=Details(cwd=None if folder is None else str(folder), exe=exe, uid=uid, namespaces=namespaces),
            **script,
        )
        self.actors[pid] = actor
        return actor

    def run(
        self, service: str = "web", nonce: str = "a" * 16, *, command: str = "python main.py", **script: Any
    ) -> tuple[Actor, Actor]:
        """What a start leaves: a runner, and the main process in a session of its own."""
        marker = f"{DIGEST}/{service}/{nonce}"
        runner = self.add(
            f"python -I -S runner.py shop/{service}",
            marker=marker,
            session=None,
            runner=True,
            cwd="/",
        )
        script.setdefault("cwd", ROOT)
        return runner, self.add(command, parent=runner, marker=marker, session=None, **script)

    def at(self, time: float, event: Callable[[], None]) -> None:
        heapq.heappush(self._events, (time, next(self._order), event))

    def after(self, seconds: float, event: Callable[[], None]) -> None:
        self.at(self.time + seconds, event)

    def end(self, actor: Actor) -> None:
        """It exits: its children go to the runner above it, or to PID 1; its parent reaps it."""
        if not actor.alive:
            return
        actor.ended_at = self.time
        heir, passed = actor.ppid, {actor.pid}
        while heir > 1 and not ((above := self.actors.get(heir)) and above.runner):
            heir = self.actors[heir].ppid if heir in self.actors and heir not in passed else 1
            passed.add(heir)
        for child in self.actors.values():
            if child.ppid == actor.pid and child.pid != actor.pid:
                child.ppid = max(heir, 1)
        del self.actors[actor.pid]
        self.ended.append(actor)
        if actor.on_end is not None:
            actor.on_end()
        above = self.actors.get(actor.ppid)
        if above is not None and above.runner and not any(one.ppid == above.pid for one in self.actors.values()):
            self.after(0.001, lambda: self.end(above))

    def reuse(self, actor: Actor, command: str, **more: Any) -> Actor:
        """End a process; somebody else gets its number at once, a tick later."""
        self.end(actor)
        more.setdefault("start", actor.start + 1)
        return self.add(command, pid=actor.pid, **more)

    def deliver(self, actor: Actor, name: str) -> bool:
        self._tick()
        if not actor.alive:
            return False
        if actor.refuses:
            raise PermissionError
        actor.signals.append(name)
        actor.asked_at.setdefault(name, self.time)
        self.log.append((self.time, actor.pid, name))
        if actor.on_signal is not None:
            actor.on_signal(name)
        if name == "STOP":
            actor.state = "T"
        elif name == "CONT" and actor.state == "T":
            actor.state = "S"
            if actor.pending is not None:
                self._die_of(actor, actor.pending)
        elif name == "KILL":
            self._die_of(actor, name)
        elif actor.state == "T" or (actor.cgroup and self.cgroups.get(actor.cgroup)):
            actor.pending = name
        else:
            self._die_of(actor, name)
        return True

    def _die_of(self, actor: Actor, name: str) -> None:
        if name not in actor.dies_of:
            return
        if name == "KILL" or not actor.lingers:
            self.end(actor)
        else:
            self.after(actor.lingers, lambda: self.end(actor))

    def _give_out(self) -> int:
        while True:
            self.last_pid = self.last_pid + 1 if self.last_pid < self.pid_max else 300
            if self.last_pid not in self.actors:
                return self.last_pid

    def _tick(self, call: str = "") -> None:
        """Asking takes time, and a program that does nothing else never ends."""
        self.budget -= 1
        if self.budget < 0:
            raise Stuck(f"does not end: {self.time - 1000:g} s, log {self.log[-10:]}")
        for event in self.before.pop(call, []) if call else []:
            event()
        self._advance(self.time + self.pace)

    def _advance(self, until: float) -> None:
        while self._events and self._events[0][0] <= until:
            time, _, event = heapq.heappop(self._events)
            self.time = max(self.time, time)
            event()
        self.time = max(self.time, until)

    def _seen(self) -> dict[int, Process]:
        return {pid: one.row for pid, one in sorted(self.actors.items()) if one.visible_at <= self.time}

    # --- the process table -----------------------------------------------------------------------------

    def look(self, previous: Snapshot | None = None) -> Snapshot:
        cursor = self.last_pid if self.cursor_trusted else None
        self._tick("look")
        return Snapshot(boot=BOOT, namespace=NAMESPACE, processes=self._seen(), cursor=cursor)

    def reread(self, pids: Iterable[int]) -> dict[int, Process]:
        self._tick("reread")
        rows = self._seen()
        return {pid: rows[pid] for pid in pids if pid in rows}

    def newer(self, snapshot: Snapshot) -> tuple[Snapshot, tuple[int, ...]]:
        self._tick("newer")
        rows = self._seen()
        if snapshot.cursor is None or not self.cursor_trusted:
            known = {pid: row.start for pid, row in snapshot.processes.items()}
            arrived = {pid: row for pid, row in rows.items() if known.get(pid) != row.start}
            unseen: tuple[int, ...] = ()
            cursor = None
        else:
            old, cursor = snapshot.cursor, self.last_pid
            given = (
                [*range(old + 1, cursor + 1)]
                if cursor >= old
                else [*range(old + 1, self.pid_max + 1), *range(300, cursor + 1)]
            )
            arrived = {pid: rows[pid] for pid in (*snapshot.unseen, *given) if pid in rows}
            unseen = tuple(pid for pid in given if pid not in arrived)
        grown = replace(snapshot, processes={**snapshot.processes, **arrived}, cursor=cursor, unseen=unseen)
        return grown, tuple(arrived)

    def ancestry(self) -> frozenset[int]:
        chain, pid = set[int](), self.me.pid
        while pid > 0:
            chain.add(pid)
            pid = self.actors[pid].ppid
        return frozenset(chain)

    def details(self, pids: Iterable[int]) -> dict[int, Details]:
        return {pid: self.actors[pid].details for pid in pids if pid in self.actors}

    def my_details(self) -> Details:
        return self.me.details

    # --- sockets ---------------------------------------------------------------------------------------

    def listening(self, ports: Iterable[int]) -> frozenset[int]:
        return frozenset(port for one in self.actors.values() for port in one.ports) & frozenset(ports)

    def holders(self, ports: Iterable[int], likely: Sequence[int] = ()) -> dict[int, tuple[int, ...]]:
        wanted = self.listening(ports)
        return {
            port: tuple(pid for pid, one in sorted(self.actors.items()) if port in one.ports) for port in wanted
        }

    def ports_of(self, pids: Iterable[int]) -> dict[int, tuple[int, ...]]:
        return {pid: self.actors[pid].ports for pid in pids if pid in self.actors and self.actors[pid].ports}

    # --- acting ----------------------------------------------------------------------------------------

    def identity(self, process: Process) -> Identity:
        return Identity(BOOT, NAMESPACE, process.pid, process.start)

    def pin(self, process: Process) -> FakeHandle | None:
        self._tick("pin")
        actor = self.actors.get(process.pid)
        if actor is None or actor.start != process.start:
            return None
        if actor.unpinnable:
            raise PermissionError
        if len(self.pins) >= self.room:
            raise OSError(24, "Too many open files")
        handle = FakeHandle(self, actor)
        self.pins.append(handle)
        return handle

    def pin_room(self) -> int:
        return self.room - len(self.pins)

    def wait(
        self,
        handles: Sequence[FakeHandle],
        timeout_seconds: float,
        enough: Callable[[FakeHandle], bool] | None = None,
    ) -> list[FakeHandle]:
        self._tick("wait")
        deadline = self.time + timeout_seconds
        waiting, gone = list(handles), list[FakeHandle]()
        while True:
            fresh = [handle for handle in waiting if not handle.actor.alive]
            waiting = [handle for handle in waiting if handle.actor.alive]
            gone += fresh
            done = any([enough is None or enough(handle) for handle in fresh])  # noqa: C419 - it is told of all
            if done or not waiting or self.time >= deadline:
                return gone
            self._advance(min(deadline, self._events[0][0]) if self._events else deadline)

    def usage(self, pids: Iterable[int]) -> dict[int, tuple[float, int]]:
        return {pid: (self.actors[pid].cpu_seconds, 0) for pid in pids if pid in self.actors}

    def reaped_seconds(self, pids: Iterable[int]) -> dict[int, float]:
        return {pid: self.actors[pid].reaped_seconds for pid in pids if pid in self.actors}

    def memory_kills(self) -> int | None:
        return None

    def born_before(self, seconds: float) -> int:
        return int((self.time - seconds) * TICKS)

    def started_at(self, process: Process) -> float:
        return process.start / TICKS

    # --- cgroups ---------------------------------------------------------------------------------------

    def make_cgroup(self, name: str, controllers: Collection[str] = ()) -> str | None:
        return None

    def limit_cgroup(self, path: str, *, memory_bytes: int | None, cpu: float | None) -> frozenset[str]:
        return frozenset()

    def remove_cgroup(self, path: str) -> None:
        return None

    def clear_cgroups(self, prefix: str) -> None:
        return None

    def cgroup_members(self, path: str) -> tuple[int, ...] | None:
        return tuple(pid for pid, one in sorted(self.actors.items()) if one.cgroup == path)

    def freeze(self, path: str, frozen: bool) -> bool:
        self._tick("freeze" if frozen else "thaw")
        self.cgroups[path] = frozen
        if not frozen:
            for actor in [one for one in self.actors.values() if one.cgroup == path and one.pending]:
                name, actor.pending = actor.pending or "", None
                self._die_of(actor, name)
        return self.freezable or not frozen

    # --- time ------------------------------------------------------------------------------------------

    def monotonic(self) -> float:
        self._tick()
        return self.time

    def now(self) -> float:
        return self.time

    def sleep(self, seconds: float) -> None:
        self._tick("sleep")
        self._advance(self.time + seconds)


# --- values for it -----------------------------------------------------------------------------------


def service(name: str = "web", **fields: Any) -> Service:
    given: dict[str, Any] = {
        "name": name,
        "group": name,
        "command": ("python", "main.py"),
        "cwd": ROOT,
        "ports": (8000,),
        "pid_file": ROOT / ".devtasks" / f"{name}.pid",
        "log_file": ROOT / ".devtasks" / f"{name}.log",
        "patterns": (r"python main\.py",),
    }
    return Service(**(given | fields))


def project(*services: Service, root: Path = ROOT, **fields: Any) -> Project:
    given: dict[str, Any] = {
        "name": "shop",
        "root": root,
        "digest": DIGEST,
        "state_dir": root / ".devtasks",
        "services": services or (service(),),
        "source": "devtasks.toml",
    }
    return Project(**(given | fields))


def marker(name: str = "web", nonce: str = "a" * 16) -> str:
    return make_marker(project(), name, nonce)


def recorded(main: Actor, /, *, name: str = "web", nonce: str = "a" * 16, **fields: Any) -> Run:
    """What the state remembers of a run whose main process is `main`."""
    given: dict[str, Any] = {
        "nonce": nonce,
        "service": name,
        "boot": BOOT,
        "namespace": NAMESPACE,
        "started_at": 1000.0,
        "main": Identity(BOOT, NAMESPACE, main.pid, main.start),
        "session": main.session,
    }
    return Run(**(given | fields))


def facts(
    world: FakeWorld,
    of: Project | None = None,
    *,
    runs: Iterable[Run] = (),
    pid_files: Mapping[str, int] | None = None,
    users: Iterable[int] = (ME,),
    **fields: Any,
) -> Facts:
    """All that is known of the world, at once."""
    known = of or project()
    ports = {port for one in known.services for port in one.ports}
    runs = tuple(runs)
    in_cgroups = {pid: run for run in runs if run.cgroup for pid in world.cgroup_members(run.cgroup) or ()}
    given: dict[str, Any] = {
        "project": known,
        "table": world.look(),
        "runs": runs,
        "pid_files": pid_files or {},
        "matchers": {one.name: matcher(one) for one in known.services},
        "places": Places(known.root, [one.cwd for one in known.services if one.cwd != known.root]),
        "details": world.details(world.actors),
        "me": world.my_details(),
        "users": frozenset(users),
        "callers": world.ancestry(),
        "holders": world.holders(ports),
        "cgroup_members": in_cgroups,
    }
    return Facts(**(given | fields))


def judge(world: FakeWorld, of: Project | None = None, **known: Any) -> Judge:
    return Judge(facts(world, of, **known))
