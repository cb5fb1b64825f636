"""What happened, as the state remembers it: one row an event. Rows are checked like any input."""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, Literal

from devtasks.model import Run
from devtasks.phrases import the_end
from devtasks.store.database import Statement
from devtasks.store.registered import RegisteredChild
from devtasks.values import Value

Kind = Literal[
    "start", "ready", "exit", "stop", "kill", "restart", "failure", "refused",
    "unhealthy", "healthy", "foreign", "monitor",
]  # fmt: skip

LONGEST_DETAIL: Final = 1000  # characters
_LONGEST_NAME: Final = 100
_PID_LIMIT: Final = 2**32 - 1  # of any system
_BOUND: Final = "DELETE FROM events WHERE id <= (SELECT max(id) FROM events) - ?"
_INSERT: Final = "INSERT INTO events (at, service, kind, pid, detail) VALUES (?, ?, ?, ?, CAST(? AS TEXT))"
_INSERT_EXIT: Final = """INSERT INTO events (at, service, kind, pid, detail)
    SELECT ?, service, 'exit', coalesce(pid, ?), CAST(? AS TEXT) FROM runs
    WHERE nonce = ? AND coalesce(pid, ?) IS NOT NULL AND (? IS NULL OR pid IS NULL OR pid = ?)
    AND ended_at IS NULL"""  # the end of a run that is not over yet: of all who notice it one tells it
_INSERT_CHILD_EXIT: Final = """INSERT INTO events (at, service, kind, pid, detail)
    SELECT ?, service, 'exit', pid, CAST(? AS TEXT) FROM children
    WHERE boot = ? AND namespace = ? AND pid = ? AND start = ? AND ended_at IS NULL"""
SELECT: Final = (
    "SELECT id, at, substr(service, 1, 101), substr(kind, 1, 101), pid, substr(detail, 1, 1000) FROM events"
)


class Event(Value):
    """One thing that happened to a service. `detail` is a line for people."""

    service: str  # also "port N", of what held a port and is nobody's service
    kind: str  # a Kind, unless a later version of us wrote it
    at: float  # seconds since the epoch; kept to the millisecond, as JSON shows it
    pid: int | None = None
    detail: str | None = None
    number: int = 0  # in the order of writing; 0: not written yet


def insertion(events: Iterable[Event], kept: int) -> Iterator[Statement]:
    """The statements that keep `events`, and no more than `kept` in all."""
    for one in events:
        yield _INSERT, (round(one.at, 3), one.service[:_LONGEST_NAME], one.kind, one.pid, _detail(one.detail))
    yield _BOUND, (kept,)


def exit_insertion(
    nonce: str, run: Run | None, at: float, code: int | None, cause: str, *, main: int | None, kept: int
) -> tuple[Statement, ...]:
    """The statements that tell a run's end, unless it is known already, or `main` was not its main process."""
    lived = max(0.0, at - run.started_at) if run is not None else None
    stopping = run is not None and run.cause == "stopping"
    detail = _detail(the_end(code, "stopped" if stopping else cause, lived))
    return (_INSERT_EXIT, (round(at, 3), main, detail, nonce, main, main, main)), (_BOUND, (kept,))


def child_exit_insertion(
    one: RegisteredChild, at: float, code: int | None, cause: str, kept: int
) -> tuple[Statement, ...]:
    """The same for a child that a service had registered."""
    detail = _detail(f"its child {one.name} {the_end(code, cause, max(0.0, at - one.started_at))}")
    return (_INSERT_CHILD_EXIT, (round(at, 3), detail, *one.child)), (_BOUND, (kept,))


def event_of(row: Sequence[object]) -> Event | None:
    """A row of SELECT as an event; None if any value of it cannot be what we wrote."""
    number, at, service, kind, pid, detail = row
    if not (
        isinstance(number, int)
        and isinstance(at, int | float)
        and math.isfinite(at)
        and 0 <= at < 2**40
        and isinstance(service, str)
        and isinstance(kind, str)
        and 0 < len(kind) <= _LONGEST_NAME
        and len(service) <= _LONGEST_NAME
        and (pid is None or (isinstance(pid, int) and 1 <= pid <= _PID_LIMIT))
        and (detail is None or isinstance(detail, str))
    ):
        return None
    return Event(service=service, kind=kind, at=float(at), pid=pid, detail=detail, number=number)


def _detail(text: str | None) -> bytes | None:
    """One line of bounded length, as SQLite takes it: it may hold bytes that are no text."""
    if text is None:
        return None
    line = " ".join(text.split("\n"))
    if len(line) > LONGEST_DETAIL:
        line = f"{line[: LONGEST_DETAIL - 1]}…"
    return line.encode("utf-8", "surrogateescape")
