"""Instances of one service, next to each other in every report, as the group that they are in text."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from itertools import groupby
from typing import Protocol, TypeVar

from devtasks import outcomes
from devtasks.planning import group_of
from devtasks.values import replace


class _Named(Protocol):
    @property
    def name(self) -> str: ...


T = TypeVar("T", bound=_Named)
_Number = TypeVar("_Number", int, float)


def grouped(rows: Iterable[T]) -> list[tuple[str, list[T]]]:
    """The rows by service, in their order."""
    return [(group, list(found)) for group, found in groupby(rows, lambda row: group_of(row.name))]


def summary(group: str, rows: Sequence[outcomes.ServiceStatus]) -> outcomes.ServiceStatus:
    """One row for all instances: sums, and what they have in common; as for the state, what is amiss first."""
    amiss = next((row for row in rows if row.state != "running"), rows[0])
    healths = {row.health for row in rows}
    return replace(
        rows[0],
        name=group,
        state=amiss.state,
        health=rows[0].health if len(healths) == 1 else None,
        pid=None,
        ports=tuple(port for row in rows for port in row.ports),
        uptime_seconds=None,
        restarts=sum(row.restarts for row in rows),
        cpu_percent=_sum(row.cpu_percent for row in rows),
        rss_bytes=_sum(row.rss_bytes for row in rows),
        processes=sum(row.processes for row in rows),
        holder=None,
        detail=None,
    )


def share(values: Sequence[str], wanted: str) -> str:
    """What all have in common, or how many have what is wanted: "2/3 running"."""
    if len(set(values)) == 1:
        return values[0]
    return f"{list(values).count(wanted)}/{len(values)} {wanted}"


def _sum(values: Iterable[_Number | None]) -> _Number | None:
    known = [value for value in values if value is not None]
    return sum(known) if known else None
