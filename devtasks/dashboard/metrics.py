"""Prometheus' text format, version 0.0.4, from what GET /api/services says. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, get_args

from devtasks.outcomes import State

MEDIA_TYPE = "text/plain; version=0.0.4; charset=utf-8"

UP = ("running", "starting", "unhealthy")

Sample = tuple[Mapping[str, str], float | None]


def render(told: Mapping[str, Any], cpu_seconds: Mapping[str, float], beats: Mapping[str, Any]) -> str:
    """`told` as GET /api/services, `beats` as GET /api/heartbeat/status; `cpu_seconds` of each service's tree."""
    project = told["project"]
    rows = [({"project": project, "service": row["name"]}, row) for row in told["services"]]
    probes = {row["name"]: row["seconds"] for row in beats["services"]}
    lines: list[str] = []

    def family(name: str, kind: str, text: str, samples: Iterable[Sample]) -> None:
        shown = [(labels, value) for labels, value in samples if value is not None]
        if shown:
            lines.extend((f"# HELP {name} {text}", f"# TYPE {name} {kind}"))
            lines.extend(f"{name}{_labels(labels)} {value:.12g}" for labels, value in shown)

    family(
        "devtasks_service_up",
        "gauge",
        "Whether the service's main process lives.",
        ((labels, float(row["state"] in UP)) for labels, row in rows),
    )
    family(
        "devtasks_service_state",
        "gauge",
        "1 for the state that the service is in.",
        (
            ({**labels, "state": state}, float(row["state"] == state))
            for labels, row in rows
            for state in get_args(State)
        ),
    )
    family(
        "devtasks_service_restarts_total",
        "counter",
        "Restarts on record.",
        ((labels, row["restarts"]) for labels, row in rows),
    )
    family(
        "devtasks_service_cpu_seconds_total",
        "counter",
        "CPU time used by the living processes of the service's tree.",
        ((labels, cpu_seconds.get(row["name"])) for labels, row in rows),
    )
    family(
        "devtasks_service_memory_bytes",
        "gauge",
        "Resident memory of the service's tree.",
        ((labels, row["rss_bytes"]) for labels, row in rows),
    )
    family(
        "devtasks_service_processes",
        "gauge",
        "Processes of the service.",
        ((labels, row["processes"]) for labels, row in rows),
    )
    family(
        "devtasks_service_uptime_seconds",
        "gauge",
        "Age of the service's main process.",
        ((labels, row["uptime_seconds"]) for labels, row in rows),
    )
    family(
        "devtasks_probe_seconds",
        "gauge",
        "How long the last health probe took.",
        ((labels, probes.get(row["name"])) for labels, row in rows),
    )
    family(
        "devtasks_monitor_up",
        "gauge",
        "Whether a monitor watches the services.",
        [({"project": project}, float(beats["monitor"]["state"] == "watching"))],
    )
    return "\n".join([*lines, ""])


def _labels(labels: Mapping[str, str]) -> str:
    return "{" + ",".join(f'{name}="{_escaped(value)}"' for name, value in labels.items()) + "}"


def _escaped(value: str) -> str:
    return value.replace("\\", r"\\").replace('"', r"\"").replace("\n", r"\n")
