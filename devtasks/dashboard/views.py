"""The JSON of what the dashboard shows: the shapes of docs/json.md, and what a page needs beside them. Pure."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any

from devtasks import outcomes
from devtasks.model import Project, Service
from devtasks.report import foreign
from devtasks.report.shapes import VERSION, shape
from devtasks.store.events import Event

Shape = dict[str, Any]

RESOURCES = ("name", "cpu_percent", "rss_bytes", "uptime_seconds", "processes")


def services(status: outcomes.Status, project: Project, actions: Mapping[str, str]) -> Shape:
    """GET /api/services. `actions`: what is being done to a service, by its name."""
    known = {service.name: service for service in project.services}
    told = shape(status)
    told["services"] = [{**row, **_beside(known.get(row["name"]), row, actions)} for row in told["services"]]
    return told


def _beside(service: Service | None, row: Mapping[str, Any], actions: Mapping[str, str]) -> Shape:
    return {
        "group": service.group if service is not None else row["name"],
        "url": _url(service) if service is not None else None,
        "startable": service is not None and bool(service.command),
        "depends_on": list(service.depends_on) if service is not None else [],
        "action": actions.get(row["name"]),
    }


def _url(service: Service) -> str | None:
    """Where a browser on this machine reaches it."""
    if service.port is None:
        return None
    host = {"0.0.0.0": "127.0.0.1", "::": "::1"}.get(service.host, service.host)  # noqa: S104 - what is not bound
    return f"http://{f'[{host}]' if ':' in host else host}:{service.port}"


def resources(told: Mapping[str, Any], at: float) -> Shape:
    """The event `resources`, from GET /api/services."""
    return {"at": round(at, 3), "services": [{key: row[key] for key in RESOURCES} for row in told["services"]]}


def lasting(told: Mapping[str, Any]) -> Shape:
    """Of GET /api/services, all that does not change by itself: when this does, the page is told."""
    passing = set(RESOURCES) - {"name"}
    rows = [{key: value for key, value in row.items() if key not in passing} for row in told["services"]]
    return {**told, "services": rows}


def stop(report: outcomes.StopReport) -> Shape:
    """A report of stop, with the command lines of the PIDs in it."""
    told = shape(report)
    for row, item in zip(told["services"], report.services, strict=True):
        row["processes"] = [{"pid": pid, "command": foreign(command)} for pid, command in item.commands]
    return told


def report(outcome: outcomes.Anything) -> Shape:
    """What a verb has done."""
    if isinstance(outcome, outcomes.StopReport):
        return stop(outcome)
    told = shape(outcome)
    if isinstance(outcome, outcomes.RestartReport):
        told["stop"] = {key: value for key, value in stop(outcome.stop).items() if key != "version"}
    return told


def history(events: Iterable[Event]) -> Shape:
    """The event `history`, and what GET /api/history says."""
    return {
        "events": [
            {
                "at": round(one.at, 3),
                "service": foreign(one.service),
                "kind": foreign(one.kind),
                "pid": one.pid,
                "detail": None if one.detail is None else foreign(one.detail),
            }
            for one in events
        ]
    }


def log(lines: Iterable[tuple[str, str]], dropped: int) -> Shape:
    """The event `log`."""
    return {"lines": [{"service": name, "line": foreign(line)} for name, line in lines], "dropped": dropped}


def event(kind: str, data: Mapping[str, Any]) -> bytes:
    """A server-sent event on the wire. JSON in ASCII has no line breaks."""
    return f"event: {kind}\ndata: {json.dumps(data, allow_nan=False, separators=(',', ':'))}\n\n".encode()


def hello(told: Mapping[str, Any], version: str, now: float) -> bytes:
    """The first event of a stream."""
    known = {key: told[key] for key in ("version", "project", "environment")}
    return event("hello", {**known, "devtasks": version, "now": round(now, 3)})


__all__ = ["VERSION", "Shape", "event", "hello", "history", "lasting", "log", "report", "resources", "services"]
