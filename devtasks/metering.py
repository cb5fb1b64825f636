"""CPU between two looks: of single processes, and of whole trees.

A tree's total is what its members have used themselves and what those used whom they have waited for; a runner
counts with whom it has waited for. So what a short-lived child did is not lost, and a child that ends takes
nothing away. A percentage is of one core: a tree may have more than 100.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from devtasks.model import Identity, Match, Process
from devtasks.observing import Observation
from devtasks.world import World

Sample = tuple[str, float, float]  # whose it is, CPU seconds so far, when


class Meter:
    """Compares one look after another. Each look replaces what `before` said."""

    def __init__(self, world: World, clock: Callable[[], float], before: Mapping[str, Sample]) -> None:
        """`clock` counts the seconds between looks; `before` are the `samples` of an earlier one."""
        self._world = world
        self._clock = clock
        self.samples: dict[str, Sample] = dict(before)
        self.rss_bytes: dict[int, int] = {}
        self.percents: dict[int, float] = {}  # by PID; without a sample before there is none
        self.trees: dict[str, float] = {}  # by service

    def look(self, seen: Observation) -> None:
        """Measure everything that is ours in `seen`."""
        before, now = self.samples, self._clock()
        usage = self._world.usage(seen.pids())
        self.rss_bytes = {pid: rss_bytes for pid, (_, rss_bytes) in usage.items()}
        self.samples, self.percents, self.trees = {}, {}, {}
        rows = seen.table.processes
        for pid, (seconds, _) in usage.items():
            if pid in rows:
                sample = (_text(seen.table.identity(rows[pid])), seconds, now)
                self.samples[str(pid)] = sample
                percent = _percent(before.get(str(pid)), sample)
                if percent is not None:
                    self.percents[pid] = percent
        for name, matches in seen.matches.items():
            members = [match.process.pid for match in matches if match.process.pid in usage]
            if not members:
                continue
            runners = [row.pid for row in seen.runners.get(name, ())]
            total = sum(usage[pid][0] for pid in members)
            total += sum(self._world.reaped_seconds([*members, *runners]).values())
            sample = (_text(seen.table.identity(_eldest(matches))), total, now)
            self.samples[f"tree/{name}"] = sample
            percent = _percent(before.get(f"tree/{name}"), sample)
            if percent is not None:
                self.trees[name] = percent


def _eldest(matches: tuple[Match, ...]) -> Process:
    """Who stands for the tree: with another one it is another tree, whose total begins anew."""
    return min((match.process for match in matches), key=lambda row: (row.start, row.pid))


def _percent(before: Sample | None, now: Sample) -> float | None:
    if before is None or before[0] != now[0] or now[2] <= before[2]:
        return None
    # Less than before: what an ended member had used was handed to nobody of ours
    return round(max(0.0, now[1] - before[1]) / (now[2] - before[2]) * 100, 1)


def _text(identity: Identity) -> str:
    return "/".join(map(str, identity))
