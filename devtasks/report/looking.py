"""What the verbs that only look tell: status, show-processes, explain, logs."""

from __future__ import annotations

from collections.abc import Sequence

from devtasks import outcomes
from devtasks.outcomes import State
from devtasks.report import foreign, forge, instances
from devtasks.report.look import Look, Tone, columns
from devtasks.report.words import aligned, counted, duration, rejected, size, wrapped
from devtasks.store.logs import printable
from devtasks.values import replace

STATE_TONES: dict[str, Tone] = {
    "running": "good",
    "starting": "odd",
    "stopped": "dim",
    "elsewhere": "odd",
    "foreign": "odd",
}


_HEALTH_TONES: dict[str, Tone] = {"healthy": "good", "starting": "odd", "foreign": "odd", "unknown": "odd"}


def render(outcome: outcomes.Looked, look: Look, *, why: bool) -> list[str]:
    match outcome:
        case outcomes.Status():
            return status(outcome, look)
        case outcomes.Frame():
            from devtasks.report import top

            return top.lines(outcome, look)
        case outcomes.HealthReport():
            return health(outcome, look)
        case outcomes.Processes():
            return processes(outcome, look, why=why)
        case outcomes.ExplainReport():
            return explain(outcome, look)
        case outcomes.LogLines():
            return logs(outcome, look)
        case outcomes.History():
            from devtasks.report import history

            return history.lines(outcome, look)
        case outcomes.Ports():
            from devtasks.report import ports

            return ports.table(outcome, look)


def status(report: outcomes.Status, look: Look) -> list[str]:
    heading = f"{printable(report.project)} ({printable(report.environment)})"
    if not report.services:
        return [f"{heading}: no services"]
    wanted = ["SERVICE", "STATE", "PID", "PORTS", "UPTIME", "CPU", "MEMORY", "PROCS"]
    if any(row.health for row in report.services):
        wanted.insert(2, "HEALTH")
    if any(row.restarts for row in report.services):
        wanted.append("RESTARTS")
    table: list[list[str]] = []
    states: list[State] = []
    for group, rows in instances.grouped(report.services):
        indent = ""
        if len(rows) > 1:
            all_of_them = instances.summary(group, rows)
            cells = [status_cell(all_of_them, column) for column in wanted]
            cells[1] = instances.share([row.state for row in rows], "running")
            table.append(cells)
            states.append(all_of_them.state)
            indent = "  "
        for row in rows:
            table.append([status_cell(row, column) for column in wanted])
            table[-1][0] = indent + row.name
            states.append(row.state)
    lines = aligned([wanted, *table])
    out = [heading, look.paint(lines[0], "dim")]
    for cells, state, line in zip(table, states, lines[1:], strict=True):
        at, told = line.index(cells[1], len(cells[0])), cells[1]
        out.append(line[:at] + look.paint(told, STATE_TONES.get(state, "bad")) + line[at + len(told) :])
    for row in report.services:
        if row.detail:
            out += wrapped(f"{row.name}: ", foreign(row.detail), look)
        if row.holder is not None:
            out += wrapped(f"{row.name}: ", f"the port is held by {_holder(row.holder)}", look)
    return out


def status_cell(row: outcomes.ServiceStatus, column: str) -> str:
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
            return str(row.restarts) if row.restart is None else f"{row.restarts} ({row.restart.left} left)"
        case _:
            return str(row.processes)


def health(report: outcomes.HealthReport, look: Look) -> list[str]:
    if not report.services:
        return ["no services"]
    names = max(len(row.name) for row in report.services)
    words = max(len(row.health) for row in report.services)
    out: list[str] = []
    for row in report.services:
        lead = f"{row.name:<{names}}  {row.health:<{words}}  "
        first, *more = wrapped(lead, f"{foreign(row.detail)} ({row.probe}, {row.seconds:.2f} s)", look)
        at = names + 2
        painted = look.paint(row.health, _HEALTH_TONES.get(row.health, "bad"))
        out += [first[:at] + painted + first[at + len(row.health) :], *more]
    return out


def _holder(holder: outcomes.Holder) -> str:
    if holder.pid is None:
        return "somebody whom only root may see"
    where = f" in {foreign(holder.cwd)}" if holder.cwd else ""
    return f"PID {holder.pid}, {foreign(holder.command) or 'unknown'}{where}"


def processes(report: outcomes.Processes, look: Look, *, why: bool) -> list[str]:
    out: list[str] = []
    numbers = iter(range(len(report.services)))
    for service, groups in instances.grouped(report.services):
        several = len(groups) > 1
        inner = replace(look, width=look.width - 2) if several else look
        if several:
            total = _processes_told(sum(len(group.processes) for group in groups))
            out.append(f"{service}: {len(groups)} instances, {total}")
        for group in groups:
            shown = _group(group, next(numbers), inner)
            out += [f"  {line}" for line in shown] if several and look.forge is None else shown
    if not report.services:
        out.append(f"{printable(report.project)}: no services")
    if report.rejected and why:
        out.append("considered and left alone:")
        out += [line for row in report.rejected for line in rejected(row, look, indent="  ", why=True)]
    elif report.rejected:
        count = len(report.rejected)
        out.append(f"{counted(count, 'other process was', 'other processes were')} left alone; --why lists them")
    return out


def _processes_told(count: int) -> str:
    return counted(count, "process", "processes") if count else "no processes"


def _group(group: outcomes.ProcessGroup, number: int, look: Look) -> list[str]:
    title = f"{look.label(group.name, number)}: {_processes_told(len(group.processes))}"
    if not group.processes:
        return [title]
    if group.guarantee:
        title += look.paint(f" (held together by {group.guarantee})", "dim")
    return forge.grouped(title, _tree(group.processes, look), look)


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


def explain(report: outcomes.ExplainReport, look: Look) -> list[str]:
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
            first, *more = wrapped(lead, foreign(rule.detail), look)
            tone: Tone = {True: "good", False: "dim", None: "odd"}[rule.holds]  # type: ignore[assignment]
            mark = 4 + width
            out += [first[:mark] + look.paint(first[mark : mark + 3], tone) + first[mark + 3 :], *more]
        out += wrapped("verdict: ", foreign(item.verdict), look)
    return out


def logs(report: outcomes.LogLines, look: Look) -> list[str]:
    from devtasks.report.logs import Lines

    shown = list(dict.fromkeys(one.service for one in report.lines))
    if not shown:
        return [] if report.problems else ["no log lines"]
    return Lines(look, report.services or shown, shown=shown).of(report.lines)
