"""One look at the machine, judged, beside `pgrep -f`; and a second look after which nothing has changed."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.commands import SERVER
from benchmarks.herd import Herd
from benchmarks.readings import Row
from benchmarks.scene import Scene
from benchmarks.timing import interleaved, timed

ROUNDS = {1000: 15, 5000: 7}
FIRST_LIMIT = 0.6
SECOND_LIMIT = 0.1
SETTLED_SECONDS = 4  # a younger process may still be in the middle of its exec, so it is read again


def measure(scene: Scene) -> Iterator[Row]:
    folder = scene.project("observed", {"backend": SERVER, "frontend": SERVER})
    with scene.started(folder):
        for count, rounds in ROUNDS.items():
            with Herd(count):
                time.sleep(SETTLED_SECONDS)
                yield from _among(scene, folder, count, rounds)


def _among(scene: Scene, folder: Path, count: int, rounds: int) -> Iterator[Row]:
    def first() -> float:
        with scene.scope(folder) as scope:
            return timed(scope.observer.observe)

    def second() -> float:
        with scene.scope(folder) as scope:
            seen = scope.observer.observe()
            return timed(lambda: scope.observer.observe(seen.table))

    pgrep = scene.timing(["pgrep", "-f", "uvicorn main:app"], folder, codes=(0, 1))
    found = interleaved({"first": first, "pgrep": pgrep, "second": second}, rounds=rounds)
    what = f"an observation, {count:,} other processes"
    yield Row(
        what=what,
        ours=found["first"],
        against="pgrep -f",
        theirs=found["pgrep"],
        kind="ratio",
        limit=FIRST_LIMIT,
    )
    yield Row(
        what=f"{what}, nothing changed",
        ours=found["second"],
        against="the first one",
        theirs=found["first"],
        kind="ratio",
        limit=SECOND_LIMIT,
    )
