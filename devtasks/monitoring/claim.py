"""One monitor a project: who watches holds a lock of the kernel's, which ends with its holder, however that ends.

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

RENEW_SECONDS = 5.0
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


class Claim:
    """Being the one who watches. Where the state folder is deleted meanwhile, `renew` claims it again."""

    def __init__(self, project: Project, pid: int, stack: contextlib.ExitStack) -> None:
        self._project = project
        self._pid = pid
        self._stack = stack
        self._take()

    def renew(self) -> bool:
        """Make sure that the claim still stands; False: somebody else watches by now."""
        if _inode(_lock(self._project)) == self._inode:
            return True
        try:
            statedir.ensure(self._project)
            self._take()
        except DevtasksError:
            return not is_watched(self._project)
        return True

    def _take(self) -> None:
        """Raises DevtasksError where somebody else has it."""
        self._stack.enter_context(locks.service_lock(_lock(self._project), timeout_seconds=0))
        self._inode = _inode(_lock(self._project))
        with contextlib.suppress(DevtasksError):  # a full disk: it watches all the same
            pidfile.write(pid_file(self._project), self._pid)


@contextlib.contextmanager
def claimed(project: Project, pid: int) -> Iterator[Claim | Occupant]:
    """Be the one who watches for the length of the block, or be told who is."""
    statedir.ensure(project)
    with contextlib.ExitStack() as stack:
        try:
            claim = Claim(project, pid, stack)
        except DevtasksError:
            found = occupant(project)
            if found is None:
                raise
            yield found
            return
        try:
            yield claim
        finally:
            reading = pidfile.read(pid_file(project), statedir.owners(project.root))
            if reading.pid == pid:
                pidfile.remove_if_unchanged(pid_file(project), reading)


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


def tidy(project: Project, *, logs_too: bool) -> None:
    """Remove what a monitor left that was killed, with `logs_too` its log as well; nothing while one watches."""
    if not is_watched(project):
        path = pid_file(project)
        pidfile.remove_if_unchanged(path, pidfile.read(path, statedir.owners(project.root)))
        if logs_too:
            with contextlib.suppress(OSError):
                log_file(project).unlink()


def _lock(project: Project) -> Path:
    # no service's lock is called that: their names begin with a letter
    return project.state_dir / "-watching.lock"


def _inode(path: Path) -> int | None:
    try:
        return path.lstat().st_ino
    except OSError:
        return None
