"""The monitor in the background: a process of the project's like any other, known by its marker.

So `stop` and `force-clean` of everything end it, `show-processes` shows it and `clean` names it; a stop of single
services leaves it watching.
"""

from __future__ import annotations

import os
import secrets
import subprocess
import sys
from collections.abc import Mapping

from devtasks.errors import DevtasksError
from devtasks.model import Service
from devtasks.monitoring import claim
from devtasks.outcomes import MonitorReport
from devtasks.ownership import make_marker
from devtasks.stopping import Stopper
from devtasks.store import logs
from devtasks.verbs import Scope

_BEGIN_SECONDS = 20.0  # how long it may take to watch, on a machine that is very busy
_LOOK_SECONDS = 0.01
_LOG_LINES = 5
_DROPPED = ("DEVTASKS_ID", "DEVTASKS_KEEP", "DEVTASKS_RUNNER")


def start(
    scope: Scope, names: tuple[str, ...], services: tuple[Service, ...], environ: Mapping[str, str]
) -> MonitorReport:
    """Have a process of its own watch; returns when it does. Raises DevtasksError when it does not."""
    project = scope.project
    scope.remember()
    log = logs.open_log(claim.log_file(project))
    marker = make_marker(project, claim.name(project), secrets.token_hex(8))
    env = {key: value for key, value in environ.items() if key not in _DROPPED}
    only = [part for name in names for part in ("--only", name)]
    try:
        process = subprocess.Popen(
            [sys.executable, "-m", "devtasks.monitoring", str(project.root), *only],
            cwd=project.root,
            env={**env, **_importable(env), "DEVTASKS_ID": marker, "PYTHONUNBUFFERED": "1"},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
        )
    finally:
        os.close(log)
    deadline = scope.world.monotonic() + _BEGIN_SECONDS
    while scope.world.monotonic() < deadline:
        there = claim.occupant(project)
        if there is not None and there.pid is not None:
            if there.pid == process.pid:
                process.returncode = 0  # it outlives this command, and that is no mistake
            else:
                process.wait()  # another one was quicker: it says so and leaves
            return MonitorReport(
                state="started" if there.pid == process.pid else "watching",
                pid=there.pid,
                since=scope.world.now(),
                services=tuple(one.name for one in services),
                log_file=str(claim.log_file(project)),
            )
        if process.poll() is not None and claim.occupant(project) is None:
            break
        scope.world.sleep(_LOOK_SECONDS)
    process.returncode = process.returncode or 0
    tail = "; ".join(logs.tail(claim.log_file(project), _LOG_LINES))
    raise DevtasksError(f"the monitor does not watch: {tail}", hint=f"see {claim.log_file(project)}")


def stop(scope: Scope, *, dry_run: bool) -> MonitorReport:
    """End the monitor that was started in the background. Services go on."""
    project, name = scope.project, claim.name(scope.project)
    seen = scope.observer.observe()
    there = claim.occupant(project)
    if not seen.of(name):
        if there is None:
            return MonitorReport(state="not-watching", pid=None, since=None)
        raise DevtasksError(
            f"PID {there.pid} watches in the foreground: it was not started with --detach",
            hint="end it in its terminal, with Ctrl-C",
        )
    pid = there.pid if there is not None else None
    if dry_run:
        return MonitorReport(state="stopped", pid=pid, since=None, dry_run=True)
    ended = Stopper(scope.observer, seen).stop([name])
    if ended.interrupted is not None:
        raise ended.interrupted
    survivors = ended.endings[name].survivors
    if survivors:
        raise DevtasksError(f"the monitor, PID {survivors[0].pid}, did not end: {survivors[0].reason}")
    return MonitorReport(state="stopped", pid=pid, since=None)


def _importable(env: Mapping[str, str]) -> dict[str, str]:
    """Where this package is, for a Python that is started in another folder."""
    from pathlib import Path

    import devtasks

    above = str(Path(devtasks.__file__).parents[1])
    known = [part for part in env.get("PYTHONPATH", "").split(os.pathsep) if part]
    if "site-packages" in above or above in known:
        return {}
    return {"PYTHONPATH": os.pathsep.join([above, *known])}
