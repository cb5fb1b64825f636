"""`on_event`: a command of the user's that is told what happens. Nothing that it does, or fails to do, matters."""

from __future__ import annotations

import contextlib
import os
import queue
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Mapping

from devtasks.model import Project
from devtasks.monitoring.happening import Happening

_SECONDS = 10.0  # how long one call may take
_WAITING = 100  # events that wait for their turn; more are dropped, so that a slow hook never holds up the watch


class Hook:
    """Runs the command for one event after the other, in a thread of its own."""

    def __init__(self, project: Project) -> None:
        self._project = project
        self._events: queue.Queue[Happening | None] = queue.Queue(_WAITING)
        self._thread: threading.Thread | None = None

    def tell(self, event: Happening) -> None:
        """Have the command told. Returns at once."""
        if not self._project.on_event:
            return
        if self._thread is None:
            self._thread = threading.Thread(target=self._work, name="on_event", daemon=True)
            self._thread.start()
        with contextlib.suppress(queue.Full):
            self._events.put_nowait(event)

    def close(self, seconds: float = 1.0) -> None:
        """Let what is underway finish, for a moment."""
        if self._thread is not None:
            with contextlib.suppress(queue.Full):
                self._events.put_nowait(None)
            self._thread.join(seconds)

    def _work(self) -> None:
        while (event := self._events.get()) is not None:
            with contextlib.suppress(OSError, ValueError, subprocess.SubprocessError):
                run(self._project, event)


def run(project: Project, event: Happening, *, seconds: float = _SECONDS) -> int | None:
    """Call the command once; its exit code, or None when its time was over. Raises OSError when it cannot be run.

    It gets the event as DEVTASKS_EVENT* and as one line of JSON on standard input. DEVTASKS_KEEP=1 makes it, and
    what it leaves running, nobody's service.
    """
    import json

    program, *arguments = project.on_event
    env = environment(project, event, os.environ)
    found = shutil.which(program, path=env.get("PATH"))
    if os.path.dirname(program):
        found = os.path.join(project.root, program)
    if found is None:
        raise FileNotFoundError(program)
    process = subprocess.Popen(
        [found, *arguments],
        cwd=project.root,
        env=env,
        stdin=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )
    line = json.dumps(shape(project, event)) + "\n"
    try:
        process.communicate(line.encode(), timeout=seconds)
    except subprocess.TimeoutExpired:
        _kill(process)
        process.communicate()
        return None
    return process.returncode


def shape(project: Project, event: Happening) -> dict[str, object]:
    """The event as JSON (docs/monitor.md)."""
    return {
        "version": 1,
        "project": project.name,
        "event": event.kind,
        "service": event.service,
        "at": round(event.at, 3),
        "pid": event.pid,
        "exit_code": event.exit_code,
        "detail": event.detail,
        "report": list(event.report),
    }


def environment(project: Project, event: Happening, base: Mapping[str, str]) -> dict[str, str]:
    told = {
        "DEVTASKS_EVENT": event.kind,
        "DEVTASKS_EVENT_PROJECT": project.name,
        "DEVTASKS_EVENT_SERVICE": event.service,
        "DEVTASKS_EVENT_AT": f"{event.at:.3f}",
        "DEVTASKS_EVENT_PID": "" if event.pid is None else str(event.pid),
        "DEVTASKS_EVENT_EXIT_CODE": "" if event.exit_code is None else str(event.exit_code),
        "DEVTASKS_EVENT_DETAIL": event.detail.replace("\0", ""),
    }
    kept = {key: value for key, value in base.items() if not key.startswith("DEVTASKS_")}
    return {**kept, **told, "DEVTASKS_KEEP": "1"}


def _kill(process: subprocess.Popen[bytes]) -> None:
    """The command and its session: our own child, not waited for yet, so the number is still its own."""
    if sys.platform == "win32":
        process.kill()
        return
    with contextlib.suppress(ProcessLookupError):
        os.killpg(process.pid, signal.SIGKILL)
