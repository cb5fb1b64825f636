"""What a call on several hosts is to do: made from the flags, carried out by the fleet."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from devtasks.remote.streaming import Stream
from devtasks.remote.targets import Target
from devtasks.values import Value


class Plan(Value):
    """What to run where, and how long to wait for it."""

    verb: str
    lines: Sequence[tuple[Target, str]]  # the command line of each host
    parallel: int
    connect_seconds: float
    answer_seconds: float | None  # from the beginning; None: as long as it takes
    sudo: bool
    tell: Callable[[str], None]  # progress, for people
    stream: Stream | None = None  # takes the output as it comes, instead of one answer at its end
