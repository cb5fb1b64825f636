"""The JSON shapes of docs/json.md: a promise to scripts. Keys are written out one by one, not derived."""

from __future__ import annotations

import json
import math
from typing import Any

from devtasks import outcomes
from devtasks.errors import ConfigError, DevtasksError
from devtasks.model import LogLine
from devtasks.report import foreign
from devtasks.store.events import Event
from devtasks.store.logs import printable

VERSION = 1

Shape = dict[str, Any]


def render(outcome: outcomes.Anything) -> str:
    """The outcome as one line of JSON, ASCII only, `version` first."""
    return _line(shape(outcome))


def shape(outcome: outcomes.Anything) -> Shape:
    """The object that stands for an outcome, `version` first."""
    return {"version": VERSION, **_shape(outcome)}


def render_error(error: DevtasksError) -> str:
    """What stands in place of an outcome when there is none."""
    told: Shape = {"message": foreign(error.message), "hint": _text(error.hint), "exit_code": error.exit_code}
    if isinstance(error, ConfigError):
        told["message"] = _lines(error.message)
        told["problems"] = [foreign(problem) for problem in error.problems]
    return _line({"version": VERSION, "ok": False, "error": told})


def render_event(event: Event) -> str:
    """One event as a line of JSON by itself, for who follows."""
    return _line({"version": VERSION, **_event(event)})


def render_log_line(line: LogLine) -> str:
    """One line of a log by itself, with the version: where they are followed."""
    return _line({"version": VERSION, **_log_line(line)})


def _line(whole: Shape) -> str:
    return json.dumps(whole, allow_nan=False, separators=(", ", ": "))


def _shape(outcome: outcomes.Anything) -> Shape:
    match outcome:
        case outcomes.Status():
            return _status(outcome)
        case outcomes.Frame():
            return {"at": _number(outcome.at), **_status(outcome.status)}
        case outcomes.HealthReport():
            return _health(outcome)
        case outcomes.Processes():
            return _processes(outcome)
        case outcomes.StartReport():
            return _start(outcome)
        case outcomes.StopReport():
            return _stop(outcome)
        case outcomes.RestartReport():
            return {"ok": outcome.ok, "stop": _stop(outcome.stop), "start": _start(outcome.start)}
        case outcomes.ServeReport():
            return _serve(outcome)
        case outcomes.DashboardReport():
            return _dashboard(outcome)
        case outcomes.MonitorReport():
            return _monitor(outcome)
        case outcomes.CleanReport():
            return _clean(outcome)
        case outcomes.ExplainReport():
            return _explain(outcome)
        case outcomes.LogLines():
            return _log_lines(outcome)
        case outcomes.History():
            return {"project": outcome.project, "events": [_event(event) for event in outcome.events]}
        case outcomes.Ports():
            return _ports(outcome)
        case outcomes.FleetReport():
            return _fleet(outcome)
        case outcomes.ExportReport():
            return _export(outcome)
        case outcomes.Proposal():
            return {"path": outcome.path, "written": outcome.written, "content": outcome.content}


def _status(status: outcomes.Status) -> Shape:
    return {
        "project": status.project,
        "environment": status.environment,
        "services": [
            {
                "name": row.name,
                "state": row.state,
                "health": row.health,
                "pid": row.pid,
                "ports": list(row.ports),
                "uptime_seconds": _number(row.uptime_seconds),
                "restarts": row.restarts,
                "cpu_percent": _number(row.cpu_percent, 1),
                "rss_bytes": row.rss_bytes,
                "processes": row.processes,
                "holder": None
                if row.holder is None
                else {
                    "pid": row.holder.pid,
                    "command": foreign(row.holder.command),
                    "cwd": _text(row.holder.cwd),
                },
                "detail": _text(row.detail),
                "restart": None if row.restart is None else _restart(row.restart),
            }
            for row in status.services
        ],
    }


def _health(report: outcomes.HealthReport) -> Shape:
    return {
        "ok": report.ok,
        "services": [
            {
                "name": row.name,
                "health": row.health,
                "probe": row.probe,
                "seconds": _number(row.seconds),
                "detail": foreign(row.detail),
            }
            for row in report.services
        ],
    }


def _restart(restart: outcomes.RestartStatus) -> Shape:
    return {
        "policy": restart.policy,
        "max": restart.max,
        "window_seconds": _number(restart.window_seconds),
        "left": restart.left,
        "next_at": _number(restart.next_at),
        "waits_for": restart.waits_for,
        "failed": restart.failed,
        "failed_until": _number(restart.failed_until),
        "cause": None if restart.cause is None else _lines(restart.cause),
    }


def _processes(processes: outcomes.Processes) -> Shape:
    return {
        "project": processes.project,
        "services": [
            {
                "name": group.name,
                "guarantee": group.guarantee,
                "processes": [
                    {
                        "pid": row.pid,
                        "ppid": row.ppid,
                        "command": foreign(row.command),
                        "cwd": _text(row.cwd),
                        "started_at": _number(row.started_at),
                        "cpu_percent": _number(row.cpu_percent, 1),
                        "rss_bytes": row.rss_bytes,
                        "ports": list(row.ports),
                        "evidence": [{"kind": item.kind, "detail": foreign(item.detail)} for item in row.evidence],
                    }
                    for row in group.processes
                ],
            }
            for group in processes.services
        ],
        "rejected": [_rejected(row) for row in processes.rejected],
    }


def _start(report: outcomes.StartReport) -> Shape:
    return {
        "ok": report.ok,
        "dry_run": report.dry_run,
        "services": [
            {
                "name": item.name,
                "outcome": item.outcome,
                "pid": item.pid,
                "seconds": _number(item.seconds),
                "url": item.url,
                "log_file": None if item.log_file is None else printable(item.log_file),
                "detail": _text(item.detail),
                "hint": _text(item.hint),
                "log_tail": [foreign(line) for line in item.log_tail],
            }
            for item in report.services
        ],
    }


def _stop(report: outcomes.StopReport) -> Shape:
    return {
        "ok": report.ok,
        "dry_run": report.dry_run,
        "seconds": _number(report.seconds),
        "services": [
            {
                "name": item.name,
                "stopped": list(item.stopped),
                "killed": list(item.killed),
                "survivors": [{"pid": row.pid, "reason": foreign(row.reason)} for row in item.survivors],
                "rejected": [_rejected(row) for row in item.rejected],
                "removed": [printable(path) for path in item.removed],
                "containers": [foreign(name) for name in item.containers],
                "failure": _text(item.failure),
                "notes": [foreign(note) for note in item.notes],
            }
            for item in report.services
        ],
        "notes": [foreign(note) for note in report.notes],
    }


def _serve(report: outcomes.ServeReport) -> Shape:
    return {
        "ok": report.ok,
        "dry_run": report.dry_run,
        "name": report.name,
        "app": report.app,
        "url": report.url,
        "pid": report.pid,
        "seconds": _number(report.seconds),
        "exit_code": report.exit_code,
        "stop": _stop(report.stop),
    }


def _dashboard(report: outcomes.DashboardReport) -> Shape:
    return {
        "dry_run": report.dry_run,
        "url": report.url,
        "base": report.base,
        "uds": _text(report.uds),
        "pid": report.pid,
        "already": report.already,
        "detached": report.managed,
        "token_file": None if report.token_file is None else printable(report.token_file),
    }


def _monitor(report: outcomes.MonitorReport) -> Shape:
    return {
        "ok": True,
        "dry_run": report.dry_run,
        "state": report.state,
        "pid": report.pid,
        "since": _number(report.since),
        "services": list(report.services),
        "log_file": None if report.log_file is None else printable(report.log_file),
    }


def _clean(report: outcomes.CleanReport) -> Shape:
    return {
        "dry_run": report.dry_run,
        "removed": [printable(path) for path in report.removed],
        "running": [{"service": row.service, "pid": row.pid} for row in report.running],
        "notes": [foreign(note) for note in report.notes],
    }


def _event(event: Event) -> Shape:
    return {
        "at": _number(event.at),
        "service": foreign(event.service),
        "kind": foreign(event.kind),
        "pid": event.pid,
        "detail": _text(event.detail),
    }


def _explain(report: outcomes.ExplainReport) -> Shape:
    """Of several holders of a port the first stands at the top, too; all are in `explanations`."""
    all_of_them = [
        {
            "pid": item.pid,
            "command": foreign(item.command),
            "verdict": foreign(item.verdict),
            "rules": [
                {"rule": rule.rule, "holds": rule.holds, "detail": foreign(rule.detail)} for rule in item.rules
            ],
        }
        for item in report.explanations
    ]
    first = all_of_them[0] if all_of_them else {"pid": None, "command": "", "verdict": "nobody", "rules": []}
    return {**first, "explanations": all_of_them}


def _ports(report: outcomes.Ports) -> Shape:
    return {
        "project": report.project,
        "ports": [
            {
                "port": row.port,
                "protocol": row.protocol,
                "service": row.service,
                "name": _text(row.name),
                "state": row.state,
                "holders": [_port_holder(holder) for holder in row.holders],
                "warnings": [foreign(warning) for warning in row.warnings],
            }
            for row in report.ports
        ],
    }


def _fleet(report: outcomes.FleetReport) -> Shape:
    """The reports of the hosts are JSON already: they were checked and escaped when they came in."""
    return {
        "ok": all(answer.outcome == "answered" and answer.exit_code == 0 for answer in report.hosts),
        "verb": report.verb,
        "dry_run": report.dry_run,
        "exit_code": report.exit_code,
        "hosts": [
            {
                "host": foreign(answer.name),
                "group": answer.group,
                "outcome": answer.outcome,
                "exit_code": answer.exit_code,
                "seconds": _number(answer.seconds),
                "detail": _text(answer.detail),
                "hint": _text(answer.hint),
                "report": answer.report,
            }
            for answer in report.hosts
        ],
    }


def _port_holder(holder: outcomes.PortHolder) -> Shape:
    return {
        "pid": holder.pid,
        "command": foreign(holder.command),
        "program": foreign(holder.program),
        "cwd": _text(holder.cwd),
        "service": holder.service,
        "user": holder.user,
        "age_seconds": _number(holder.age_seconds),
        "project": _text(holder.project),
        "project_service": _text(holder.project_service),
        "container": holder.container,
        "stop": holder.stop,
        "addresses": list(holder.addresses),
    }


def _export(report: outcomes.ExportReport) -> Shape:
    return {
        "ok": report.ok,
        "target": report.target,
        "output": printable(report.output),
        "written": report.written,
        "files": [{"path": printable(file.path), "state": file.state} for file in report.files],
        "services": [
            {
                "name": service.name,
                "mapped": {item.key: foreign(item.detail) for item in service.mapped},
                "unmapped": [{"key": item.key, "reason": foreign(item.detail)} for item in service.unmapped],
            }
            for service in report.services
        ],
        "unmapped": [{"key": item.key, "reason": foreign(item.detail)} for item in report.remarks],
        "commands": [printable(line) for line in report.commands],
    }


def _rejected(row: outcomes.RejectedRow) -> Shape:
    return {
        "pid": row.pid,
        "service": row.service,
        "command": foreign(row.command),
        "cwd": _text(row.cwd),
        "reason": foreign(row.reason),
    }


def _text(text: str | None) -> str | None:
    return None if text is None else foreign(text)


def _lines(text: str) -> str:
    """Lines of ours, with what others wrote in them."""
    return "\n".join(foreign(line) for line in text.split("\n"))


def _number(value: float | None, digits: int = 3) -> float | None:
    """Rounded to what anybody can use; what is no number is not known."""
    return round(value, digits) if value is not None and math.isfinite(value) else None


def _log_lines(found: outcomes.LogLines) -> Shape:
    return {
        "lines": [_log_line(line) for line in found.lines],
        "problems": [{"service": one.service, "detail": foreign(one.detail)} for one in found.problems],
    }


def _log_line(line: LogLine) -> Shape:
    return {"service": line.service, "line": foreign(line.line), "at": _number(line.at)}
