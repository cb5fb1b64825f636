"""Our end of the guardian's pipe: what `up` begins is told before it begins."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterable
from pathlib import Path

from devtasks.model import Project
from devtasks.up import estate

_GUARDIAN = Path(__file__).with_name("guardian.py")
_FAREWELL_SECONDS = 1.0
_NOT_FOR_IT = ("DEVTASKS_ID", "DEVTASKS_RUNNER")


class Guardian:
    """A process that stops, when this one is killed, the runs that it was told of. For any thread.

    Raises OSError when no process can be started.
    """

    def __init__(self, project: Project) -> None:
        self._project = project
        self._runs: dict[str, str] = {}
        self._lock = threading.Lock()
        self._process = self._start()

    @property
    def pid(self) -> int:
        return self._process.pid

    def begins(self, service: str, nonce: str) -> None:
        """The service is about to be launched as the run `nonce`. A guardian that was killed is replaced."""
        with self._lock:
            self._runs[service] = nonce
            try:
                self._tell([f"run {service} {nonce}"])
            except OSError:
                self._let_go()
                self._process = self._start()
                self._tell(f"run {name} {known}" for name, known in self._runs.items())

    def dismiss(self) -> None:
        """All that it was told of is stopped: nothing is left for it to do."""
        with self._lock:
            with contextlib.suppress(OSError):
                self._tell(["bye"])
            self._let_go()

    def _start(self) -> subprocess.Popen[bytes]:
        environ = {name: value for name, value in os.environ.items() if name not in _NOT_FOR_IT}
        process = subprocess.Popen(
            [sys.executable, "-I", "-S", str(_GUARDIAN), self._project.name],
            bufsize=0,
            stdin=subprocess.PIPE,  # close-on-exec: nobody else gets our end
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**environ, "DEVTASKS_KEEP": "1"},  # whoever it descends from, it is no service's
            start_new_session=True,
            creationflags=getattr(subprocess, "DETACHED_PROCESS", 0)
            | getattr(subprocess, "CREATE_NEW_PROCESS_GROUP", 0),
        )
        self._process = process
        with contextlib.suppress(BrokenPipeError):  # it was killed at once: the first run finds that out
            self._tell([f"execute {json.dumps(_aftermath())}", f"estate {estate.written(self._project)}"])
        return process

    def _tell(self, lines: Iterable[str]) -> None:
        pipe = self._process.stdin
        if pipe is None or pipe.closed:
            raise BrokenPipeError
        rest = memoryview("".join(f"{line}\n" for line in lines).encode())
        while rest:
            rest = rest[pipe.write(rest) or 0 :]

    def _let_go(self) -> None:
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            self._process.wait(_FAREWELL_SECONDS)
        except subprocess.TimeoutExpired:
            self._process.returncode = 0  # nobody waits for it: it leaves by itself


def _aftermath() -> list[str]:
    """The command that stops what was left. It finds this package wherever we found it.

    -P: the folder that it works in has no say in what is imported.
    """
    here = [path for path in sys.path if path]
    lines = (
        f"import sys; sys.path += [path for path in {here!r} if path not in sys.path]",
        "from devtasks.up import aftermath",
        "aftermath.main()",
    )
    return [sys.executable, "-P", "-c", "; ".join(lines)]
