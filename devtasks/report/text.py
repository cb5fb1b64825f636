"""What a verb tells, for people: short lines, aligned, at most as wide as the terminal."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence

from devtasks import outcomes
from devtasks.logs import printable
from devtasks.report import foreign, forge
from devtasks.report.look import Look, Tone, columns

_STATE_TONES: dict[str, Tone] = {
    "running": "good",
    "starting": "odd",
    "stopped": "dim",
    "elsewhere": "odd",
    "foreign": "odd",
}
_REJECTED_SHOWN = 5  # without --why
_DRY = "dry run: nothing was touched"


def render(outcome: outcomes.Anything, look: Look, *, why: bool = False) -> list[str]:
    """The lines to print. With `why`, all that was considered and left alone is listed."""
    match outcome:
        case outcomes.Status():
            return _status(outcome, look)
        case outcomes.Processes():
            return _processes(outcome, look, why=why)
        case outcomes.StartReport():
            return _start(outcome, look)
        case outcomes.StopReport():
            return _stop(outcome, look, why=why)
        case outcomes.RestartReport():
            return _restart(outcome, look, why=why)
        case outcomes.CleanReport():
            return _clean(outcome, look)
        case outcomes.ExplainReport():
            return _explain(outcome, look)
        case outcomes.LogLines():
            return _logs(outcome, look)
        case outcomes.Proposal():
            return _proposal(outcome)


def error(message: str, hint: str | None, look: Look) -> list[str]:
    """What went wrong, with the remedy below it. Messages may have several lines."""
    first, *more = (foreign(line) for line in message.splitlines() or [""])
    if look.forge == "github":
        return [forge.error("\n".join([first, *more, *([f"hint: {foreign(hint)}"] if hint else [])]), look)]
    return [forge.error(first, look), *more, *([f"hint: {foreign(hint)}"] if hint else [])]


# --- status ------------------------------------------------------------------------------------------


def _status(status: outcomes.Status, look: Look) -> list[str]:
    heading = f"{printable(status.project)} ({printable(status.environment)})"
    if not status.services:
        return [f"{heading}: no services"]
    wanted = ["SERVICE", "STATE", "PID", "PORTS", "UPTIME", "CPU", "MEMORY", "PROCS"]
    if any(row.health for row in status.services):
        wanted.insert(2, "HEALTH")
    if any(row.restarts for row in status.services):
        wanted.append("RESTARTS")
    table = [[_status_cell(row, column) for column in wanted] for row in status.services]
    painted = {row.state: _STATE_TONES.get(row.state, "bad") for row in status.services}
    lines = _table([wanted, *table])
    out = [heading, look.paint(lines[0], "dim")]
    for row, line in zip(status.services, lines[1:], strict=True):
        at = line.index(row.state, len(row.name))
        out.append(line[:at] + look.paint(row.state, painted[row.state]) + line[at + len(row.state) :])
    for row in status.services:
        if row.detail:
            out += _wrapped(f"{row.name}: ", foreign(row.detail), look)
        if row.holder is not None:
            out += _wrapped(f"{row.name}: ", f"the port is held by {_holder(row.holder)}", look)
    return out


def _status_cell(row: outcomes.ServiceStatus, column: str) -> str:
    match column:
        case "SERVICE":
            return row.name
        case "STATE":
            return row.state
        case "HEALTH":
            return row.health or "-"
        case "PID":
            return "-" if row.pid is None else str(row.pid)
        case "PORTS":
            more = f",+{len(row.ports) - 2}" if len(row.ports) > 2 else ""
            return ",".join(map(str, row.ports[:2])) + more or "-"
        case "UPTIME":
            return duration(row.uptime_seconds)
        case "CPU":
            return "-" if row.cpu_percent is None else f"{row.cpu_percent:.0f}%"
        case "MEMORY":
            return size(row.rss_bytes)
        case "RESTARTS":
            return str(row.restarts)
        case _:
            return str(row.processes)


def _holder(holder: outcomes.Holder) -> str:
    if holder.pid is None:
        return "somebody whom only root may see"
    where = f" in {foreign(holder.cwd)}" if holder.cwd else ""
    return f"PID {holder.pid}, {foreign(holder.command) or 'unknown'}{where}"


# --- show-processes, explain -------------------------------------------------------------------------


def _processes(processes: outcomes.Processes, look: Look, *, why: bool) -> list[str]:
    out: list[str] = []
    for number, group in enumerate(processes.services):
        count = len(group.processes)
        told = _count(count, "process", "processes") if count else "no processes"
        title = f"{look.label(group.name, number)}: {told}"
        if group.guarantee and count:
            title += look.paint(f" (held together by {group.guarantee})", "dim")
        out += forge.grouped(title, _tree(group.processes, look), look) if count else [title]
    if not processes.services:
        out.append(f"{printable(processes.project)}: no services")
    if processes.rejected and why:
        out.append("considered and left alone:")
        out += [line for row in processes.rejected for line in _rejected(row, look, indent="  ", why=True)]
    elif processes.rejected:
        count = len(processes.rejected)
        out.append(f"{_count(count, 'other process was', 'other processes were')} left alone; --why lists them")
    return out


def _tree(rows: Sequence[outcomes.ProcessRow], look: Look) -> list[str]:
    """The processes below their parents; one whose parent is not ours stands at the left."""
    pids = {row.pid for row in rows}
    children: dict[int | None, list[outcomes.ProcessRow]] = {}
    for row in sorted(rows, key=lambda row: row.pid):
        parent = row.ppid if row.ppid in pids and row.ppid != row.pid else None
        children.setdefault(parent, []).append(row)
    child, last, below, nothing = look.branches
    out: list[str] = []
    # A stack instead of recursion: a chain of processes may be deeper than Python's limit. The deepest
    # indentation still leaves room for a command.
    stack = [(row, "  ", "  ") for row in reversed(children.get(None, []))]
    while stack:
        row, lead, rest = stack.pop()
        facts = [f"port {port}" for port in row.ports]
        if row.cpu_percent is not None and row.cpu_percent >= 1:
            facts.append(f"{row.cpu_percent:.0f}% CPU")
        if row.rss_bytes is not None:
            facts.append(size(row.rss_bytes))
        text = f"{lead}{row.pid} "
        suffix = f"  ({', '.join(facts)})" if facts else ""
        out.append(
            text
            + look.shorten(foreign(row.command), look.width - columns(text) - len(suffix))
            + look.paint(suffix, "dim")
        )
        under = children.get(row.pid, [])
        indent = rest + (below if under else nothing)
        for item in row.evidence:
            words = f"{item.kind}: {foreign(item.detail)}" if item.detail else item.kind
            out.append(indent + look.paint(look.shorten(words, look.width - columns(indent)), "dim"))
        deeper = rest if len(rest) < look.width // 2 else rest[: -len(nothing)]
        for number, row_below in enumerate(reversed(under)):
            stack.append(
                (
                    row_below,
                    deeper + (last if number == 0 else child),
                    deeper + (nothing if number == 0 else below),
                )
            )
    return out


def _explain(report: outcomes.ExplainReport, look: Look) -> list[str]:
    if not report.explanations:
        return ["nobody is there: there is nothing to explain"]
    out: list[str] = []
    for item in report.explanations:
        prefix = f"{item.pid} "
        out.append(prefix + look.shorten(foreign(item.command), look.width - len(prefix)))
        width = max((len(rule.rule) for rule in item.rules), default=0)
        for rule in item.rules:
            answer = {True: "yes", False: "no", None: "?"}[rule.holds]
            lead = f"  {rule.rule:<{width}}  {answer:<3}  "
            first, *more = _wrapped(lead, foreign(rule.detail), look)
            tone: Tone = {True: "good", False: "dim", None: "odd"}[rule.holds]  # type: ignore[assignment]
            mark = 4 + width
            out += [first[:mark] + look.paint(first[mark : mark + 3], tone) + first[mark + 3 :], *more]
        out += _wrapped("verdict: ", foreign(item.verdict), look)
    return out


# --- start, stop, clean ------------------------------------------------------------------------------


def _start(report: outcomes.StartReport, look: Look) -> list[str]:
    if not report.services:
        return ["nothing to start"]
    out = [line for item in report.services for line in _started(item, look, dry_run=report.dry_run)]
    return [*out, *_dry(report.dry_run)]


def _restart(report: outcomes.RestartReport, look: Look, *, why: bool) -> list[str]:
    lines = _stop(report.stop, look, why=why)
    if not report.stop.ok:
        return [*lines, "nothing was started: what survived must go first"]
    return [*(line for line in lines if line != _DRY), *_start(report.start, look)]


def _started(item: outcomes.Started, look: Look, *, dry_run: bool) -> list[str]:
    spent = f" ({item.seconds:.2f} s)"
    words: dict[str, tuple[str, Tone]] = {
        "started": ("would start" if dry_run else f"started{spent}", "good"),
        "already-running": ("already running", "good"),
        "not-ready": (f"not ready{spent}", "bad"),
        "exited": (f"exited{spent}", "bad"),
        "refused": ("refused", "odd"),
    }
    word, tone = words[item.outcome]
    out = []
    failed = item.outcome not in ("started", "already-running")
    if failed and look.forge == "github":
        out.append(forge.error(f"{item.name}: {word}{': ' + foreign(item.detail) if item.detail else ''}", look))
    facts = [fact for fact in (item.url and printable(item.url), item.pid and f"PID {item.pid}") if fact]
    out.append(f"{item.name}: {look.paint(word, tone)}{''.join(f'  {fact}' for fact in facts)}")
    if item.detail:
        out += _wrapped("  ", foreign(item.detail), look)
    if item.hint:
        out += _wrapped("  hint: ", foreign(item.hint), look)
    if item.log_file and not dry_run:
        out.append(f"  log {_path(item.log_file)}")
    if item.log_tail:
        lines = [forge.quoted(printable(line), look) for line in item.log_tail]
        out += forge.grouped(f"  {item.name}'s last words:", lines, look)
    return out


def _stop(report: outcomes.StopReport, look: Look, *, why: bool) -> list[str]:
    ended = sum(len(item.stopped) + len(item.killed) for item in report.services)
    out: list[str] = []
    for item in report.services:
        out += _stopped(item, look, report, why=why)
    if not report.services:
        out.append("nothing to stop")
    if len(report.services) > 1 and ended and not report.dry_run:
        out.append(f"stopped {_count(ended, 'process', 'processes')} in {report.seconds:.2f} s")
    return [*out, *_dry(report.dry_run)]


def _stopped(item: outcomes.Stopped, look: Look, report: outcomes.StopReport, *, why: bool) -> list[str]:
    commands = dict(item.commands)
    parts = []
    if item.stopped:
        verb = "would stop" if report.dry_run else "stopped"
        parts.append(f"{verb} {_count(len(item.stopped), 'process', 'processes')}")
    if item.killed:
        verb = "would kill" if report.dry_run else "killed"
        parts.append(f"{verb} {_count(len(item.killed), 'process', 'processes')}")
    if item.survivors:
        parts.append(look.paint(f"{_count(len(item.survivors), 'process', 'processes')} still there", "bad"))
    told = ", ".join(parts) or "nothing to stop"
    if len(report.services) == 1 and parts and not report.dry_run:
        told += f" ({report.seconds:.2f} s)"
    out = [f"{item.name}: {told}"]
    for pid in (*item.stopped, *item.killed):
        how = "" if report.dry_run else "stopped  " if pid in item.stopped else "killed   "
        lead = f"  {pid:>7}  {how}"
        out.append(lead + look.shorten(foreign(commands.get(pid, "")), look.width - len(lead)))
    for row in item.survivors:
        lead = f"  {row.pid:>7}  "
        out.append(lead + look.shorten(foreign(commands.get(row.pid, "")), look.width - len(lead)))
        first, *more = _wrapped("           survived: ", foreign(row.reason), look)
        out += [first.replace("survived:", look.paint("survived:", "bad"), 1), *more]
        if look.forge == "github":
            out.append(forge.error(f"{item.name}: PID {row.pid} survived: {foreign(row.reason)}", look))
    for path in item.removed:
        out.append(f"  {'would remove' if report.dry_run else 'removed'} {_path(path)}")
    for note in item.notes:
        out += _wrapped("  ", foreign(note), look)
    shown = item.rejected if why else item.rejected[:_REJECTED_SHOWN]
    if shown:
        out.append("  left alone:")
    out += [line for row in shown for line in _rejected(row, look, indent="    ", why=why)]
    if len(shown) < len(item.rejected):
        out.append(f"    and {len(item.rejected) - len(shown)} more; --why lists them")
    return out


def _rejected(row: outcomes.RejectedRow, look: Look, *, indent: str, why: bool) -> list[str]:
    """PID, program and folder; with `why` also the reason."""
    lead = f"{indent}{row.pid} "
    where = f" in {foreign(row.cwd)}" if row.cwd else ""
    room = max(look.width - len(lead) - columns(where), look.width // 3)
    out = [look.shorten(f"{lead}{look.shorten(foreign(row.command), room)}{where}", look.width)]
    return [*out, *_wrapped(f"{indent}  ", foreign(row.reason), look)] if why else out


def _clean(report: outcomes.CleanReport, look: Look) -> list[str]:
    verb = "would remove" if report.dry_run else "removed"
    out = [f"{verb} {_path(path)}" for path in report.removed] or ["nothing stale to remove"]
    for note in report.notes:
        out += _wrapped("", foreign(note), look)
    running: dict[str, list[int]] = {}
    for row in report.running:
        running.setdefault(row.service, []).append(row.pid)
    for service, pids in running.items():
        listed = ", ".join(map(str, pids[:5])) + (f" and {len(pids) - 5} more" if len(pids) > 5 else "")
        word = "PID" if len(pids) == 1 else "PIDs"
        # Instances have no tasks of their own: NAME.2 is stopped by stop-NAME or by --only NAME.2.
        command = f"stop --only {service}" if "." in service else f"stop-{service}"
        out.append(f"{service} still runs ({word} {listed}); {command} stops it")
    return [*out, *_dry(report.dry_run)]


def _logs(report: outcomes.LogLines, look: Look) -> list[str]:
    services = list(dict.fromkeys(service for service, _ in report.lines))
    if not services:
        return ["no log lines"]
    width = max(map(len, services))
    labels = {name: look.label(f"{name:<{width}}", number) for number, name in enumerate(services)}
    return [
        f"{labels[service]} {forge.quoted(printable(line), look).strip()}".rstrip()
        for service, line in report.lines
    ]


def _proposal(proposal: outcomes.Proposal) -> list[str]:
    lines = [printable(line) for line in proposal.content.rstrip("\n").split("\n")]
    if proposal.path is None:
        return [*lines, *_dry(dry_run=True)]
    return [*lines, "", f"written to {_path(proposal.path)}"]


# --- words -------------------------------------------------------------------------------------------


def duration(seconds: float | None) -> str:
    """Two units at most: 12s, 3m 05s, 4h 10m, 2d 3h."""
    if seconds is None:
        return "-"
    whole = max(int(seconds), 0)
    if whole < 60:
        return f"{whole}s"
    if whole < 3600:
        return f"{whole // 60}m {whole % 60:02}s"
    if whole < 86_400:
        return f"{whole // 3600}h {whole % 3600 // 60:02}m"
    return f"{whole // 86_400}d {whole % 86_400 // 3600}h"


def size(count: int | None) -> str:
    """Binary units, whole numbers: 512 KiB, 61 MiB, 1.5 GiB."""
    if count is None:
        return "-"
    if count < 1024**2:
        return f"{count // 1024} KiB"
    if count < 1024**3:
        return f"{count // 1024**2} MiB"
    return f"{count / 1024**3:.1f} GiB"


def _count(number: int, one: str, many: str) -> str:
    return f"{number} {one if number == 1 else many}"


def _dry(dry_run: bool) -> list[str]:
    return [_DRY] if dry_run else []


def _path(path: str) -> str:
    """From the current folder, where that is shorter and inside it."""
    try:
        relative = os.path.relpath(path)
    except (OSError, ValueError):
        return printable(path)
    return printable(path if relative.startswith("..") else relative)


def _table(rows: Iterable[Sequence[str]]) -> list[str]:
    listed = list(rows)
    widths = [max(columns(cell) for cell in column) for column in zip(*listed, strict=True)]
    return [
        "  ".join(cell + " " * (width - columns(cell)) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in listed
    ]


def _wrapped(lead: str, text: str, look: Look) -> list[str]:
    """`text` after `lead`, broken at blanks, further lines below its beginning; long words are left whole."""
    from textwrap import wrap

    indent = " " * columns(lead)
    lines = wrap(text, max(look.width - len(indent), 30), break_long_words=False, break_on_hyphens=False)
    first, *more = lines or [""]
    return [(lead + first).rstrip(), *(indent + line for line in more)]
