"""Taking turns: every contender once a round, the order shifted from round to round."""

from __future__ import annotations

import gc
import time
from collections.abc import Callable, Mapping

from benchmarks.readings import Reading


def timed(work: Callable[[], object]) -> float:
    """How many milliseconds `work` takes."""
    began = time.perf_counter()
    work()
    return (time.perf_counter() - began) * 1000


def interleaved(
    contenders: Mapping[str, Callable[[], float]], *, rounds: int, warm_up: int = 2
) -> dict[str, Reading]:
    """The readings of `contenders`, which return a sample each time they are called.

    The first `warm_up` rounds do not count: they compile modules and fill the caches of the kernel.
    """
    names = list(contenders)
    samples: dict[str, list[float]] = {name: [] for name in names}
    for number in range(warm_up + rounds):
        first = number % len(names)
        for name in (*names[first:], *names[:first]):
            gc.collect()
            sample = contenders[name]()
            if number >= warm_up:
                samples[name].append(sample)
    return {name: Reading.of(taken) for name, taken in samples.items()}
