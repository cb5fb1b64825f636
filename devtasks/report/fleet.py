"""What several hosts told, for people: one table, a host that gave no answer in a line of its own.

The reports were checked and escaped when they came in (`remote/answers.py`).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from devtasks.outcomes import FleetReport, HostAnswer
from devtasks.report import foreign, forge
from devtasks.report.look import Look, Tone, columns
from devtasks.report.words import aligned, dry_note, duration, size, wrapped

Table = Mapping[str, Any]
Cells = list[list[str]]

_NOBODY: Table = {"pid": None, "program": "", "command": ""}

_GOOD = frozenset({"running", "ours", "started", "already-running"})
_ODD = frozenset({"starting", "foreign", "elsewhere", "container", "unknown"})
_DIM = frozenset({"stopped", "free"})
_BAD = frozenset({"unhealthy", "stale", "orphaned", "failed", "not-ready", "exited", "refused"})
_MARK = 2  # the column that is painted: the host's and the service's names stand before it


def render(report: FleetReport, look: Look) -> list[str]:
    answered = [answer for answer in report.hosts if answer.outcome == "answered"]
    out = _lines_of_logs(answered, look) if report.verb == "logs" else _table(report.verb, answered, look)
    for answer in answered:
        out += [line for note in _notes(report.verb, answer.report or {}) for line in _said(answer, note, look)]
    for answer in report.hosts:
        if answer.outcome != "answered":
            out += _failure(answer, look)
    return [*out, *dry_note(report.dry_run)]


def _failure(answer: HostAnswer, look: Look) -> list[str]:
    detail = foreign(answer.detail or "")
    if look.forge == "github":
        return [forge.error(f"{answer.name}: {answer.outcome}: {detail}", look)]
    lead = f"{foreign(answer.name)}: "
    first, *more = wrapped(lead, f"{answer.outcome}: {detail}", look)
    at = len(lead)
    tone: Tone = "odd" if answer.outcome == "interrupted" else "bad"
    marked = first[:at] + look.paint(answer.outcome, tone) + first[at + len(answer.outcome) :]
    return [marked, *more, *(wrapped("  hint: ", foreign(answer.hint), look) if answer.hint else [])]


def _table(verb: str, answered: Sequence[HostAnswer], look: Look) -> list[str]:
    heading, rows_of = _TABLES[verb]
    cells: Cells = [["HOST", *heading]]
    for answer in answered:
        rows = rows_of(answer.report or {}) or [["-"] * len(heading)]
        cells += [[foreign(answer.name), *row] for row in rows]
    if len(cells) == 1:
        return []
    if verb == "history":  # merged: the second column is the time
        cells[1:] = sorted(cells[1:], key=lambda row: row[1])
    lines = aligned(line[:-1] for line in cells)
    width = max(map(columns, lines))
    out = []
    for number, (line, row) in enumerate(zip(lines, cells, strict=True)):
        lead = line + " " * (width - columns(line) + 2)
        text = (lead + look.shorten(row[-1], max(look.width - columns(lead), 20))).rstrip()
        out.append(look.paint(text, "dim") if number == 0 else _painted(text, row, look))
    return out


def _painted(text: str, row: list[str], look: Look) -> str:
    word = row[_MARK]
    tone = _tone(word)
    if tone is None:
        return text
    at = text.index(word, len(row[0]) + len(row[1]))
    return text[:at] + look.paint(word, tone) + text[at + len(word) :]


def _tone(word: str) -> Tone | None:
    tones: list[tuple[frozenset[str], Tone]] = [(_GOOD, "good"), (_ODD, "odd"), (_DIM, "dim"), (_BAD, "bad")]
    return next((tone for words, tone in tones if word in words), None)


# --- the rows of each verb -----------------------------------------------------------------------------


def _status(report: Table) -> Cells:
    return [
        [
            row["name"],
            row["state"],
            row["health"] or "-",
            _number(row["pid"]),
            ",".join(map(str, row["ports"][:2])) + (f",+{len(row['ports']) - 2}" if len(row["ports"]) > 2 else "")
            or "-",
            duration(row["uptime_seconds"]),
            size(row["rss_bytes"]),
            str(row["processes"]),
        ]
        for row in report["services"]
    ]


def _processes(report: Table) -> Cells:
    return [
        [group["name"], str(row["pid"]), size(row["rss_bytes"]), row["command"]]
        for group in report["services"]
        for row in group["processes"]
    ]


def _ports(report: Table) -> Cells:
    rows = []
    for row in report["ports"]:
        number = f"{row['port']}/udp" if row["protocol"] == "udp" else str(row["port"])
        for holder in row["holders"] or [_NOBODY]:
            told = holder["program"] or holder["command"] or "-"
            rows.append([number, row["state"], row["service"] or "-", _number(holder["pid"]), told])
    return rows


def _start(report: Table) -> Cells:
    return [
        [
            row["name"],
            row["outcome"],
            _number(row["pid"]),
            "-" if row["seconds"] is None else f"{row['seconds']:.2f} s",
            row["url"] or "-",
        ]
        for row in report["services"]
    ]


def _stop(report: Table) -> Cells:
    return [
        [row["name"], str(len(row["stopped"])), str(len(row["killed"])), str(len(row["survivors"]))]
        for row in report["services"]
    ]


def _restart(report: Table) -> Cells:
    started: dict[str, Table] = {row["name"]: row for row in report["start"]["services"]}
    nothing: dict[str, Any] = {"outcome": "-", "pid": None}
    rows = []
    for row in report["stop"]["services"]:
        begun = started.pop(row["name"], nothing)
        ended = len(row["stopped"]) + len(row["killed"])
        rows.append([row["name"], begun["outcome"], _number(begun["pid"]), str(ended), str(len(row["survivors"]))])
    return rows + [[name, row["outcome"], _number(row["pid"]), "0", "0"] for name, row in started.items()]


def event_cells(event: Table) -> list[str]:
    """Time, service, kind, PID and detail of what happened."""
    from time import localtime, strftime

    when = strftime("%Y-%m-%d %H:%M:%S", localtime(min(max(event["at"], 0), 2**37)))
    return [when, event["service"] or "-", event["kind"], _number(event["pid"]), event["detail"] or "-"]


def _history(report: Table) -> Cells:
    return [event_cells(event) for event in report["events"]]


_TABLES: Mapping[str, tuple[Sequence[str], Callable[[Table], Cells]]] = {
    "status": (("SERVICE", "STATE", "HEALTH", "PID", "PORTS", "UPTIME", "MEMORY", "PROCS"), _status),
    "show-processes": (("SERVICE", "PID", "MEMORY", "COMMAND"), _processes),
    "ports": (("PORT", "STATE", "SERVICE", "PID", "HELD BY"), _ports),
    "start": (("SERVICE", "OUTCOME", "PID", "TIME", "URL"), _start),
    "stop": (("SERVICE", "STOPPED", "KILLED", "LEFT"), _stop),
    "force-clean": (("SERVICE", "STOPPED", "KILLED", "LEFT"), _stop),
    "restart": (("SERVICE", "OUTCOME", "PID", "STOPPED", "LEFT"), _restart),
    "history": (("TIME", "SERVICE", "KIND", "PID", "DETAIL"), _history),
}


def _number(value: int | None) -> str:
    return "-" if value is None else str(value)


# --- what does not fit into a table --------------------------------------------------------------------


def _notes(verb: str, report: Table) -> list[str]:
    """Lines about services that are not as they should be, with the service's name in front."""
    if verb == "restart":
        return [*_notes("stop", report["stop"]), *_notes("start", report["start"])]
    if verb == "ports":
        return [f"{row['port']}: {warning}" for row in report["ports"] for warning in row["warnings"]]
    return [f"{row['name']}: {text}" for row in report.get("services", ()) for text in _about(verb, row)]


def _about(verb: str, row: Table) -> list[str]:
    match verb:
        case "status":
            return [row["detail"]] if row["detail"] else []
        case "start":
            return [text for text in (row["detail"], row["hint"], *row["log_tail"]) if text]
        case "stop" | "force-clean":
            survived = [f"PID {one['pid']} survived: {one['reason']}" for one in row["survivors"]]
            return [*survived, *row["notes"]]
        case _:
            return []


def _said(answer: HostAnswer, note: str, look: Look) -> list[str]:
    return wrapped(f"{foreign(answer.name)}: ", note, look)


def _lines_of_logs(answered: Sequence[HostAnswer], look: Look) -> list[str]:
    """In the order of time, as well as the hosts' clocks agree; without a time, behind the line before."""
    rows: list[tuple[float, str, str, str]] = []
    for answer in answered:
        latest = 0.0
        for line in (answer.report or {})["lines"]:
            latest = max(latest, line["at"] or 0.0)
            rows.append((latest, foreign(answer.name), line["service"], line["line"]))
    if not rows:
        return ["no log lines"] if answered else []
    rows.sort(key=lambda row: row[0])
    wide = max(len(host) for _, host, _, _ in rows)
    names = max(len(service) for _, _, service, _ in rows)
    hosts = dict.fromkeys(foreign(answer.name) for answer in answered)
    labels = {host: look.label(f"{host:<{wide}}", number) for number, host in enumerate(hosts)}
    return [log_line(labels[host], f"{service:<{names}}", line, look) for _, host, service, line in rows]


def log_line(host: str, service: str, line: str, look: Look) -> str:
    """One line of a log behind its host and its service."""
    if look.forge is None:
        return f"{host} {service} | {line}".rstrip()
    return f"{host} {service} {forge.quoted(line, look).strip()}".rstrip()
