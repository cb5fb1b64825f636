"""What was measured: readings, and rows that compare two of them with a limit."""

from __future__ import annotations

import statistics
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Literal, Self


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading:
    """Several samples of one thing, in milliseconds or MiB."""

    best: float
    median: float

    @classmethod
    def of(cls, samples: Iterable[float]) -> Self:
        listed = list(samples)
        return cls(best=min(listed), median=statistics.median(listed))


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the table. `missing` says why there is nothing to compare."""

    what: str
    ours: Reading
    against: str
    theirs: Reading | None
    kind: Literal["ratio", "difference", "value"]
    limit: float
    unit: Literal["ms", "MiB", "%", "/s"] = "ms"
    missing: str | None = None

    @property
    def figure(self) -> float | None:
        """What the limit is about, from the best readings."""
        if self.kind == "value":
            return self.ours.best
        if self.theirs is None:
            return None
        if self.kind == "ratio":
            return self.ours.best / self.theirs.best
        return self.ours.best - self.theirs.best

    @property
    def verdict(self) -> Literal["ok", "over", "skipped"]:
        figure = self.figure
        if figure is None:
            return "skipped"
        return "ok" if figure <= self.limit else "over"
