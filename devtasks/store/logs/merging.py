"""The lines of several logs as one: in the order of time, as far as the lines tell it; pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from heapq import merge

from devtasks.model import LogLine
from devtasks.store.logs.lookback import TimedLine
from devtasks.store.logs.timestamps import written_at

_CLOCKS_SECONDS = 3600.0  # what came just now and says that it is older has another clock, or is a quotation


def in_time_order(logs: Mapping[str, Sequence[TimedLine]]) -> list[LogLine]:
    """The lines of all services, earliest first. The lines of one stay in the order in which they stand there."""
    streams = [[LogLine(name, line.text, line.at) for line in lines] for name, lines in logs.items()]
    if len(streams) == 1:
        return streams[0]
    return list(merge(*streams, key=lambda line: line.at or 0.0))


def just_arrived(lines: Iterable[tuple[str, str]], now: float) -> list[LogLine]:
    """What came at once, as (service, line): in the order of time, where the lines tell it, else as it came."""
    streams: dict[str, list[TimedLine]] = {}
    for name, line in lines:
        stream = streams.setdefault(name, [])
        at = written_at(line, reference=now)
        if at is None or abs(now - at) > _CLOCKS_SECONDS:
            at = stream[-1].at if stream else now
        stream.append(TimedLine(at, line))
    return in_time_order(streams) if streams else []
