"""In which order services start and stop, and what is made for a run: pure."""

from __future__ import annotations

from collections.abc import Iterable

from devtasks.model import Match, Process, Project, Service


def cgroup_prefix(project: Project, service: str) -> str:
    """How the names of the cgroups of a service's runs begin; the run's nonce follows."""
    return f"devtasks-{project.digest[:8]}-{service}-"


def group_of(name: str) -> str:
    """The service whose instance `name` is, itself where it is none: no service's own name has a dot."""
    group, dot, _ = name.rpartition(".")
    return group if dot else name


def levels(services: Iterable[Service]) -> tuple[tuple[Service, ...], ...]:
    """The services in groups, dependencies first: what is in one group may start at the same time.

    Dependencies that are not among `services` do not count. Cycles were refused with the configuration.
    """
    waiting = list(services)
    groups: list[tuple[Service, ...]] = []
    while waiting:
        names = {service.group for service in waiting}
        ready = tuple(service for service in waiting if not names & set(service.depends_on)) or tuple(waiting)
        groups.append(ready)
        waiting = [service for service in waiting if service not in ready]
    return tuple(groups)


def with_dependencies(chosen: Iterable[Service], everything: Iterable[Service]) -> tuple[Service, ...]:
    """The chosen services and all they depend on, in the order of `everything`."""
    known, picked = tuple(everything), tuple(chosen)
    wanted = {service.group for service in picked}
    names = {service.name for service in picked}
    while True:
        needed = {name for service in known if service.group in wanted for name in service.depends_on} - wanted
        if not needed:
            break
        wanted |= needed
        names |= {service.name for service in known if service.group in needed}
    return tuple(service for service in known if service.name in names)


def roots(matches: Iterable[Match]) -> tuple[Process, ...]:
    """Those of the processes whose parent is none of them: who is asked first to end.

    A parent is never younger than its child. Where each names another as its parent, as rows that were read at
    different times may, it is all of them.
    """
    rows = [match.process for match in matches]
    starts = {row.pid: row.start for row in rows}
    found = tuple(row for row in rows if starts.get(row.ppid, row.start + 1) > row.start)
    return found or tuple(rows)
