"""What `up` tells beside the logs: one value, as a line for people or as an object for programs."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from devtasks.outcomes import Started
from devtasks.phrases import how_it_ended
from devtasks.report import foreign
from devtasks.report.look import Look, Tone
from devtasks.values import Value

Event = Literal[
    "note", "ready", "joined", "failed", "exit", "restarting", "unhealthy", "healthy", "foreign",
    "stopping", "waiting", "stopped", "left", "end",
]  # fmt: skip

_TONES: Mapping[str, Tone] = {
    "ready": "good",
    "healthy": "good",
    "failed": "bad",
    "unhealthy": "bad",
    "exit": "odd",
    "restarting": "odd",
    "foreign": "odd",
}


class News(Value):
    """One thing that happened; `service` is None for what concerns them all. `at`: seconds since the epoch."""

    event: Event
    at: float
    detail: str  # in words, without the service's name
    service: str | None = None
    pid: int | None = None
    exit_code: int | None = None  # negative: the signal; of `end`: the command's own
    seconds: float | None = None
    url: str | None = None
    lines: tuple[str, ...] = ()  # what belongs to it: last log lines, a report


def of_start(started: Started, at: float) -> News:
    """How the start of one service came out."""
    given: dict[str, Any] = {
        "at": at, "service": started.name, "pid": started.pid, "seconds": started.seconds, "url": started.url
    }  # fmt: skip
    where = "".join(f"  {fact}" for fact in (started.url, started.pid and f"PID {started.pid}") if fact)
    match started.outcome:
        case "started":
            more = f"; {started.detail}" if started.detail else ""
            return News(event="ready", detail=f"ready after {started.seconds:.2f} s{where}{more}", **given)
        case "already-running":
            return News(event="joined", detail=f"runs already, and is left running in the end{where}", **given)
        case _:
            words = "not ready" if started.outcome == "not-ready" else "not started"
            hint = (f"hint: {started.hint}",) if started.hint else ()
            tail = ("its last words:", *started.log_tail) if started.log_tail else ()
            return News(event="failed", detail=f"{words}: {started.detail}", lines=(*hint, *tail), **given)


def of_exit(service: str, at: float, code: int | None, pid: int | None) -> News:
    return News(event="exit", at=at, service=service, pid=pid, exit_code=code, detail=how_it_ended(code))


def text(news: News, look: Look) -> list[str]:
    """The lines for people, without a label. The end speaks for itself."""
    if news.event == "end":
        return []
    who = f"{news.service}: " if news.service is not None else ""
    tone = _TONES.get(news.event)
    first, *more = (foreign(line) for line in news.detail.splitlines() or [""])
    shown = look.paint(first, tone) if tone is not None else first
    return [who + shown, *("  " + line for line in more), *("  " + foreign(line) for line in news.lines)]


def shape(news: News) -> dict[str, object]:
    """The object for programs; what is not known is left out."""
    given = {
        "event": news.event,
        "at": round(news.at, 3),
        "service": news.service,
        "detail": foreign(news.detail),
        "pid": news.pid,
        "exit_code": news.exit_code,
        "seconds": None if news.seconds is None else round(news.seconds, 3),
        "url": None if news.url is None else foreign(news.url),
        "lines": [foreign(line) for line in news.lines] or None,
    }
    return {name: value for name, value in given.items() if value is not None or name == "service"}
