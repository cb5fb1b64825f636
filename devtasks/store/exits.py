"""How runs ended, as their runners wrote it down: one file a run in `state_dir/exits`.

A file is named by the run's nonce and holds "PID STATUS EPOCH-SECONDS [OOM-KILLS]" and a newline; STATUS is the
exit code, or negative the signal. OOM-KILLS is there where the run's cgroup counts what the kernel killed.
"""

from __future__ import annotations

import contextlib
import os
import re
from collections.abc import Iterable
from pathlib import Path

from devtasks.model import Project
from devtasks.store import statedir
from devtasks.values import Value

_MAX_BYTES = 256
_AT_ONCE = 1000
_STATUSES = (-128, 2**32 - 1)  # signals; exit codes of any system
_NONCE = r"[0-9a-f]{16,32}"
_LINE = rb"([1-9][0-9]{0,9}) (-?[0-9]{1,10}) ([0-9]{1,12}(?:\.[0-9]{1,9})?)(?: ([0-9]{1,10}))?\n"


class Exit(Value):
    """The end of a run's main process. `status` is negative for a signal; `at` in seconds since the epoch.

    `oom_kills`: how many processes of the run the kernel had killed for want of memory. None: nobody counted.
    """

    nonce: str
    pid: int
    status: int
    at: float
    oom_kills: int | None = None


def folder(project: Project) -> Path:
    return project.state_dir / "exits"


def read(project: Project) -> tuple[Exit, ...]:
    """The exits that are there; at most 1,000 at once. What does not fit is left out. Never raises."""
    place = folder(project)
    try:
        if place.is_symlink():
            return ()
        names = sorted(name for name in os.listdir(place) if re.fullmatch(_NONCE, name))
    except OSError:
        return ()
    found = (_exit(place / name) for name in names[:_AT_ONCE])
    return tuple(one for one in found if one is not None)


def remove(project: Project, done: Iterable[Exit]) -> None:
    """Remove the files of `done`, whose content is kept elsewhere by now."""
    for one in done:
        with contextlib.suppress(OSError):
            os.unlink(folder(project) / one.nonce)


def _exit(path: Path) -> Exit | None:
    try:
        descriptor = statedir.open_nofollow(path, os.O_RDONLY)
    except OSError:
        return None
    try:
        content = os.read(descriptor, _MAX_BYTES + 1)
    except OSError:
        return None
    finally:
        os.close(descriptor)
    line = re.fullmatch(_LINE, content)
    if line is None or not _STATUSES[0] <= int(line[2]) <= _STATUSES[1]:
        return None
    kills = int(line[4]) if line[4] is not None else None
    return Exit(nonce=path.name, pid=int(line[1]), status=int(line[2]), at=float(line[3]), oom_kills=kills)
