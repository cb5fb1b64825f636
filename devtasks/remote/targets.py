"""Which hosts are meant: groups of the table, or hosts themselves, as `--hosts` names them. Pure."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from devtasks.config.hosts import remote_host
from devtasks.config.section import fits
from devtasks.errors import UsageError
from devtasks.model import HostGroup, Project
from devtasks.values import Value, replace

MOST = 1000  # hosts in one call: each has a thread


class Target(Value):
    """One host, and how devtasks is called for the project there. `name` tells it from every other target."""

    name: str
    host: str  # [USER@]HOST[:PORT]
    group: str | None
    path: str  # of the project; a relative one starts at the login's home
    command: tuple[str, ...]


def chosen(spec: str, project: Project, *, home: Path) -> tuple[Target, ...]:
    """The hosts that `spec` names, with commas between them: each a group of `project`, or else a host.

    A host that is meant twice is one target. Raises UsageError when none is named, or one that cannot be any.
    """
    groups = {group.name: group for group in project.hosts}
    found: dict[tuple[str, str, tuple[str, ...]], Target] = {}
    for item in filter(None, (part.strip() for part in spec.split(","))):
        group = groups.get(item)
        if group is None and not fits(remote_host, item):
            raise UsageError(
                f"--hosts: {item[:80]!r} is neither a group of hosts nor [USER@]HOST[:PORT]",
                hint=f"groups: {', '.join(groups)}" if groups else "docs/hosts.md tells how to name groups",
            )
        for target in _of_group(group, project, home) if group else [_alone(item, project, home)]:
            found.setdefault((target.host, target.path, target.command), target)
    if not found:
        raise UsageError("--hosts names no host", hint=_listed(project.hosts))
    if len(found) > MOST:
        raise UsageError(f"--hosts names {len(found)} hosts, and {MOST} is the most")
    return tuple(_told_apart(found.values()))


def here(project: Project, home: Path) -> str:
    """The folder of the project on a host that says nothing else: the same as here.

    Below the home folder it is counted from there.
    """
    if project.root != home and project.root.is_relative_to(home):
        return str(project.root.relative_to(home))
    return str(project.root)


def _of_group(group: HostGroup, project: Project, home: Path) -> Iterable[Target]:
    path = here(project, home) if group.path is None else group.path
    for host in group.hosts:
        yield Target(name=host, host=host, group=group.name, path=path, command=group.command)


def _alone(host: str, project: Project, home: Path) -> Target:
    """A host that is named itself; one of a group's is called as it is there."""
    for group in project.hosts:
        if host in group.hosts:
            return next(target for target in _of_group(group, project, home) if target.host == host)
    return Target(name=host, host=host, group=None, path=here(project, home), command=("devtasks",))


def _told_apart(targets: Iterable[Target]) -> Iterable[Target]:
    """A host that has the project twice is called after its groups."""
    listed = list(targets)
    often = Counter(target.name for target in listed)
    for target in listed:
        yield target if often[target.name] == 1 else replace(target, name=f"{target.name} ({target.group})")


def _listed(groups: tuple[HostGroup, ...]) -> str:
    if groups:
        return f"groups: {', '.join(group.name for group in groups)}"
    return 'name hosts, as in --hosts web1,web2, or groups in [tool.devtasks.hosts]: web = ["web1", "web2"]'
