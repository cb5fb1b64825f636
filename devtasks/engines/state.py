"""What an engine says about a container, checked. Pure: what it prints is read like any stranger's words."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from datetime import datetime
from typing import Any, Literal, NamedTuple

from devtasks.model import Service
from devtasks.outcomes import State
from devtasks.values import Value

NAME = r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}"
_ID = r"[0-9a-f]{12,64}"
_HEALTH: Mapping[str, Literal["healthy", "unhealthy", "starting"]] = {
    "healthy": "healthy",
    "unhealthy": "unhealthy",
    "starting": "starting",
}
# Of docker, and of podman: configured, initialized, stopped, stopping, too.
_STATES: Mapping[str, State] = {
    "running": "running",
    "paused": "unhealthy",
    "restarting": "starting",
    "removing": "stopped",
    "stopping": "running",
    "created": "stopped",
    "configured": "stopped",
    "initialized": "stopped",
    "exited": "stopped",
    "stopped": "stopped",
    "dead": "failed",
}


class Container(Value):
    """One container, as `inspect` tells it."""

    id: str
    name: str
    state: State
    word: str  # the engine's own for the state
    health: (
        Literal["healthy", "unhealthy", "starting"] | None
    )  # healthy, unhealthy, starting; None without a health check
    started_at: float | None  # seconds since the epoch
    exit_code: int | None
    restarts: int
    ports: tuple[int, ...]  # of this machine, that it publishes

    @property
    def running(self) -> bool:
        return self.word in ("running", "paused", "restarting", "stopping")


class Row(NamedTuple):
    """One process of a container, with its number outside, as far as the engine tells."""

    pid: int
    ppid: int
    command: str


def containers(text: str) -> tuple[Container, ...] | None:
    """What `inspect` printed; None when it is nothing that an engine prints."""
    try:
        listed = json.loads(text)
        return tuple(_container(one) for one in listed) if isinstance(listed, list) else None
    except (ValueError, RecursionError, TypeError, KeyError, AttributeError):
        return None


def _container(one: Mapping[str, Any]) -> Container:
    """Raises ValueError, TypeError, KeyError or AttributeError for what is none."""
    state = one["State"]
    word = str(state["Status"]).lower()
    name = str(one["Name"]).removeprefix("/")
    if not re.fullmatch(_ID, one["Id"]) or not re.fullmatch(NAME, name) or word not in _STATES:
        raise ValueError(name)
    health = state.get("Health") or state.get("Healthcheck") or {}
    status = _HEALTH.get(str(health.get("Status") or "").lower())
    kind = _STATES[word]
    if kind == "running" and status == "unhealthy":
        kind = "unhealthy"
    if kind == "running" and status == "starting":
        kind = "starting"
    code, restarts = state.get("ExitCode"), one.get("RestartCount")
    published = (one.get("NetworkSettings") or {}).get("Ports") or {}
    return Container(
        id=one["Id"],
        name=name,
        state=kind,
        word=word,
        health=status,
        started_at=_moment(state.get("StartedAt")),
        exit_code=code if isinstance(code, int) else None,
        restarts=restarts if isinstance(restarts, int) and 0 <= restarts < 10**9 else 0,
        ports=tuple(sorted(_ports(published))),
    )


def _ports(published: Mapping[str, Any]) -> set[int]:
    found = set()
    for inside, places in published.items():
        for place in places or () if str(inside).endswith("/tcp") else ():
            text = str(place["HostPort"])
            if re.fullmatch(r"[0-9]{1,5}", text, re.ASCII) and 0 < int(text) < 65536:
                found.add(int(text))
    return found


def _moment(text: object) -> float | None:
    """Go writes nanoseconds, and the year 1 for never."""
    if not isinstance(text, str):
        return None
    short = re.sub(r"(\.\d{1,6})\d*", r"\1", text[:64])
    try:
        moment = datetime.fromisoformat(short)
    except ValueError:
        return None
    return moment.timestamp() if moment.year > 1970 and moment.tzinfo is not None else None


def ids(text: str) -> tuple[str, ...] | None:
    """The containers that `compose ps --quiet` names; None when a line is no container's number."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    return tuple(lines) if all(re.fullmatch(_ID, line) for line in lines) else None


def rows(text: str, columns: int) -> tuple[Row, ...]:
    """The processes that `top` lists, as PID, PPID (then, of podman, PID outside) and command below a heading.

    Lines that are none are left out.
    """
    found: list[tuple[int, int, int, str]] = []
    for line in text.splitlines()[1:]:
        fields = line.split(None, columns - 1)
        if len(fields) == columns and all(re.fullmatch(r"[0-9]{1,9}", one, re.ASCII) for one in fields[:-1]):
            numbers = [int(one) for one in fields[:-1]]
            found.append((numbers[0], numbers[1], numbers[-1] if columns > 3 else numbers[0], fields[-1]))
    outside = {inside: number for inside, _, number, _ in found}
    return tuple(Row(number, outside.get(parent, 0), command.strip()) for _, parent, number, command in found)


def told(service: Service) -> str:
    """What a service's container is called, for people."""
    return f"container {service.container}" if service.container else f"compose service {service.compose}"
