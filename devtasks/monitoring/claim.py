"""One monitor a project: who watches holds a lock of the kernel's, so that it ends with the monitor however that does.

The PID file beside it is for people and for `kill`; nothing is decided by it.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator
from pathlib import Path

from devtasks.errors import DevtasksError
from devtasks.model import Project, Service
from devtasks.store import locks, pidfile, statedir
from devtasks.values import Value

_LAUNCH_SECONDS = 1.0  # how long a stop waits for a launch that has begun, before it looks for what was launched


class Occupant(Value):
    """Who watches already, as far as can be told."""

    pid: int | None


def name(project: Project) -> str:
    """What the monitor is called among the services: its marker, its PID file and its log."""
    taken = {one for service in project.services if service.command for one in (service.name, service.group)}
    called = "monitor"
    while called in taken:
        called = f"devtasks-{called}"
    return called


def pid_file(project: Project) -> Path:
    return project.state_dir / f"{name(project)}.pid"


def log_file(project: Project) -> Path:
    return project.state_dir / f"{name(project)}.log"


def is_watched(project: Project) -> bool:
    """Whether a monitor (or `up`) watches this project now."""
    return locks.is_held(_lock(project))


def occupant(project: Project) -> Occupant | None:
    """Who watches; None: nobody."""
    if not is_watched(project):
        return None
    return Occupant(pid=pidfile.read(pid_file(project), statedir.owners(project.root)).pid)


@contextlib.contextmanager
def claimed(project: Project, pid: int) -> Iterator[Occupant | None]:
    """Be the monitor for the length of the block; gives an Occupant, and claims nothing, where somebody else is."""
    statedir.ensure(project)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.service_lock(_lock(project), timeout_seconds=0))
        except DevtasksError:
            found = occupant(project)
            if found is None:
                raise
            yield found
            return
        path = pid_file(project)
        with contextlib.suppress(DevtasksError):  # a full disk: it watches all the same
            pidfile.write(path, pid)
        try:
            yield None
        finally:
            reading = pidfile.read(path, statedir.owners(project.root))
            if reading.pid == pid:
                pidfile.remove_if_unchanged(path, reading)


def let_launches_finish(project: Project, services: Iterable[Service]) -> None:
    """Wait until no launch of the services is half done, so that a look finds what was launched.

    A launch that takes longer (its `before` commands run) is not waited for: those are ended with the service.
    """
    for service in services:
        with (
            contextlib.suppress(DevtasksError),
            locks.service_lock(locks.path(project, service), timeout_seconds=_LAUNCH_SECONDS),
        ):
            pass


def _lock(project: Project) -> Path:
    # no service's lock is called that: their names begin with a letter
    return project.state_dir / "-watching.lock"
