"""What happened, in lines: the day where it changes, then time, service, kind, PID, and the detail beside them."""

from __future__ import annotations

import time
from collections.abc import Iterable

from devtasks import outcomes
from devtasks.report import foreign
from devtasks.report.look import Look, Tone, columns
from devtasks.store.events import Event

_TONES: dict[str, Tone] = {
    "start": "good",
    "ready": "good",
    "healthy": "good",
    "exit": "odd",
    "stop": "bold",
    "kill": "bad",
    "restart": "odd",
    "failure": "bad",
    "refused": "odd",
    "unhealthy": "bad",
    "foreign": "odd",
}
_WIDEST_NAME = 20


class Lines:
    """Lines for one event after the other; their columns grow with what was seen."""

    def __init__(self, look: Look) -> None:
        self._look = look
        self._day = ""
        self._name = self._kind = self._pid = 0

    def of(self, events: Iterable[Event]) -> list[str]:
        """The lines of these events, in local time."""
        rows = [(event, foreign(event.service), foreign(event.kind), str(event.pid or "-")) for event in events]
        for _, name, kind, pid in rows:
            self._name = min(max(self._name, columns(name)), _WIDEST_NAME)
            self._kind = min(max(self._kind, columns(kind)), _WIDEST_NAME)
            self._pid = max(self._pid, len(pid))
        return [line for event, *cells in rows for line in self._lines(event, *cells)]

    def _lines(self, event: Event, name: str, kind: str, pid: str) -> Iterable[str]:
        moment = time.localtime(event.at)
        day = time.strftime("%Y-%m-%d", moment)
        if day != self._day:
            self._day = day
            yield self._look.paint(day, "dim")
        clock = time.strftime("%H:%M:%S", moment)
        name, kind = self._look.shorten(name, _WIDEST_NAME), self._look.shorten(kind, _WIDEST_NAME)
        before = f"{clock}  {_padded(name, self._name)}  "
        lead = f"{before}{_padded(kind, self._kind)}  {pid:>{self._pid}}  "
        first, *more = _beside(lead, foreign(event.detail or ""), self._look)
        tone = _TONES.get(kind, "dim")
        yield before + self._look.paint(kind, tone) + first[len(before) + len(kind) :]
        yield from more


def lines(report: outcomes.History, look: Look) -> list[str]:
    if not report.events:
        return [f"{foreign(report.project)}: no events are on record"]
    return Lines(look).of(report.events)


def _beside(lead: str, text: str, look: Look) -> list[str]:
    """`text` after `lead`, its further lines below it; what has no blank is broken where it must be."""
    from textwrap import wrap

    room = max(look.width - columns(lead), 20)
    first, *more = wrap(text, room, break_on_hyphens=False) or [""]
    return [(lead + first).rstrip(), *(" " * columns(lead) + line for line in more)]


def _padded(text: str, width: int) -> str:
    return text + " " * (width - columns(text))
