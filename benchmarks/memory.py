"""What it holds in memory: a command beside one that does nothing, and the parent that each run keeps."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from benchmarks import meter
from benchmarks.commands import SERVER
from benchmarks.readings import Reading, Row
from benchmarks.scene import BenchmarkFailed, Scene
from benchmarks.timing import interleaved

ROUNDS = 5
STATUS_LIMIT_MIB = 10.0
RUNNER_LIMIT_MIB = 11.0
ROTATING_LIMIT_MIB = 15.0
LOUD = """import socket, sys, time
listener = socket.create_server(("127.0.0.1", int(sys.argv[1])))
while True:
    sys.stdout.write(("x" * 79 + "\\n") * 1000)
    time.sleep(0.02)
"""
ROTATED_SECONDS = 30


def measure(scene: Scene) -> Iterator[Row]:
    no_op = scene.no_op()
    folder = scene.project("held", {"backend": SERVER, "frontend": SERVER})
    with scene.started(folder):
        found = interleaved(
            {
                "status": _peak(scene, [scene.inv, "status"], folder),
                "nothing": _peak(scene, [scene.inv, "nothing"], no_op),
            },
            rounds=ROUNDS,
            warm_up=1,
        )
        runners = Reading.of(_runners(scene, folder))
    yield Row(
        what="peak memory of inv status",
        ours=found["status"],
        against="inv, a task that does nothing",
        theirs=found["nothing"],
        kind="difference",
        limit=STATUS_LIMIT_MIB,
        unit="MiB",
    )
    yield Row(
        what="peak memory of a runner",
        ours=runners,
        against="-",
        theirs=None,
        kind="value",
        limit=RUNNER_LIMIT_MIB,
        unit="MiB",
    )
    yield Row(
        what="peak memory of a runner that rotates",
        ours=Reading.of(_rotating(scene)),
        against="-",
        theirs=None,
        kind="value",
        limit=ROTATING_LIMIT_MIB,
        unit="MiB",
    )


def _rotating(scene: Scene) -> list[float]:
    """Of a service that writes 4 MB a second into a log of at most 1 MiB."""
    folder = scene.project(
        "loud", {"loud": [sys.executable, "loud.py", "{port}"]}, more='log_max_bytes = "1MiB"\n'
    )
    (folder / "loud.py").write_text(LOUD)
    with scene.started(folder):
        deadline = time.monotonic() + ROTATED_SECONDS
        while not (folder / ".devtasks" / "loud.log.3").exists():
            if time.monotonic() > deadline:
                raise BenchmarkFailed("the log is not rotated")
            time.sleep(0.05)
        return list(_runners(scene, folder))


def _peak(scene: Scene, command: Sequence[str], folder: Path) -> Callable[[], float]:
    through = [sys.executable, "-I", "-S", meter.__file__, *command]
    return lambda: int(scene.run(through, folder)) / 1024


def _runners(scene: Scene, folder: Path) -> Iterator[float]:
    with scene.scope(folder) as scope:
        found = scope.observer.observe().runners
    if not found:
        raise BenchmarkFailed("no service has a runner")
    for rows in found.values():
        for row in rows:
            status = Path(f"/proc/{row.pid}/status").read_text(encoding="ascii", errors="replace")
            peak = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
            yield int(peak.split()[1]) / 1024
