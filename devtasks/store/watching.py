"""What a monitor leaves for others: which services are wanted, what each has used of its restarts, heartbeats.

Rows are checked like any input. Moments of a budget are on the clock of `World.monotonic`, which all processes of
one boot share; those of a heartbeat are in seconds since the epoch, for people and programs that read them.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Final, TypeGuard

from devtasks.model import Identity, RestartPolicy
from devtasks.restarts import Budget, restored
from devtasks.store.database import Database, Statement
from devtasks.values import Value

SCHEMA: Final = (
    "CREATE TABLE IF NOT EXISTS wanted (service TEXT PRIMARY KEY, wanted INTEGER NOT NULL, nonce TEXT)",
    """CREATE TABLE IF NOT EXISTS budgets (
        service TEXT PRIMARY KEY, boot TEXT NOT NULL, nonce TEXT, acting INTEGER NOT NULL, spent TEXT NOT NULL,
        total INTEGER NOT NULL, streak INTEGER NOT NULL, next_at REAL, failed_at REAL, failed_until REAL,
        cause TEXT)""",
    """CREATE TABLE IF NOT EXISTS heartbeats (
        service TEXT PRIMARY KEY, at REAL NOT NULL, boot TEXT, namespace INTEGER, pid INTEGER, start INTEGER,
        since REAL, nonce TEXT, health TEXT, probe TEXT, answered_at REAL, seconds REAL, detail TEXT,
        restarts INTEGER NOT NULL, most INTEGER NOT NULL, left INTEGER NOT NULL, next_at REAL,
        failed INTEGER NOT NULL, failed_until REAL, cause TEXT, blocked TEXT)""",
)
_MONITOR: Final = ""  # what stands for the monitor itself among the services
_PATIENCE_SECONDS: Final = 1.0  # a stop does not wait longer for another command's transaction
_LONGEST: Final = 4000  # characters of a cause

_BUDGETS: Final = """SELECT service, boot, nonce, acting, spent, total, streak, next_at, failed_at, failed_until,
    cause FROM budgets"""
_BEATS: Final = """SELECT service, at, boot, namespace, pid, start, since, nonce, health, probe, answered_at,
    seconds, detail, restarts, most, left, next_at, failed, failed_until, cause, blocked FROM heartbeats"""


class Wanted(Value):
    """Whether a service is to be kept running: since it became ready as `nonce`, or not since it was stopped.

    Wanted without a nonce: it is being started and not ready yet.
    """

    wanted: bool
    nonce: str | None


class Kept(Value):
    """A budget as an earlier monitor left it, the run it last saw or began, and why that one ended.

    `acting`: it was about to stop that run in order to start it again.
    """

    budget: Budget
    nonce: str | None
    acting: bool
    cause: str | None


class MonitorBeat(Value):
    """A monitor that watches, or did: whether it still lives is the process table's to say."""

    identity: Identity
    since: float
    at: float


class ServiceBeat(Value):
    """What a monitor knew of one service when it last said so. Moments are in seconds since the epoch."""

    service: str
    at: float
    nonce: str | None  # the run that this is about
    health: str | None = None  # starting, healthy, unhealthy, foreign, unknown; None: it is not probed
    probe: str | None = None
    answered_at: float | None = None
    seconds: float | None = None  # that the answer took
    detail: str | None = None
    restarts: int = 0  # since someone started it
    max_restarts: int = 0
    left: int = 0  # restarts that may follow at once
    next_restart_at: float | None = None
    failed: bool = False  # restarting was given up
    failed_until: float | None = None  # None while failed: until someone starts it
    cause: str | None = None  # why it ended, in lines
    blocked: str | None = None  # what it depends on, and waits for


class Watching:
    """Reads and writes all this. Nothing raises for the database; what writes returns whether it is kept."""

    def __init__(self, database: Database) -> None:
        self._database = database

    # --- what is wanted -------------------------------------------------------------------------------

    def want(self, service: str, nonce: str) -> bool:
        """The service became ready as `nonce`: from now on it is to be kept running."""
        return self._database.write(
            ("INSERT OR REPLACE INTO wanted (service, wanted, nonce) VALUES (?, 1, ?)", (service, nonce))
        )

    def begin(self, service: str) -> bool:
        """Somebody starts the service: what a stop said before counts no more. It is wanted once it is ready."""
        return self._database.write(
            ("INSERT OR REPLACE INTO wanted (service, wanted, nonce) VALUES (?, 1, NULL)", (service,))
        )

    def confirm(self, service: str, nonce: str) -> bool:
        """The same, unless somebody stopped the service meanwhile."""
        return self._database.write(
            (
                """INSERT INTO wanted (service, wanted, nonce) VALUES (?, 1, ?)
                ON CONFLICT (service) DO UPDATE SET nonce = excluded.nonce WHERE wanted = 1""",
                (service, nonce),
            )
        )

    def unwant(self, services: Iterable[str]) -> bool:
        """Somebody stops these services: nothing may start them again by itself."""
        rows = [
            ("INSERT OR REPLACE INTO wanted (service, wanted, nonce) VALUES (?, 0, NULL)", (service,))
            for service in services
        ]
        return not rows or self._database.write(*rows, patience_seconds=_PATIENCE_SECONDS)

    def wanted(self) -> dict[str, Wanted]:
        """By service; of one that is missing nothing is known."""
        return {
            service: Wanted(wanted=bool(wanted), nonce=nonce)
            for service, wanted, nonce in self._database.read("SELECT service, wanted, nonce FROM wanted")
            if isinstance(service, str) and isinstance(wanted, int) and _is_text(nonce)
        }

    # --- budgets --------------------------------------------------------------------------------------

    def keep(
        self, service: str, budget: Budget, *, boot: str, nonce: str | None, acting: bool, cause: str | None
    ) -> bool:
        """Keep a budget, before anything is done on its account."""
        spent = " ".join(f"{at!r}" for at in budget.spent)
        return self._database.write(
            (
                """INSERT OR REPLACE INTO budgets (service, boot, nonce, acting, spent, total, streak, next_at,
                failed_at, failed_until, cause) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT))""",
                (
                    *(service, boot, nonce, int(acting), spent, budget.total, budget.streak, budget.next_at),
                    *(budget.failed_at, budget.failed_until, _bytes(cause)),
                ),
            )
        )

    def kept(self, policies: Mapping[str, RestartPolicy], *, boot: str, now: float) -> dict[str, Kept]:
        """What an earlier monitor of this boot left, for the services of `policies`."""
        found = {}
        for row in self._database.read(_BUDGETS):
            service, of_boot, nonce, acting, spent, total, streak, next_at, failed_at, failed_until, cause = row
            if not isinstance(service, str) or service not in policies or of_boot != boot:
                continue
            budget = restored(
                policies[service],
                now,
                spent=map(_number, spent.split()) if isinstance(spent, str) else (),
                total=total,
                streak=streak,
                next_at=next_at,
                failed_at=failed_at,
                failed_until=failed_until,
            )
            found[service] = Kept(
                budget=budget,
                nonce=nonce if isinstance(nonce, str) else None,
                acting=acting == 1,
                cause=cause[:_LONGEST] if isinstance(cause, str) else None,
            )
        return found

    # --- heartbeats -----------------------------------------------------------------------------------

    def beat(self, monitor: MonitorBeat, services: Iterable[ServiceBeat], *, gone: Iterable[str] = ()) -> bool:
        """The monitor lives, and this is new of its services; all it watches is known to be as of now."""
        statements: list[Statement] = [
            (
                """INSERT OR REPLACE INTO heartbeats (service, at, boot, namespace, pid, start, since,
                restarts, most, left, failed) VALUES (?, ?, ?, ?, ?, ?, ?, 0, 0, 0, 0)""",
                (_MONITOR, monitor.at, *monitor.identity, monitor.since),
            )
        ]
        statements += [("DELETE FROM heartbeats WHERE service = ?", (service,)) for service in gone]
        statements += [_beat(one) for one in services]
        statements.append(("UPDATE heartbeats SET at = ?", (monitor.at,)))
        return self._database.write(*statements, patience_seconds=_PATIENCE_SECONDS)

    def farewell(self) -> bool:
        """The monitor leaves; what it knew of failures stays, what it knew of health does not."""
        return self._database.write(
            ("DELETE FROM heartbeats WHERE service = ?", (_MONITOR,)),
            ("UPDATE heartbeats SET health = NULL, probe = NULL, answered_at = NULL, seconds = NULL", ()),
        )

    def beats(self) -> tuple[MonitorBeat | None, dict[str, ServiceBeat]]:
        """The last heartbeat of the monitor, if it has not left, and what it last knew of each service."""
        monitor, services = None, {}
        for row in self._database.read(_BEATS):
            if row[0] == _MONITOR:
                monitor = _monitor(row)
            elif (one := _service(row)) is not None:
                services[one.service] = one
        return monitor, services


def _beat(one: ServiceBeat) -> Statement:
    return (
        """INSERT OR REPLACE INTO heartbeats (service, at, nonce, health, probe, answered_at, seconds, detail,
        restarts, most, left, next_at, failed, failed_until, cause, blocked)
        VALUES (?, ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), ?, ?, ?, ?, ?, ?, CAST(? AS TEXT), ?)""",
        (
            *(one.service, one.at, one.nonce, one.health, one.probe, one.answered_at, one.seconds),
            *(_bytes(one.detail), one.restarts, one.max_restarts, one.left, one.next_restart_at),
            *(int(one.failed), one.failed_until, _bytes(one.cause), one.blocked),
        ),
    )


def _monitor(row: Sequence[object]) -> MonitorBeat | None:
    _, at, boot, namespace, pid, start, since = row[:7]
    if not (
        _is_seconds(at)
        and _is_seconds(since)
        and isinstance(boot, str)
        and isinstance(namespace, int)
        and isinstance(pid, int)
        and 2 <= pid < 2**32
        and isinstance(start, int)
        and 0 <= start < 2**63
    ):
        return None
    return MonitorBeat(identity=Identity(boot, namespace, pid, start), since=since, at=at)


def _service(row: Sequence[object]) -> ServiceBeat | None:
    service, at, nonce, health, probe, answered_at, seconds, detail = row[0], row[1], *row[7:13]
    restarts, most, left, next_at, failed, failed_until, cause, blocked = row[13:]
    if not (
        isinstance(service, str)
        and _is_seconds(at)
        and _is_text(nonce)
        and _is_text(health)
        and _is_text(probe)
        and _is_text(detail)
        and _is_text(cause)
        and _is_text(blocked)
        and (answered_at is None or _is_seconds(answered_at))
        and (seconds is None or _is_seconds(seconds))
        and _is_count(restarts)
        and _is_count(most)
        and _is_count(left)
        and (next_at is None or _is_seconds(next_at))
        and isinstance(failed, int)
        and (failed_until is None or _is_seconds(failed_until))
    ):
        return None
    return ServiceBeat(
        service=service,
        at=at,
        nonce=nonce,
        health=health if health in ("starting", "healthy", "unhealthy", "foreign", "unknown") else None,
        probe=probe,
        answered_at=answered_at,
        seconds=seconds,
        detail=detail,
        restarts=restarts,
        max_restarts=most,
        left=left,
        next_restart_at=next_at,
        failed=bool(failed),
        failed_until=failed_until,
        cause=cause,
        blocked=blocked,
    )


def _number(text: str) -> object:
    try:
        return float(text)
    except ValueError:
        return None


def _is_text(value: object) -> TypeGuard[str | None]:
    return value is None or (isinstance(value, str) and len(value) <= _LONGEST)


def _is_count(value: object) -> TypeGuard[int]:
    return isinstance(value, int) and 0 <= value < 2**31


def _is_seconds(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value) and 0 <= value < 2**40


def _bytes(text: str | None) -> bytes | None:
    """As SQLite takes it: it may hold what other programs wrote."""
    return None if text is None else text[:_LONGEST].encode("utf-8", "surrogateescape")
