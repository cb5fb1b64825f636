"""What a stop adds to the time a service takes to end: beside signals by hand, for a reloader and for a crowd."""

from __future__ import annotations

import select
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path

from benchmarks import herd
from benchmarks.readings import Reading, Row
from benchmarks.scene import BenchmarkFailed, Scene
from benchmarks.timing import interleaved, timed
from devtasks import verbs
from devtasks.world.pidfd import PidHandle, pidfd_open

RELOADER_ROUNDS = 20  # a tick of uvicorn is 100 ms: the least of few runs would be chance
RELOADER_LIMIT_MS = 30.0
CROWD = 1000
CROWD_ROUNDS = 7
CROWD_LIMIT = 2.0
LONGEST_SECONDS = 30

UVICORN = (sys.executable, "-m", "uvicorn", "main:app", "--host", "127.0.0.1", "--port", "{port}", "--reload")
APP = """async def app(scope, receive, send):
    while scope["type"] == "lifespan":
        message = await receive()
        await send({"type": message["type"] + ".complete"})
        if message["type"] == "lifespan.shutdown":
            return
"""


def measure(scene: Scene) -> Iterator[Row]:
    reloader = scene.project("reloader", {"web": UVICORN})
    (reloader / "main.py").write_text(APP)
    ours, theirs = _compared(scene, reloader, RELOADER_ROUNDS, everybody=False)
    yield Row(
        what="stop of uvicorn --reload",
        ours=ours,
        against="TERM by hand, until all are gone",
        theirs=theirs,
        kind="difference",
        limit=RELOADER_LIMIT_MS,
    )
    command = [*herd.command(), str(CROWD)]
    crowd = scene.project("crowd", {"web": command}, more='ready = { log = "ready" }\n')
    ours, theirs = _compared(scene, crowd, CROWD_ROUNDS, everybody=True)
    yield Row(
        what=f"stop of {CROWD:,} children, with proof",
        ours=ours,
        against="pidfd and poll for each",
        theirs=theirs,
        kind="ratio",
        limit=CROWD_LIMIT,
    )


def _compared(scene: Scene, folder: Path, rounds: int, *, everybody: bool) -> tuple[Reading, Reading]:
    """Our stop, apart from the start of a program, and one by hand, of the same service started anew each time.

    `everybody`: by hand every process is signalled, not the main one alone.
    """

    def by_us() -> float:
        scene.devtasks(folder, "start")
        with scene.scope(folder) as scope:
            reports: list[bool] = []
            taken = timed(
                lambda: reports.append(verbs.stop(scope, (), timeout_seconds=LONGEST_SECONDS, dry_run=False).ok)
            )
        if reports != [True]:
            raise BenchmarkFailed(f"{folder.name}: something survived a stop")
        return taken

    def by_hand() -> float:
        scene.devtasks(folder, "start")
        pids = list(_tree(_main_pid(scene, folder)))
        taken = timed(lambda: _end(pids, pids if everybody else pids[:1]))
        scene.devtasks(folder, "stop")  # tidies up
        return taken

    try:
        found = interleaved({"by us": by_us, "by hand": by_hand}, rounds=rounds, warm_up=1)
    finally:
        scene.devtasks(folder, "force-clean")
    return found["by us"], found["by hand"]


def _main_pid(scene: Scene, folder: Path) -> int:
    with scene.scope(folder) as scope:
        return int(scope.project.services[0].pid_file.read_text())


def _tree(pid: int) -> Iterator[int]:
    """A process and its descendants, itself first."""
    yield pid
    for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split():
        yield from _tree(int(child))


def _end(pids: Iterable[int], asked: Iterable[int]) -> None:
    """The bare loop: pin all of `pids`, ask those of them that are `asked`, wait until all are gone."""
    handles = {pid: PidHandle(pid, 0, pidfd_open(pid)) for pid in pids}
    poll = select.poll()
    waiting = {}
    for handle in handles.values():
        poll.register(handle.descriptor, select.POLLIN)
        waiting[handle.descriptor] = handle
    for pid in asked:
        handles[pid].send("TERM")
    while waiting:
        ready = poll.poll(LONGEST_SECONDS * 1000)
        if not ready:
            raise BenchmarkFailed(f"{len(waiting)} processes outlived TERM by {LONGEST_SECONDS} s")
        for descriptor, _ in ready:
            poll.unregister(descriptor)
            waiting.pop(descriptor).close()
