"""What a port costs: who holds it, whether it is held, a guard where it is free, and freeing it."""

from __future__ import annotations

import os
import select
import shutil
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from benchmarks.commands import SERVER
from benchmarks.herd import Herd
from benchmarks.readings import Row
from benchmarks.scene import BenchmarkFailed, Scene, free_port
from benchmarks.timing import interleaved, timed
from devtasks import verbs
from devtasks.guard import ensure_port_available
from devtasks.world import this_world
from devtasks.world.binding import bindable
from devtasks.world.pidfd import pidfd_open

HERD = 1000
ROUNDS = 15
FREE_ROUNDS = 10
PEERS: tuple[tuple[Sequence[str], float], ...] = ((("ss", "-ltnp"), 1.1), (("lsof", "-i"), 0.5))
HELD_LIMIT_MS = 0.2
GUARD_LIMIT_MS = 0.5
FREE_LIMIT_MS = 50.0
LONGEST_SECONDS = 30


def measure(scene: Scene) -> Iterator[Row]:
    folder = scene.project("held", {"backend": SERVER})
    with scene.started(folder), Herd(HERD):
        yield from _who(scene, folder)
    yield from _alone(scene, folder)


def _who(scene: Scene, folder: Path) -> Iterator[Row]:
    world = this_world()
    port = _port(scene, folder)

    def holders() -> float:
        found: list[int] = []
        taken = timed(lambda: found.extend(*world.owners(world.endpoints([port])).values()))
        if len(found) != 1:
            raise BenchmarkFailed(f"port {port} has {len(found)} holders, not one")
        return taken

    contenders = {"ours": holders, "listening": lambda: timed(lambda: world.listening([port]))}
    contenders["binding"] = lambda: timed(lambda: bindable("127.0.0.1", port))
    for command, _ in PEERS:
        if shutil.which(command[0]):
            contenders[command[0]] = scene.timing(command, folder, codes=(0, 1))
    found = interleaved(contenders, rounds=ROUNDS)
    for command, limit in PEERS:
        yield Row(
            what=f"a port to its processes, {HERD:,} others",
            ours=found["ours"],
            against=" ".join(command),
            theirs=found.get(command[0]),
            kind="ratio",
            limit=limit,
            missing=None if command[0] in found else f"{command[0]} is not installed",
        )
    for name, what in (("listening", "does anybody listen on a port"), ("binding", "can a port be bound")):
        yield Row(what=what, ours=found[name], against="-", theirs=None, kind="value", limit=HELD_LIMIT_MS)


def _alone(scene: Scene, folder: Path) -> Iterator[Row]:
    port = free_port()
    found = interleaved(
        {"guard": lambda: timed(lambda: ensure_port_available(port)), "free": lambda: _after_death(scene, folder)},
        rounds=FREE_ROUNDS,
    )
    yield Row(
        what="a guard on a free port",
        ours=found["guard"],
        against="-",
        theirs=None,
        kind="value",
        limit=GUARD_LIMIT_MS,
    )
    yield Row(
        what="free-port, from the death of an obedient leftover",
        ours=found["free"],
        against="-",
        theirs=None,
        kind="value",
        limit=FREE_LIMIT_MS,
    )


def _after_death(scene: Scene, folder: Path) -> float:
    """Milliseconds from the end of the process that holds the port to the proof that it is free."""
    scene.devtasks(folder, "start")
    port = _port(scene, folder)
    with scene.scope(folder) as scope:
        poll = select.poll()
        descriptor = pidfd_open(int(scope.project.services[0].pid_file.read_text()))
        poll.register(descriptor, select.POLLIN)
        ended: list[float] = []

        def watch() -> None:
            if poll.poll(LONGEST_SECONDS * 1000):
                ended.append(time.perf_counter())

        watcher = threading.Thread(target=watch)
        watcher.start()
        report = verbs.free_port(scope, port=port, force=False, timeout_seconds=None, dry_run=False)
        done = time.perf_counter()
        watcher.join()
        os.close(descriptor)
    if not report.ok or not ended:
        raise BenchmarkFailed(f"port {port} was not freed: {report.notes}")
    return max(0.0, done - ended[0]) * 1000  # whoever watches may be woken later than we are


def _port(scene: Scene, folder: Path) -> int:
    with scene.scope(folder) as scope:
        return scope.project.services[0].ports[0]
