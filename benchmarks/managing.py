"""Ten services under a manager: to start them, to start one again that was killed, and to do nothing."""

from __future__ import annotations

import subprocess
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from benchmarks import managers, peers
from benchmarks.managers import Announcements, Managed
from benchmarks.readings import Reading, Row
from benchmarks.scene import Scene
from benchmarks.timing import timed

CRASHES = 5
STARTS = 3
IDLE_SECONDS = 10.0
ABOVE_OWN_START_MS = 10.0
RESTART_LIMIT = START_LIMIT = 1.0
WAKES_LIMIT = 1.25
MEMORY_LIMIT = 1.5

Manager = Callable[[Scene], AbstractContextManager[Managed]]
PEERS: dict[str, Manager] = {
    "supervisor": managers.supervisor,
    "circus": managers.circus,
    "honcho": managers.honcho,
    "pm2": managers.pm2,
}
STARTS_ONLY = ("honcho",)


class _Readings:
    """What one manager did."""

    def __init__(self, manager: Manager, scene: Scene, *, restarts: bool) -> None:
        started: list[float] = []
        for number in range(STARTS):
            with manager(scene) as managed:
                started.append(managed.started_ms)
                if restarts and number == STARTS - 1:
                    self.wakes = Reading.of([managed.wakes(IDLE_SECONDS)])
                    self.memory = Reading.of([managed.memory_mib()])
                    self.crash = Reading.of(managed.crash() for _ in range(CRASHES))
        self.start = Reading.of(started)


def measure(scene: Scene) -> Iterator[Row]:
    own = _own_start(scene)
    ours = _Readings(managers.devtasks, scene, restarts=True)
    yield Row(
        what="crash to restarted, backoff 0",
        ours=ours.crash,
        against="the service's own start",
        theirs=own,
        kind="difference",
        limit=ABOVE_OWN_START_MS,
    )
    for name, manager in PEERS.items():
        restarts = name not in STARTS_ONLY
        try:
            theirs = _Readings(manager, scene, restarts=restarts)
            missing = None
        except peers.PeerMissing as reason:
            theirs, missing = None, str(reason)
        start = theirs.start if theirs is not None else None
        yield Row(
            what="start of ten services",
            ours=ours.start,
            against=name,
            theirs=start,
            kind="ratio",
            limit=START_LIMIT,
            missing=missing,
        )
        if not restarts:
            continue
        yield Row(
            what="crash to restarted, backoff 0",
            ours=ours.crash,
            against=name,
            theirs=theirs.crash if theirs is not None else None,
            kind="ratio",
            limit=RESTART_LIMIT,
            missing=missing,
        )
        yield Row(
            what="wake-ups a second, ten services, idle",
            ours=ours.wakes,
            against=name,
            theirs=theirs.wakes if theirs is not None else None,
            kind="ratio",
            limit=WAKES_LIMIT,
            unit="/s",
            missing=missing,
        )
        yield Row(
            what="memory of the monitor, ten services",
            ours=ours.memory,
            against=name,
            theirs=theirs.memory if theirs is not None else None,
            kind="ratio",
            limit=MEMORY_LIMIT,
            unit="MiB",
            missing=missing,
        )


def _own_start(scene: Scene) -> Reading:
    """What the service takes by itself, from the fork to its announcement."""
    folder: Path = scene.folder / "alone"
    folder.mkdir()
    said = Announcements(folder)

    def once() -> float:
        children: list[subprocess.Popen[bytes]] = []

        def start() -> None:
            children.append(subprocess.Popen(["sh", "service.sh"], cwd=folder, env=scene.environ))
            said.next()

        took = timed(start)
        for child in children:
            child.kill()
            child.wait()
        return took

    try:
        return Reading.of(once() for _ in range(CRASHES))
    finally:
        said.close()
