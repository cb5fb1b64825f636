"""What `ports` tells, for people."""

from __future__ import annotations

from devtasks import outcomes
from devtasks.report import foreign
from devtasks.report.look import Look, Tone, columns
from devtasks.report.words import aligned, duration, wrapped
from devtasks.store.logs import printable

_TONES: dict[str, Tone] = {"free": "dim", "ours": "good", "foreign": "bad", "container": "odd", "unknown": "odd"}


def table(report: outcomes.Ports, look: Look) -> list[str]:
    """A line a holder; what else there is to know, and to do, below the table."""
    if not report.ports:
        return [f"{printable(report.project)}: no ports"]
    cells = [["PORT", "SERVICE", "STATE", "PID", "HELD BY"]]
    states = [""]
    for row in report.ports:
        for number, holder in enumerate(row.holders or (None,)):
            cells.append([*_port(row, first=number == 0), *_holder(holder)])
            states.append(row.state if number == 0 else "")
    lines = aligned(line[:-1] for line in cells)
    width = max(columns(line) for line in lines)
    out: list[str] = []
    for line, cell, state in zip(lines, cells, states, strict=True):
        lead = line + " " * (width - columns(line) + 2)
        text = (lead + look.shorten(cell[-1], max(look.width - columns(lead), 20))).rstrip()
        out.append(look.paint(text, "dim") if not out else _painted(text, state, cell, look))
    for row in report.ports:
        for holder in row.holders:
            if holder.stop is not None:
                told = f"container {foreign(holder.container)}" if holder.container else "a container"
                out += wrapped(f"{row.port}: ", f"{told} has it; to stop it: {foreign(holder.stop)}", look)
        for warning in row.warnings:
            out += wrapped(f"{row.port}: ", f"warning: {foreign(warning)}", look)
    return out


def _port(row: outcomes.PortRow, *, first: bool) -> list[str]:
    if not first:
        return ["", "", ""]
    number = f"{row.port}/udp" if row.protocol == "udp" else str(row.port)
    service = row.service or "-"
    return [number, f"{service} ({foreign(row.name)})" if row.name else service, row.state]


def _holder(holder: outcomes.PortHolder | None) -> list[str]:
    if holder is None:
        return ["-", "-"]
    if holder.pid is None and holder.container is not None:
        return ["-", f"container {foreign(holder.container)}"]
    if holder.pid is None:
        return [
            "-",
            f"a process of user {holder.user}, which only root may see" if holder.user else "somebody unseen",
        ]
    facts = []
    if holder.service is None and holder.cwd is not None:
        facts.append(f"in {foreign(holder.cwd)}")
    if holder.age_seconds is not None:
        facts.append(f"for {duration(holder.age_seconds)}")
    if holder.service is None and holder.user is not None:
        facts.append(f"user {foreign(holder.user)}")
    return [str(holder.pid), f"{foreign(holder.program) or foreign(holder.command)}  {', '.join(facts)}".rstrip()]


def _painted(text: str, state: str, cell: list[str], look: Look) -> str:
    if not state:
        return text
    at = text.index(state, len(cell[0]) + len(cell[1]))
    return text[:at] + look.paint(state, _TONES[state]) + text[at + len(state) :]
