"""One dashboard a project: who serves it holds a lock of the kernel's, and says in a file where."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator
from pathlib import Path

from devtasks.dashboard.address import Address
from devtasks.errors import DevtasksError
from devtasks.model import Project
from devtasks.store import locks, statedir
from devtasks.values import Value

_PATIENCE_SECONDS = 1.0  # another command may try the lock for a moment


class Served(Value):
    """Where the dashboard is, as its server wrote it."""

    pid: int
    base: str
    uds: str | None


def name(project: Project) -> str:
    """What the dashboard is called among the services: its marker, its PID file and its log."""
    taken = {one for service in project.services if service.command for one in (service.name, service.group)}
    called = "dashboard"
    while called in taken:
        called = f"devtasks-{called}"
    return called


@contextlib.contextmanager
def claimed(project: Project) -> Iterator[None]:
    """Be the dashboard for the length of the block. Raises DevtasksError when there is another one."""
    statedir.ensure(project)
    with contextlib.ExitStack() as stack:
        try:
            stack.enter_context(locks.service_lock(_lock(project), timeout_seconds=_PATIENCE_SECONDS))
        except DevtasksError:
            raise DevtasksError("the dashboard runs already", hint="devtasks dashboard says where") from None
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                os.unlink(_file(project))


def tell(project: Project, where: Address) -> None:
    """Say where it is. Raises DevtasksError where that cannot be written."""
    path = _file(project)
    told = {"pid": os.getpid(), "base": where.base, "uds": None if where.uds is None else str(where.uds)}
    new = path.with_name(f"{path.name}.new")
    try:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(new)
        descriptor = statedir.open_nofollow(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        try:
            os.write(descriptor, json.dumps(told).encode())
        finally:
            os.close(descriptor)
        os.replace(new, path)
    except OSError as error:
        raise statedir.failure("cannot be written", path, error) from None


def served(project: Project) -> Served | None:
    """Where the dashboard is; None when nobody serves it, or it has not said so yet."""
    if not os.path.lexists(_lock(project)):
        return None
    try:
        with locks.service_lock(_lock(project), timeout_seconds=0):
            return None
    except DevtasksError:
        return _read(_file(project))


def _read(path: Path) -> Served | None:
    try:
        descriptor = statedir.open_nofollow(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        told = json.loads(os.read(descriptor, 4096))
        pid, base, uds = told["pid"], told["base"], told["uds"]
    except (OSError, ValueError, TypeError, KeyError):
        return None
    finally:
        os.close(descriptor)
    if isinstance(pid, int) and isinstance(base, str) and isinstance(uds, str | None):
        return Served(pid=pid, base=base, uds=uds)
    return None


def _lock(project: Project) -> Path:
    return project.state_dir / "_dashboard.lock"  # no service can be called so


def _file(project: Project) -> Path:
    return project.state_dir / "dashboard.json"
