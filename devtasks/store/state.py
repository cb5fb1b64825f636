"""What the project remembers of its runs: `state_dir/state.db`.

The process table always wins: nothing here proves that a process lives, and stopping needs none of it. What
is read back is checked like any input; a row that does not fit is left out.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping, Sequence
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeGuard

from devtasks.errors import DevtasksError
from devtasks.model import Identity, Project, Run
from devtasks.store import exits, statedir
from devtasks.store.database import Database, Statement
from devtasks.store.registered import RegisteredChild, RegisteredPort, child_of, port_of
from devtasks.store.watching import SCHEMA as WATCHING
from devtasks.store.watching import Watching

if TYPE_CHECKING:
    from devtasks.store.events import Event

EVENTS_KEPT: Final = 10_000
_VERSION: Final = 3
_REGISTERED_KEPT: Final = 2000  # of ports, and of children
_MARK_SECONDS: Final = 0.2
_DAY_SECONDS: Final = 86_400.0
_PID_LIMIT: Final = 2**32 - 1  # of any system

_SCHEMA: Final = (
    """CREATE TABLE IF NOT EXISTS runs (
        nonce TEXT PRIMARY KEY, service TEXT NOT NULL, boot TEXT NOT NULL, namespace INTEGER NOT NULL,
        started_at REAL NOT NULL, pid INTEGER, start INTEGER, runner_pid INTEGER, runner_start INTEGER,
        session INTEGER, cgroup TEXT, port INTEGER, pid_file TEXT,
        ended_at REAL, exit_code INTEGER, cause TEXT)""",
    """CREATE TABLE IF NOT EXISTS events (
        id INTEGER PRIMARY KEY, at REAL NOT NULL, service TEXT NOT NULL, kind TEXT NOT NULL,
        pid INTEGER, detail TEXT)""",
    """CREATE TABLE IF NOT EXISTS usage (
        key TEXT PRIMARY KEY, identity TEXT NOT NULL, cpu_seconds REAL NOT NULL, at REAL NOT NULL)""",
    """CREATE TABLE IF NOT EXISTS ports (
        service TEXT NOT NULL, name TEXT NOT NULL, port INTEGER NOT NULL,
        boot TEXT NOT NULL, namespace INTEGER NOT NULL, pid INTEGER NOT NULL, start INTEGER NOT NULL,
        registered_at REAL NOT NULL, beat_at REAL, UNIQUE (boot, namespace, pid, start, port))""",
    """CREATE TABLE IF NOT EXISTS children (
        service TEXT NOT NULL, name TEXT NOT NULL,
        boot TEXT NOT NULL, namespace INTEGER NOT NULL, pid INTEGER NOT NULL, start INTEGER NOT NULL,
        parent_pid INTEGER NOT NULL, parent_start INTEGER NOT NULL, started_at REAL NOT NULL,
        ended_at REAL, exit_code INTEGER, cause TEXT, UNIQUE (boot, namespace, pid, start))""",
    *WATCHING,
)
_RUNS: Final = """SELECT nonce, service, boot, namespace, started_at, pid, start, runner_pid, runner_start,
    session, cgroup, port, pid_file, ended_at, exit_code, cause FROM runs"""
# With a PID, only a run whose main process it was, as far as we know.
_FILL_IN: Final = """UPDATE runs SET exit_code = ? WHERE nonce = ? AND (? IS NULL OR pid IS NULL OR pid = ?)
    AND ended_at IS NOT NULL AND exit_code IS NULL"""
_FORGET: Final = "DELETE FROM ports WHERE boot = ? AND namespace = ? AND pid = ? AND start = ?"
_CHILDREN: Final = """SELECT service, name, boot, namespace, pid, start, parent_pid, parent_start, started_at,
    ended_at, exit_code, cause FROM children"""
_END: Final = """UPDATE runs SET ended_at = ?, exit_code = ?, cause = ?
    WHERE nonce = ? AND (? IS NULL OR pid IS NULL OR pid = ?) AND ended_at IS NULL"""


class State:
    """Runs, events, usage and registrations of one project. No method raises for the database; see `notes`.

    Methods that write return whether it is kept.
    """

    def __init__(self, database: Database, asker: str = "") -> None:
        self.asker = asker  # in whose name events are told: "inv stop"
        self._database = database
        self.watching = Watching(database)

    @classmethod
    def open(cls, project: Project, *, create: bool, asker: str = "") -> State:
        """The state of `project`. Touches nothing until the first read or write.

        Without `create` a project that has no state folder gets none: writes stay in memory. `asker` is the
        command that events are told of.
        """
        problem = statedir.objection(project)
        if create and problem is None:
            try:
                statedir.ensure(project)
            except DevtasksError as error:
                problem = error.message
        create = create or project.state_dir.is_dir()
        database = Database(project.state_dir / "state.db", version=_VERSION, schema=_SCHEMA, create=create)
        if problem is not None:
            database.use_memory(f"{problem}: this command keeps its state in memory")
        return cls(database, asker)

    @property
    def notes(self) -> list[str]:
        """Lines for people: what about the database went wrong and what was done about it."""
        return self._database.notes

    def close(self) -> None:
        self._database.close()

    # --- runs ---------------------------------------------------------------------------------------

    def intend(
        self, service: str, nonce: str, *, boot: str, namespace: int, started_at: float, port: int | None = None
    ) -> bool:
        """A run is about to be spawned. Kept before this returns, so that kill -9 right after loses nothing."""
        return self._database.write(
            (
                """INSERT OR REPLACE INTO runs (nonce, service, boot, namespace, started_at, port)
                VALUES (?, ?, ?, ?, ?, ?)""",
                (nonce, service, boot, namespace, started_at, port),
            )
        )

    def record(
        self,
        nonce: str,
        *,
        main: Identity,
        runner: Identity | None = None,
        session: int | None = None,
        cgroup: str | None = None,
        pid_file: str | Path | None = None,
    ) -> bool:
        """The run's processes are known, and live. May be called again, when a daemon's own PID becomes known:
        its launcher's exit was not the run's end.
        """
        return self._database.write(
            (
                """UPDATE runs SET boot = ?, namespace = ?, pid = ?, start = ?, runner_pid = ?, runner_start = ?,
                session = ?, cgroup = CAST(? AS TEXT), pid_file = CAST(? AS TEXT),
                ended_at = NULL, exit_code = NULL, cause = NULL WHERE nonce = ?""",
                (
                    *(main.boot, main.namespace, main.pid, main.start),
                    *((runner.pid, runner.start) if runner else (None, None)),
                    *(session, _bytes(cgroup), _bytes(pid_file), nonce),
                ),
            )
        )

    def finish(
        self,
        nonce: str,
        *,
        ended_at: float,
        exit_code: int | None = None,
        cause: str,
        patience_seconds: float | None = None,
    ) -> bool:
        """The run is over, which is an event. An end that is already known stays; only a missing exit code is
        filled in.
        """
        run = next(iter(self._runs(f"{_RUNS} WHERE nonce = ?", nonce)), None)
        return self._database.write(
            *_finish(nonce, ended_at, exit_code, cause, run=run), patience_seconds=patience_seconds
        )

    def stopping(self, nonces: Sequence[str], *, over: bool = False) -> bool:
        """These runs are about to be asked to end, so that a stop that is killed half-way is remembered.

        `over`: that was in vain, they live on. A locked database is not waited for: signals are.
        """
        if not nonces:
            return True
        cause = None if over else "stopping"
        return self._database.write(
            *(
                ("UPDATE runs SET cause = ? WHERE nonce = ? AND ended_at IS NULL", (cause, nonce))
                for nonce in nonces
            ),
            patience_seconds=_MARK_SECONDS,
        )

    def open_runs(self, service: str | None = None) -> tuple[Run, ...]:
        """Runs that have not ended as far as we know, newest first."""
        if service is None:
            return self._runs(f"{_RUNS} WHERE ended_at IS NULL ORDER BY rowid DESC")
        return self._runs(f"{_RUNS} WHERE service = ? AND ended_at IS NULL ORDER BY rowid DESC", service)

    def last_run(self, service: str) -> Run | None:
        """The newest run, over or not."""
        return next(iter(self.runs(service, 1)), None)

    def runs(self, service: str, limit: int) -> tuple[Run, ...]:
        """The newest `limit` runs, newest first."""
        return self._runs(f"{_RUNS} WHERE service = ? ORDER BY rowid DESC LIMIT ?", service, limit)

    def knows_pid(self, service: str, pid: int) -> bool:
        """Whether a run of ours had `pid` as its main process: then a PID file that says so is ours."""
        return bool(
            self._database.read("SELECT 1 FROM runs WHERE service = ? AND pid = ? LIMIT 1", (service, pid))
        )

    def prune(self, service: str, keep: int = 50) -> bool:
        """Forget what has ended, but for the newest `keep`."""
        return self._database.write(
            (
                """DELETE FROM runs WHERE service = ? AND ended_at IS NOT NULL AND rowid NOT IN
                (SELECT rowid FROM runs WHERE service = ? AND ended_at IS NOT NULL ORDER BY rowid DESC LIMIT ?)""",
                (service, service, keep),
            )
        )

    def _runs(self, query: str, *values: str | int) -> tuple[Run, ...]:
        rows = self._database.read(query, values)
        return tuple(run for run in map(_run, rows) if run is not None)

    # --- exits that runners wrote down --------------------------------------------------------------

    def collect_exits(self, project: Project) -> int:
        """Take over what runners left in `state_dir/exits`; returns how many.

        A run that is not over ends as "exited"; one that is over without an exit code gets it. A file is
        removed once its content is kept on disk.
        """
        found = exits.read(project)
        # `main`: a launcher's exit is not the end of the daemon that was recorded in its place.
        runs = {run.nonce: run for one in found for run in self._runs(f"{_RUNS} WHERE nonce = ?", one.nonce)}
        ends = [
            _finish(one.nonce, one.at, one.status, "exited", run=runs.get(one.nonce), main=one.pid)
            for one in found
        ]
        if not found or not (self._database.write(*chain.from_iterable(ends)) and self._database.on_disk):
            return 0
        exits.remove(project, found)
        return len(found)

    # --- what a service opens while it runs ---------------------------------------------------------

    def register_port(
        self, service: str, port: int, *, name: str, owner: Identity, at: float | None = None
    ) -> bool:
        """A process of `service` listens on `port`, and calls that `name`. The newest 2,000 are kept."""
        return self._database.write(
            (
                """INSERT OR REPLACE INTO ports (service, name, port, boot, namespace, pid, start, registered_at)
                VALUES (?, CAST(? AS TEXT), ?, ?, ?, ?, ?, ?)""",
                (service, _bytes(name), port, *owner, time.time() if at is None else at),
            ),
            ("DELETE FROM ports WHERE rowid <= (SELECT max(rowid) FROM ports) - ?", (_REGISTERED_KEPT,)),
        )

    def registered_ports(self) -> tuple[RegisteredPort, ...]:
        """The ports of all processes that are not known to be gone, oldest first."""
        rows = self._database.read(
            """SELECT service, name, port, boot, namespace, pid, start, registered_at, beat_at FROM ports
            ORDER BY rowid"""
        )
        return tuple(port for port in map(port_of, rows) if port is not None)

    def forget_ports(self, owner: Identity) -> bool:
        """The process listens no more."""
        return self._database.write((_FORGET, owner))

    def beat(self, owner: Identity, *, at: float | None = None) -> bool:
        """The process says that it is well."""
        now = time.time() if at is None else at
        return self._database.write(
            (
                "UPDATE ports SET beat_at = ? WHERE boot = ? AND namespace = ? AND pid = ? AND start = ?",
                (now, *owner),
            )
        )

    def register_child(
        self, service: str, *, name: str, child: Identity, parent: Identity, at: float | None = None
    ) -> bool:
        """A process of `service` started a child, and calls it `name`. The newest 2,000 are kept."""
        return self._database.write(
            (
                """INSERT OR REPLACE INTO children
                (service, name, boot, namespace, pid, start, parent_pid, parent_start, started_at)
                VALUES (?, CAST(? AS TEXT), ?, ?, ?, ?, ?, ?, ?)""",
                (service, _bytes(name), *child, parent.pid, parent.start, time.time() if at is None else at),
            ),
            ("DELETE FROM children WHERE rowid <= (SELECT max(rowid) FROM children) - ?", (_REGISTERED_KEPT,)),
        )

    def registered_children(self, *, ended: bool = False) -> tuple[RegisteredChild, ...]:
        """Children that have not ended as far as we know, oldest first; with `ended` the others too."""
        query = _CHILDREN if ended else f"{_CHILDREN} WHERE ended_at IS NULL"
        rows = self._database.read(f"{query} ORDER BY rowid")
        return tuple(child for child in map(child_of, rows) if child is not None)

    def registered_owners(self) -> frozenset[Identity]:
        """Every process that is not known to be gone: owners of ports, and children."""
        ports = {port.owner for port in self.registered_ports()}
        return frozenset(ports | {child.child for child in self.registered_children()})

    def finish_child(self, child: Identity, *, ended_at: float, exit_code: int | None = None, cause: str) -> bool:
        """The child is over, which is an event, and its own ports are forgotten. A known end stays."""
        from devtasks.store.events import child_exit_insertion

        known = next((one for one in self.registered_children() if one.child == child), None)
        return self._database.write(
            *(child_exit_insertion(known, ended_at, exit_code, cause, EVENTS_KEPT) if known is not None else ()),
            (
                """UPDATE children SET ended_at = ?, exit_code = ?, cause = ?
                WHERE boot = ? AND namespace = ? AND pid = ? AND start = ? AND ended_at IS NULL""",
                (ended_at, exit_code, cause, *child),
            ),
            (_FORGET, child),
        )

    # --- events -------------------------------------------------------------------------------------

    def event(
        self,
        service: str,
        kind: str,
        *,
        pid: int | None = None,
        detail: str | None = None,
        at: float | None = None,
    ) -> bool:
        """Something happened: see `tell`. `at` is now, if it is not given."""
        from devtasks.store.events import Event

        now = time.time() if at is None else at
        return self.tell([Event(service=service, kind=kind, at=now, pid=pid, detail=detail)])

    def tell(self, happened: Iterable[Event]) -> bool:
        """These things happened. The newest 10,000 are kept.

        A locked database is hardly waited for: what was done is done, and who did it has more to do.
        """
        happened = tuple(happened)
        if not happened:
            return True
        from devtasks.store.events import insertion

        return self._database.write(*insertion(happened, EVENTS_KEPT), patience_seconds=_MARK_SECONDS)

    def events(
        self,
        names: Sequence[str] = (),
        *,
        since: float = 0.0,
        after: int = 0,
        limit: int = EVENTS_KEPT,
    ) -> tuple[Event, ...]:
        """The last `limit` events in the order of time: of `names` (none: of all), from `since` on, in seconds
        since the epoch, and written after the one with the number `after`.
        """
        from devtasks.store.events import SELECT, event_of

        whose = f"AND service IN ({', '.join('?' * len(names))})" if names else ""
        rows = self._database.read(
            f"{SELECT} WHERE id > ? AND at >= ? {whose} ORDER BY at DESC, id DESC LIMIT ?",
            (after, since, *names, limit),
        )
        return tuple(event for event in map(event_of, reversed(rows)) if event is not None)

    @property
    def file(self) -> tuple[int, int] | None:
        """Which file was last read or written, by device and inode: another one begins its numbers anew."""
        return self._database.file

    def version(self) -> object:
        """Changes with every transaction of another command, and with the file."""
        rows = self._database.read("PRAGMA data_version")
        return self._database.file, tuple(rows)

    # --- usage --------------------------------------------------------------------------------------

    def record_usage(self, rows: Mapping[str, tuple[str, float, float]]) -> bool:
        """Keep one sample a key: (identity, CPU seconds, seconds since the epoch). Older than a day: forgotten."""
        if not rows:
            return True
        statements: list[Statement] = [
            ("INSERT OR REPLACE INTO usage (key, identity, cpu_seconds, at) VALUES (?, ?, ?, ?)", (key, *row))
            for key, row in rows.items()
        ]
        oldest = max(at for _, _, at in rows.values()) - _DAY_SECONDS
        return self._database.write(*statements, ("DELETE FROM usage WHERE at < ?", (oldest,)))

    def previous_usage(self) -> dict[str, tuple[str, float, float]]:
        """The samples of the last observation, by key."""
        return {
            key: (identity, float(cpu_seconds), float(at))
            for key, identity, cpu_seconds, at in self._database.read(
                "SELECT key, identity, cpu_seconds, at FROM usage"
            )
            if isinstance(key, str) and isinstance(identity, str) and _is_seconds(cpu_seconds) and _is_seconds(at)
        }


def _finish(
    nonce: str, ended_at: float, exit_code: int | None, cause: str, *, run: Run | None, main: int | None = None
) -> tuple[Statement, ...]:
    """Fill in the exit code of a run that is over, or end the run and tell it. `main`: unless another PID was its
    main one.
    """
    from devtasks.store.events import exit_insertion

    return (
        (_FILL_IN, (exit_code, nonce, main, main)),
        *exit_insertion(nonce, run, ended_at, exit_code, cause, main=main, kept=EVENTS_KEPT),
        (_END, (ended_at, exit_code, cause, nonce, main, main)),
    )


def _run(row: Sequence[object]) -> Run | None:
    """A row as a Run; None if any value of it cannot be what we wrote."""
    nonce, service, boot, namespace, started_at, pid, start, runner_pid, runner_start = row[:9]
    session, cgroup, port, pid_file, ended_at, exit_code, cause = row[9:]
    if not (
        isinstance(nonce, str)
        and isinstance(service, str)
        and isinstance(boot, str)
        and isinstance(namespace, int)
        and _is_seconds(started_at)
        and (session is None or _is_number(session, 0, _PID_LIMIT))
        and (port is None or _is_number(port, 1, 65535))
        and (ended_at is None or _is_seconds(ended_at))
        and (exit_code is None or _is_number(exit_code, -(2**32), 2**32))
        and all(text is None or isinstance(text, str) for text in (cgroup, pid_file, cause))
    ):
        return None
    try:
        return Run(
            nonce=nonce,
            service=service,
            boot=boot,
            namespace=namespace,
            started_at=started_at,
            main=_identity(boot, namespace, pid, start),
            runner=_identity(boot, namespace, runner_pid, runner_start),
            session=session,
            cgroup=cgroup,  # type: ignore[arg-type]
            port=port,
            pid_file=pid_file,  # type: ignore[arg-type]
            ended_at=ended_at,
            exit_code=exit_code,
            cause=cause,  # type: ignore[arg-type]
        )
    except ValueError:
        return None


def _identity(boot: str, namespace: int, pid: object, start: object) -> Identity | None:
    """None where nothing was recorded. Raises ValueError for what is no identity."""
    if pid is None and start is None:
        return None
    if not _is_number(pid, 2, _PID_LIMIT) or not _is_number(start, 0, 2**63):
        raise ValueError
    return Identity(boot, namespace, pid, start)


def _is_number(value: object, least: int, most: int) -> TypeGuard[int]:
    return isinstance(value, int) and least <= value <= most


def _is_seconds(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0


def _bytes(text: str | Path | None) -> bytes | None:
    """As SQLite takes it: a path may hold bytes that are no text."""
    return None if text is None else str(text).encode("utf-8", "surrogateescape")
