"""What forbids to end the holders of a port, in lines for people, the remedy among them. Pure."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from typing import NamedTuple

from devtasks.model import Match, Process, Project, Service
from devtasks.observing import Observation
from devtasks.outcomes import PortRow
from devtasks.ports.freeing import steps
from devtasks.ports.verdict import is_proxy


class Held(NamedTuple):
    """One port that this process is to bind, and its holders."""

    port: int
    service: Service | None  # that the port is meant for; None: there is no project
    row: PortRow
    ours: tuple[Process, ...]
    strangers: tuple[Process, ...]
    services: frozenset[str]  # that the holders which are ours belong to

    @property
    def everybody(self) -> tuple[Process, ...]:
        return (*self.ours, *self.strangers)


def held(project: Project, seen: Observation, row: PortRow, holders: Iterable[Process]) -> Held:
    """Sort the holders of a port by whose they are."""
    rows = tuple(holders)
    verdicts = {one.pid: verdict for one in rows if isinstance(verdict := seen.judge.verdict(one.pid), Match)}
    return Held(
        port=row.port,
        service=next((one for one in project.services if row.port in one.ports), None),
        row=row,
        ours=tuple(one for one in rows if one.pid in verdicts),
        strangers=tuple(one for one in rows if one.pid not in verdicts),
        services=frozenset(verdict.service for verdict in verdicts.values()),
    )


def objection(
    project: Project, seen: Observation, held: Held, *, force: bool, forbidden: bool, fresh: Process | None
) -> tuple[str, ...]:
    """Why nothing may be ended for this port; empty: it may.

    `forbidden`: this user may not bind the port at all. `fresh`: the holder that has only just begun.
    """
    port, row = held.port, held.row
    if row.state == "free":
        if forbidden:
            return (f"this user may not bind it; choose a port from 1024 on, or run: {_allow_low_ports()}",)
        return (
            *(row.warnings or ("it cannot be bound, and nobody listens on it",)),
            "wait, or choose another port",
        )
    if project.production:
        return ("in production nothing is signalled; to solve it:", *steps(row))
    if any(holder.pid is None for holder in row.holders):
        remedy = f"run: sudo devtasks free-port --port {port}; or choose another port"
        return ("only another user, or root, may stop that process", remedy)
    if any(is_proxy(one) for one in held.strangers):
        stop = next((holder.stop for holder in row.holders if holder.stop), "docker ps")
        return (f"it is held for a container, which is left alone; to stop it: {stop}",)
    if fresh is not None:
        return (f"PID {fresh.pid} was started at the same time and was first: it is no leftover",)
    others = (held.services & {one.name for one in project.services}) - {held.service.name if held.service else ""}
    if others:
        name = min(others)
        return (f"it is service {name} of this project, not a leftover; to stop it: devtasks stop {name}",)
    if held.strangers and not force:
        return ("that is not this project's, so it is left alone: stop it, choose another port, or force=True",)
    never = next((one for one in held.strangers if seen.judge.facts.never(one)), None)
    if never is not None:
        return (f"PID {never.pid} started this process, or is the system's: it is left alone",)
    return ()


def _allow_low_ports() -> str:
    return f"sudo setcap cap_net_bind_service=+ep {os.path.realpath(sys.executable)}"


__all__ = ["Held", "held", "objection"]
