"""What a service opened while it ran, as the state remembers it: ports and child processes. Rows are checked."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Final, TypeGuard

from devtasks.model import Identity
from devtasks.values import Value

_PID_LIMIT: Final = 2**32 - 1  # of any system


class RegisteredPort(Value):
    """A port opened at run time. Whether its owner still lives is the process table's to say."""

    service: str  # the service that the owner belongs to
    name: str  # what the owner calls it: "proxy-a"
    port: int
    owner: Identity
    registered_at: float  # seconds since the epoch
    beat_at: float | None = None  # the owner's last heartbeat


class RegisteredChild(Value):
    """A child process started at run time. An unknown exit code with `ended_at`: nobody waited for it."""

    service: str
    name: str
    child: Identity
    parent: Identity
    started_at: float
    ended_at: float | None = None
    exit_code: int | None = None
    cause: str | None = None  # stopped, exited, gone, reboot


def port_of(row: Sequence[object]) -> RegisteredPort | None:
    """A row as a port; None if any value of it cannot be what we wrote."""
    service, name, port, boot, namespace, pid, start, registered_at, beat_at = row
    owner = _identity(boot, namespace, pid, start)
    if not (
        owner is not None
        and isinstance(service, str)
        and isinstance(name, str)
        and _is_number(port, 1, 65535)
        and _is_seconds(registered_at)
        and (beat_at is None or _is_seconds(beat_at))
    ):
        return None
    return RegisteredPort(
        service=service, name=name, port=port, owner=owner, registered_at=registered_at, beat_at=beat_at
    )


def child_of(row: Sequence[object]) -> RegisteredChild | None:
    """A row as a child; None if any value of it cannot be what we wrote."""
    service, name, boot, namespace, pid, start, parent_pid, parent_start, started_at = row[:9]
    ended_at, exit_code, cause = row[9:]
    child = _identity(boot, namespace, pid, start)
    parent = _identity(boot, namespace, parent_pid, parent_start)
    if not (
        child is not None
        and parent is not None
        and isinstance(service, str)
        and isinstance(name, str)
        and _is_seconds(started_at)
        and (ended_at is None or _is_seconds(ended_at))
        and (exit_code is None or _is_number(exit_code, -(2**32), 2**32))
        and (cause is None or isinstance(cause, str))
    ):
        return None
    return RegisteredChild(
        service=service,
        name=name,
        child=child,
        parent=parent,
        started_at=started_at,
        ended_at=ended_at,
        exit_code=exit_code,
        cause=cause,
    )


def _identity(boot: object, namespace: object, pid: object, start: object) -> Identity | None:
    if not (
        isinstance(boot, str)
        and isinstance(namespace, int)
        and _is_number(pid, 2, _PID_LIMIT)
        and _is_number(start, 0, 2**63)
    ):
        return None
    return Identity(boot, namespace, pid, start)


def _is_number(value: object, least: int, most: int) -> TypeGuard[int]:
    return isinstance(value, int) and least <= value <= most


def _is_seconds(value: object) -> TypeGuard[float]:
    return isinstance(value, int | float) and math.isfinite(value) and value >= 0
