"""Programs that keep ten services running, each with its own configuration for the same ten.

A service announces itself with its PID, in a FIFO that all of them share, and sleeps. Each manager here is a
context: it starts them, and ends them with itself.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path

from benchmarks import peers
from benchmarks.herd import SLEEP_SECONDS
from benchmarks.scene import BenchmarkFailed, Scene, undisturbed
from devtasks.world.pidfd import pidfd_open

SERVICES = 10
NAMES = tuple(f"s{number}" for number in range(SERVICES))
_PATIENCE_SECONDS = 60.0
_END_SECONDS = 15.0  # how long a manager may take to end what it runs, and itself
_REST_SECONDS = 0.5
_QUIET_SECONDS = 2.0  # after a start, before it counts as idle

DEVTASKS = """
[services.{name}]
command = ["sh", "service.sh"]
ready = {{ command = ["true"] }}
restart = {{ policy = "always", backoff = 0, max_backoff = 0, max = 1000, window = 1000 }}
"""
SUPERVISOR = """
[program:{name}]
command = sh {folder}/service.sh
autorestart = true
startsecs = 0
"""
CIRCUS = """
[watcher:{name}]
cmd = sh {folder}/service.sh
warmup_delay = 0
"""


class Announcements:
    """What the services in `folder` say when they begin."""

    def __init__(self, folder: Path) -> None:
        path = folder / "announced"
        os.mkfifo(path)
        self._descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        self._rest = b""
        self._handles: list[int] = []
        (folder / "service.sh").write_text(f"echo $$ > {path}\nexec sleep {SLEEP_SECONDS}\n")

    def next(self, count: int = 1) -> list[int]:
        """The PIDs of the next `count` that begin. Raises BenchmarkFailed when they do not."""
        deadline = time.monotonic() + _PATIENCE_SECONDS
        found: list[int] = []
        while len(found) < count:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self._descriptor], [], [], left)[0]:
                raise BenchmarkFailed(f"{len(found)} of {count} services began within {_PATIENCE_SECONDS:g} s")
            *lines, self._rest = (self._rest + os.read(self._descriptor, 4096)).split(b"\n")
            for line in lines:
                found.append(int(line))
                with contextlib.suppress(ProcessLookupError):
                    self._handles.append(pidfd_open(found[-1]))
        return found

    def close(self) -> None:
        """End what has announced itself and lives: a manager may have ended without it."""
        for handle in self._handles:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(handle, signal.SIGKILL)
            os.close(handle)
        self._handles.clear()
        os.close(self._descriptor)


class Managed:
    """Ten services that run, and who manages them: `pids` stay the same, whoever is restarted."""

    def __init__(self, started_ms: float, services: list[int], pids: Sequence[int], said: Announcements) -> None:
        self.started_ms = started_ms  # from the command to the announcement of the last one
        self.services = services
        self.pids = tuple(pids)
        self._said = said

    def crash(self) -> float:
        """Kill one service, after a rest; milliseconds until it has begun again."""
        time.sleep(_REST_SECONDS)
        pid = self.services.pop(0)
        began = time.perf_counter()
        os.kill(pid, signal.SIGKILL)
        self.services += self._said.next()
        return (time.perf_counter() - began) * 1000

    def wakes(self, seconds: float) -> float:
        """How often the managing processes wake up in a second, while nothing happens."""
        time.sleep(_QUIET_SECONDS)
        before, began = _wakes(self.pids), time.monotonic()
        time.sleep(seconds)
        return (_wakes(self.pids) - before) / (time.monotonic() - began)

    def memory_mib(self) -> float:
        """What the managing processes hold, each shared page counted in parts."""
        return sum(_proportional_kib(pid) for pid in self.pids) / 1024


@contextmanager
def devtasks(scene: Scene) -> Iterator[Managed]:
    """`devtasks start`, and a monitor."""
    with _place(scene, "devtasks") as (folder, said):
        (folder / "devtasks.toml").write_text("".join(DEVTASKS.format(name=name) for name in NAMES))
        tool = [sys.executable, "-m", "devtasks"]
        try:
            with _child(scene, [*tool, "start"], folder) as starter:
                began = time.perf_counter()
                services = said.next(SERVICES)
                took = (time.perf_counter() - began) * 1000
                starter.wait()
            with _child(scene, [*tool, "monitor"], folder) as monitor:
                _until_watched(folder)
                yield Managed(took, services, [monitor.pid], said)
        finally:
            with undisturbed():
                scene.run([*tool, "force-clean"], folder, codes=range(-64, 256))


@contextmanager
def supervisor(scene: Scene) -> Iterator[Managed]:
    with _place(scene, "supervisor") as (folder, said):
        config = folder / "supervisord.conf"
        head = f"[supervisord]\nnodaemon = true\nlogfile = {folder}/log\npidfile = {folder}/pid\n"
        config.write_text(head + "".join(SUPERVISOR.format(name=name, folder=folder) for name in NAMES))
        command = [str(peers.installed("supervisor") / "supervisord"), "-c", str(config)]
        with _in_the_foreground(scene, command, folder, said) as managed:
            yield managed


@contextmanager
def circus(scene: Scene) -> Iterator[Managed]:
    with _place(scene, "circus") as (folder, said):
        config = folder / "circus.ini"
        sockets = "".join(f"{name} = ipc://{folder}/{name}\n" for name in ("endpoint", "pubsub_endpoint"))
        watchers = "".join(CIRCUS.format(name=name, folder=folder) for name in NAMES)
        config.write_text(f"[circus]\n{sockets}{watchers}")
        command = [str(peers.installed("circus") / "circusd"), str(config)]
        with _in_the_foreground(scene, command, folder, said) as managed:
            yield managed


@contextmanager
def honcho(scene: Scene) -> Iterator[Managed]:
    """It starts them, and ends them all when one ends."""
    with _place(scene, "honcho") as (folder, said):
        (folder / "Procfile").write_text("".join(f"{name}: sh {folder}/service.sh\n" for name in NAMES))
        command = [str(peers.installed("honcho") / "honcho"), "start"]
        with _in_the_foreground(scene, command, folder, said) as managed:
            yield managed


@contextmanager
def pm2(scene: Scene) -> Iterator[Managed]:
    tool = str(peers.pm2_installed())
    with _place(scene, "pm2") as (folder, said):
        apps = [
            {"name": name, "script": "/bin/sh", "args": [f"{folder}/service.sh"], "interpreter": "none"}
            for name in NAMES
        ]
        (folder / "ecosystem.config.json").write_text(json.dumps({"apps": apps}))
        scene.environ["PM2_HOME"] = str(folder)
        try:
            with _child(scene, [tool, "start", "ecosystem.config.json"], folder) as starter:
                began = time.perf_counter()
                services = said.next(SERVICES)
                took = (time.perf_counter() - began) * 1000
                starter.wait()
            yield Managed(took, services, [int((folder / "pm2.pid").read_text())], said)
        finally:
            with undisturbed():
                peers.end_pm2(scene, tool, folder)
            del scene.environ["PM2_HOME"]


@contextmanager
def _place(scene: Scene, name: str) -> Iterator[tuple[Path, Announcements]]:
    folder = scene.folder / f"{name}-of-ten-{time.monotonic_ns()}"
    folder.mkdir()
    said = Announcements(folder)
    try:
        yield folder, said
    finally:
        said.close()


@contextmanager
def _in_the_foreground(
    scene: Scene, command: Sequence[str], folder: Path, said: Announcements
) -> Iterator[Managed]:
    began = time.perf_counter()
    with _child(scene, command, folder) as manager:
        services = said.next(SERVICES)
        yield Managed((time.perf_counter() - began) * 1000, services, [manager.pid], said)
        time.sleep(_REST_SECONDS)  # honcho leaves all behind when it is ended before it knows them


@contextmanager
def _child(scene: Scene, command: Sequence[str], folder: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A process for the length of the block, asked to end then; it ends what it runs by itself."""
    with (folder / "output").open("ab") as output:
        child = subprocess.Popen(
            command,
            cwd=folder,
            env=scene.environ,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    try:
        yield child
    finally:
        with undisturbed():
            child.terminate()
            try:
                child.wait(_END_SECONDS)
            except subprocess.TimeoutExpired:
                child.kill()
                child.wait()


def _until_watched(folder: Path) -> None:
    deadline = time.monotonic() + _PATIENCE_SECONDS
    while b"watching" not in (folder / "output").read_bytes():
        if time.monotonic() > deadline:
            raise BenchmarkFailed("the monitor does not watch")
        time.sleep(0.05)


def _wakes(pids: Sequence[int]) -> int:
    total = 0
    for pid in pids:
        for task in Path(f"/proc/{pid}/task").iterdir():
            with contextlib.suppress(OSError):
                total += int(_fields(task / "status")["voluntary_ctxt_switches"])
    return total


def _proportional_kib(pid: int) -> int:
    return int(_fields(Path(f"/proc/{pid}/smaps_rollup"))["Pss"].split()[0])


def _fields(path: Path) -> Mapping[str, str]:
    lines = path.read_text(encoding="ascii", errors="replace").splitlines()
    return {name: rest.strip() for name, _, rest in (line.partition(":") for line in lines)}
