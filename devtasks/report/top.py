"""A frame of the live view: as a table that fits a terminal, and as lines that are appended."""

from __future__ import annotations

import time

from devtasks import outcomes
from devtasks.report import foreign
from devtasks.report.bars import bars
from devtasks.report.look import Look, columns
from devtasks.report.looking import STATE_TONES, status_cell
from devtasks.report.words import aligned, counted, duration, size
from devtasks.store.logs import printable

_WIDEST_BAR = 30
_NARROWEST_BAR = 3
_LONGEST_NAME = 20
_ONE_CORE = 100.0
_COLUMNS = ("SERVICE", "STATE", "CPU", "", "MEMORY", "", "PROCS", "PORTS", "UPTIME", "RESTARTS")
_BARS = (3, 5)


def table(frame: outcomes.Frame, look: Look, height: int) -> list[str]:
    """At most `height` lines of at most the look's width: a heading, a row a service, and what is odd."""
    status = frame.status
    rows = [_cells(row, frame.trails[row.name], look, 0) for row in status.services]
    narrow = aligned([_COLUMNS, *rows])
    room = (look.width - max(map(columns, narrow))) // len(_BARS)
    bar = min(room, _WIDEST_BAR) if room >= _NARROWEST_BAR else 0
    rows = [_cells(row, frame.trails[row.name], look, bar) for row in status.services]
    out = [_heading(frame, look)]
    lines = aligned([_COLUMNS, *rows])
    out.append(look.paint(_cut(lines[0], look.width), "dim"))
    for row, line in zip(status.services, (_cut(line, look.width) for line in lines[1:]), strict=True):
        at = line.find(row.state, len(rows[0][0]))
        tone = STATE_TONES.get(row.state, "bad")
        out.append(line if at < 0 else line[:at] + look.paint(row.state, tone) + line[at + len(row.state) :])
    out += [
        _cut(f"{row.name}: {foreign(row.detail)}".expandtabs(1), look.width)
        for row in status.services
        if row.detail
    ]
    if len(out) > height:
        left = len(out) - height + 1
        out[height - 1 :] = [_cut(f"{look.ellipsis} {left} more: the terminal is too low", look.width)]
    return out[:height]


def _heading(frame: outcomes.Frame, look: Look) -> str:
    rows = frame.status.services
    facts = [
        f"{printable(frame.status.project)} ({printable(frame.status.environment)})",
        counted(sum(row.processes for row in rows), "process", "processes"),
        f"CPU {sum(row.cpu_percent or 0 for row in rows):.0f}%",
        size(sum(row.rss_bytes or 0 for row in rows)),
    ]
    return _cut(f"{_clock(frame.at)}  {', '.join(facts)}", look.width)


def _cells(row: outcomes.ServiceStatus, trail: outcomes.Trail, look: Look, bar: int) -> tuple[str, ...]:
    cores = max(_ONE_CORE, *trail.cpu_percent)
    memory = max(trail.memory_above_bytes or 0, *trail.rss_bytes)
    return (
        look.shorten(row.name, _LONGEST_NAME),
        row.state,
        status_cell(row, "CPU"),
        bars(trail.cpu_percent, bar, full=cores, unicode=look.unicode),
        size(row.rss_bytes),
        bars(trail.rss_bytes, bar, full=memory, unicode=look.unicode),
        str(row.processes),
        status_cell(row, "PORTS"),
        duration(row.uptime_seconds),
        str(row.restarts),
    )


def lines(frame: outcomes.Frame, look: Look) -> list[str]:
    """A line a service, with everything named: for pipes and logs."""
    rows = frame.status.services
    width = max((columns(row.name) for row in rows), default=0)
    return [
        f"{_clock(frame.at)} {look.label(f'{row.name:<{width}}', number)} "
        f"{look.paint(f'{row.state:<9}', STATE_TONES.get(row.state, 'bad'))} "
        f"cpu {status_cell(row, 'CPU'):>5}  memory {size(row.rss_bytes):>8}  processes {row.processes:>3}  "
        f"ports {status_cell(row, 'PORTS')}  uptime {duration(row.uptime_seconds)}  restarts {row.restarts}"
        for number, row in enumerate(rows)
    ]


def _clock(at: float) -> str:
    return time.strftime("%H:%M:%S", time.localtime(at))


def _cut(line: str, width: int) -> str:
    """`line` without what does not fit."""
    while columns(line) > width:
        line = line[: width - columns(line)]
    return line
