"""The files of a log, and which of them are old."""

from __future__ import annotations

import os
import stat
import time
from pathlib import Path

from devtasks.model import Project, Service
from devtasks.store.logs.logfile import rotated
from devtasks.store.logs.rotation import KEPT


def files(service: Service) -> tuple[Path, ...]:
    """The log files of a service that exist as regular files: the present one first, then by age."""
    names = (service.log_file, *(rotated(service.log_file, number) for number in range(KEPT + 1)))
    return tuple(path for path in names if modified(path) is not None)


def stale_logs(project: Project, older_than_days: float, *, now: float | None = None) -> tuple[Path, ...]:
    """The project's log files, rotated or not, that were last written more than `older_than_days` ago.

    Only names that the configuration gives, only regular files. A service that still runs and is silent is
    among them: the caller leaves out the present log of what runs.
    """
    limit = (time.time() if now is None else now) - older_than_days * 86_400
    return tuple(
        path
        for service in project.services
        for path in files(service)
        if (written := modified(path)) is not None and written < limit
    )


def modified(path: Path) -> float | None:
    """When a regular file was last written, in seconds since the epoch; None where there is none."""
    try:
        status = os.lstat(path)
    except (OSError, ValueError):
        return None
    return status.st_mtime if stat.S_ISREG(status.st_mode) else None
