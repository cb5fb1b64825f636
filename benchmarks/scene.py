"""Where it is measured: a temporary folder with projects, and what runs there. Nothing of it is left behind."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Self

from benchmarks.timing import timed
from devtasks import verbs
from devtasks.config import loading

# What changes how Python, Invoke, devtasks or its output work.
AMBIENT = ("PYTHON", "DEVTASKS_", "INVOKE_", "INV_", "GITHUB_", "GITLAB_", "FORCE_COLOR", "ENVIRONMENT")
COMMAND_SECONDS = 120
ENDING = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)

NO_OP = '''from invoke.tasks import task


@task
def nothing(_c):
    """Do nothing."""
'''
SERVICE = """
[tool.devtasks.services.{name}]
command = {command}
port = {port}
"""


class BenchmarkFailed(Exception):
    """Something did not run as it should: one line for people."""


class Scene:
    """A folder, an environment and the commands of this interpreter's own environment."""

    def __init__(self) -> None:
        self.folder = Path(tempfile.mkdtemp(prefix="devtasks-benchmark-")).resolve()
        tools = Path(sys.executable).parent
        kept = {name: value for name, value in os.environ.items() if not name.startswith(AMBIENT)}
        self.environ = {**kept, "PATH": f"{tools}{os.pathsep}{os.environ.get('PATH', os.defpath)}"}
        self.inv = str(tools / "inv")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        shutil.rmtree(self.folder, ignore_errors=True)

    def no_op(self) -> Path:
        """A folder whose only task does nothing."""
        folder = self.folder / "nothing"
        folder.mkdir(exist_ok=True)
        (folder / "tasks.py").write_text(NO_OP)
        return folder

    def project(self, name: str, services: Mapping[str, Sequence[str]], *, more: str = "") -> Path:
        """A project with these services, each on a free port; `more` is added to the table of the last one."""
        folder = Path(tempfile.mkdtemp(prefix=f"{name}-", dir=self.folder))
        tables = (
            SERVICE.format(name=service, command=[*command], port=free_port())
            for service, command in services.items()
        )
        (folder / "tasks.py").write_text("from devtasks import ns\n")
        (folder / "pyproject.toml").write_text("".join(tables) + more)
        return folder

    @contextmanager
    def started(self, folder: Path) -> Iterator[None]:
        """The project's services run for the length of the block."""
        try:
            self.devtasks(folder, "start")
            yield
        finally:
            with undisturbed():
                self.devtasks(folder, "force-clean")

    def devtasks(self, folder: Path, *words: str) -> None:
        self.run([sys.executable, "-m", "devtasks", *words], folder)

    @contextmanager
    def scope(self, folder: Path) -> Iterator[verbs.Scope]:
        """What every verb needs, in this process: apart from the start of a program."""
        scope = verbs.scope(loading.load(folder, self.environ), tell=lambda _line: None)
        try:
            yield scope
        finally:
            scope.close()

    def run(self, command: Sequence[str], folder: Path, *, codes: Sequence[int] = (0,)) -> str:
        """The output of a command. Raises BenchmarkFailed with the end of what it says when it fails."""
        done = subprocess.run(
            command,
            cwd=folder,
            env=self.environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=COMMAND_SECONDS,
            check=False,
        )
        if done.returncode not in codes:
            last = (done.stderr.strip() or done.stdout.strip()).splitlines()[-1:]
            raise BenchmarkFailed(f"{' '.join(command)}: exit code {done.returncode}: {' '.join(last)}")
        return done.stdout

    def timing(self, command: Sequence[str], folder: Path, *, codes: Sequence[int] = (0,)) -> Callable[[], float]:
        """Runs `command` and returns its milliseconds, each time it is called."""
        self.run(command, folder, codes=codes)

        def once() -> None:
            code = subprocess.call(
                command,
                cwd=folder,
                env=self.environ,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            if code not in codes:
                raise BenchmarkFailed(f"{' '.join(command)}: exit code {code}")

        return lambda: timed(once)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextmanager
def undisturbed() -> Iterator[None]:
    """Within it no signal interrupts: what was started is being ended."""
    before = {number: signal.signal(number, signal.SIG_IGN) for number in ENDING}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def raise_on_signals() -> None:
    """TERM and HUP end a benchmark as Ctrl-C does: through everything that has to be undone."""

    def end(number: int, _frame: object) -> None:
        sys.exit(128 + number)

    for number in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, end)
