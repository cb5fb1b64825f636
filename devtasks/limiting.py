"""The limits of a service: which the runner sets, which take a cgroup, and what is said of those that do not hold.

Memory is never limited by RLIMIT_AS: it counts what is reserved, of which node, the JVM and Go take gigabytes
without using them.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

from devtasks.model import Limits


def resources(limits: Limits) -> tuple[tuple[str, int], ...]:
    """The resource limits that are asked for, by name."""
    asked = (("nofile", limits.nofile), ("nproc", limits.nproc))
    return tuple((name, value) for name, value in asked if value is not None)


def controllers(limits: Limits) -> tuple[str, ...]:
    """The cgroup controllers that are needed."""
    asked = (("memory", limits.memory_bytes), ("cpu", limits.cpu))
    return tuple(name for name, value in asked if value is not None)


def objection(
    limits: Limits, *, lowered: Mapping[str, int] | None, controlled: Collection[str], root: bool
) -> str | None:
    """One line about the limits that do not hold as asked, or None.

    `lowered`: those that ended below what was asked, with what they are; None: no resource limit could be set.
    `controlled`: the controllers that hold. `root`: whether the service runs as root.
    """
    parts: list[str] = []
    for name, value in resources(limits):
        if lowered is None:
            parts.append(f"{name} cannot be limited on this system")
        elif name in lowered:
            parts.append(f"{name} is {lowered[name]}, not {value}: the hard limit here, which we may not raise")
        elif name == "nproc" and root:
            parts.append("nproc does not count for root")
    missing = [name for name in controllers(limits) if name not in controlled]
    if missing:
        parts.append(f"{' and '.join(missing)} cannot be limited: there is no cgroup for us with that here")
    return f"limits: {'; '.join(parts)}" if parts else None
