"""What the verbs that change something tell: start, stop, force-clean, restart, clean, init."""

from __future__ import annotations

import time

from devtasks import outcomes
from devtasks.report import foreign, forge
from devtasks.report.look import Look, Tone
from devtasks.report.words import DRY, counted, dry_note, rejected, short_path, wrapped
from devtasks.store.logs import printable

_REJECTED_SHOWN = 5  # without --why


def render(outcome: outcomes.Acted, look: Look, *, why: bool) -> list[str]:
    match outcome:
        case outcomes.StartReport():
            return start(outcome, look)
        case outcomes.StopReport():
            return stop(outcome, look, why=why)
        case outcomes.RestartReport():
            return restart(outcome, look, why=why)
        case outcomes.ServeReport():
            return serve(outcome, look)
        case outcomes.DashboardReport():
            return dashboard(outcome, look)
        case outcomes.CleanReport():
            return clean(outcome, look)
        case outcomes.Proposal():
            return proposal(outcome)
        case outcomes.ExportReport():
            from devtasks.report import exporting

            return exporting.render(outcome, look)
        case outcomes.MonitorReport():
            return monitor(outcome)


def start(report: outcomes.StartReport, look: Look) -> list[str]:
    if not report.services:
        return ["nothing to start"]
    out = [line for item in report.services for line in _started(item, look, dry_run=report.dry_run)]
    return [*out, *dry_note(report.dry_run)]


def restart(report: outcomes.RestartReport, look: Look, *, why: bool) -> list[str]:
    lines = stop(report.stop, look, why=why)
    if not report.stop.ok:
        return [*lines, "nothing was started: what survived must go first"]
    return [*(line for line in lines if line != DRY), *start(report.start, look)]


def serve(report: outcomes.ServeReport, look: Look) -> list[str]:
    if not report.dry_run:
        ended = any(item.stopped or item.killed or item.survivors for item in report.stop.services)
        return stop(report.stop, look, why=False) if ended else [f"{report.name}: was stopped from outside"]
    room = stop(report.stop, look, why=False) if report.stop.services else []
    would = f"{report.name}: would serve {report.app} on {report.url}"
    return [*(line for line in room if line != DRY), would, *dry_note(dry_run=True)]


def _started(item: outcomes.Started, look: Look, *, dry_run: bool) -> list[str]:
    spent = f" ({item.seconds:.2f} s)"
    words: dict[str, tuple[str, Tone]] = {
        "started": ("would start" if dry_run else f"started{spent}", "good"),
        "already-running": ("already running", "good"),
        "not-ready": (f"not ready{spent}", "bad"),
        "exited": (f"exited{spent}" if item.log_file else "not started", "bad"),
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
        out += wrapped("  ", foreign(item.detail), look)
    if item.hint:
        out += wrapped("  hint: ", foreign(item.hint), look)
    if item.log_file and not dry_run:
        out.append(f"  log {short_path(item.log_file)}")
    if item.log_tail:
        lines = [forge.quoted(printable(line), look) for line in item.log_tail]
        out += forge.grouped(f"  {item.name}'s last words:", lines, look)
    return out


def stop(report: outcomes.StopReport, look: Look, *, why: bool) -> list[str]:
    ended = sum(len(item.stopped) + len(item.killed) for item in report.services)
    out: list[str] = []
    for item in report.services:
        out += _stopped(item, look, report, why=why)
    if not report.services and not report.notes:
        out.append("nothing to stop")
    for note in report.notes:
        out += wrapped("", foreign(note), look)
    if len(report.services) > 1 and ended and not report.dry_run:
        out.append(f"stopped {counted(ended, 'process', 'processes')} in {report.seconds:.2f} s")
    return [*out, *dry_note(report.dry_run)]


def _stopped(item: outcomes.Stopped, look: Look, report: outcomes.StopReport, *, why: bool) -> list[str]:
    commands = dict(item.commands)
    parts = []
    if item.stopped:
        verb = "would stop" if report.dry_run else "stopped"
        parts.append(f"{verb} {counted(len(item.stopped), 'process', 'processes')}")
    if item.killed:
        verb = "would kill" if report.dry_run else "killed"
        parts.append(f"{verb} {counted(len(item.killed), 'process', 'processes')}")
    if item.survivors:
        parts.append(look.paint(f"{counted(len(item.survivors), 'process', 'processes')} still there", "bad"))
    verb = "would stop" if report.dry_run else "stopped"
    parts += [f"{verb} container {foreign(name)}" for name in item.containers]
    if item.failure is not None:
        parts.append(look.paint("not stopped", "bad"))
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
        first, *more = wrapped("           survived: ", foreign(row.reason), look)
        out += [first.replace("survived:", look.paint("survived:", "bad"), 1), *more]
        if look.forge == "github":
            out.append(forge.error(f"{item.name}: PID {row.pid} survived: {foreign(row.reason)}", look))
    if item.failure is not None:
        out += wrapped("  ", foreign(item.failure), look)
        if look.forge == "github":
            out.append(forge.error(f"{item.name}: {foreign(item.failure)}", look))
    for path in item.removed:
        out.append(f"  {'would remove' if report.dry_run else 'removed'} {short_path(path)}")
    for note in item.notes:
        out += wrapped("  ", foreign(note), look)
    shown = item.rejected if why else item.rejected[:_REJECTED_SHOWN]
    if shown:
        out.append("  left alone:")
    out += [line for row in shown for line in rejected(row, look, indent="    ", why=why)]
    if len(shown) < len(item.rejected):
        out.append(f"    and {len(item.rejected) - len(shown)} more; --why lists them")
    return out


def dashboard(report: outcomes.DashboardReport, look: Look) -> list[str]:
    """The URL has a line of its own, so that it can be copied and is a link in most terminals."""
    if report.dry_run:
        return [f"dashboard: would serve on {printable(report.base)}", *dry_note(dry_run=True)]
    if report.uds is not None:
        out = [f"dashboard: serving on the Unix socket {printable(report.uds)} (PID {report.pid})"]
        out += [f"  token  {short_path(report.token_file or '')}"]
    else:
        how = "already serving" if report.already else "serving"
        out = [f"dashboard: {look.paint(how, 'good')} on {printable(report.base)} (PID {report.pid})"]
        out += [f"  {report.url}", "  opens it once, within five minutes; ask again for another one"]
    if report.log_file is not None:
        out += [f"  log  {short_path(report.log_file)}", "  devtasks dashboard --stop ends it"]
    elif not report.already:
        out += ["  Ctrl-C ends it"]
    return out


def clean(report: outcomes.CleanReport, look: Look) -> list[str]:
    verb = "would remove" if report.dry_run else "removed"
    out = [f"{verb} {short_path(path)}" for path in report.removed] or ["nothing stale to remove"]
    for note in report.notes:
        out += wrapped("", foreign(note), look)
    running: dict[str, list[int]] = {}
    for row in report.running:
        running.setdefault(row.service, []).append(row.pid)
    for service, pids in running.items():
        listed = ", ".join(map(str, pids[:5])) + (f" and {len(pids) - 5} more" if len(pids) > 5 else "")
        word = "PID" if len(pids) == 1 else "PIDs"
        # Instances have no tasks of their own: NAME.2 is stopped by stop-NAME or by --only NAME.2.
        command = f"stop --only {service}" if "." in service else f"stop-{service}"
        out.append(f"{service} still runs ({word} {listed}); {command} stops it")
    return [*out, *dry_note(report.dry_run)]


def proposal(report: outcomes.Proposal) -> list[str]:
    lines = [printable(line) for line in report.content.rstrip("\n").split("\n")]
    if report.path is None:
        return [*lines, *dry_note(dry_run=True)]
    return [*lines, "", f"written to {short_path(report.path)}"]


def monitor(report: outcomes.MonitorReport) -> list[str]:
    who = f"PID {report.pid}" if report.pid is not None else "another process"
    since = (
        f", since {time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(report.since))}"
        if report.since is not None
        else ""
    )
    match report.state:
        case "watching":
            return [f"{who} watches{since}"]
        case "started" if report.dry_run:
            return [f"would watch {', '.join(report.services) or 'nothing'}", *dry_note(dry_run=True)]
        case "started":
            return [f"{who} watches from now on; its log is {printable(report.log_file or '')}"]
        case "stopped" if report.dry_run:
            return [f"would stop the monitor, {who}", *dry_note(dry_run=True)]
        case "stopped":
            return ["the monitor is stopped; the services go on, and nobody starts them again"]
        case "not-watching":
            return ["nobody watches"]
        case "ended":
            return []
