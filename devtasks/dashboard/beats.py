"""GET /api/heartbeat/status: when the monitor and each service were last heard of."""

from __future__ import annotations

from devtasks.dashboard.views import VERSION, Shape
from devtasks.monitoring import claim
from devtasks.report import foreign
from devtasks.store.watching import ServiceBeat
from devtasks.verbs import Scope

SILENT_SECONDS = 15.0  # a monitor writes every five


def read(scope: Scope) -> Shape:
    """`watching`, `silent` (it lives, and its heartbeat is overdue) or `absent`; without one nothing is known."""
    now = scope.world.now()
    monitor, beats = scope.state.watching.beats()
    watched = claim.is_watched(scope.project)
    heard = monitor is not None and abs(now - monitor.at) <= SILENT_SECONDS
    return {
        "version": VERSION,
        "monitor": {
            "state": "absent" if not watched else "watching" if heard else "silent",
            "pid": monitor.identity.pid if watched and monitor is not None else None,
            "at": None if monitor is None else round(monitor.at, 3),
            "age_seconds": None if monitor is None else round(max(0.0, now - monitor.at), 3),
        },
        "services": [
            {"name": service.name, **_service(beats.get(service.name), now)}
            for service in scope.project.services
            if service.command
        ],
    }


def _service(beat: ServiceBeat | None, now: float) -> Shape:
    if beat is None:
        return dict.fromkeys(("at", "age_seconds", "health", "probe", "seconds", "detail"))
    return {
        "at": round(beat.at, 3),
        "age_seconds": round(max(0.0, now - beat.at), 3),
        "health": beat.health,
        "probe": None if beat.probe is None else foreign(beat.probe),
        "seconds": None if beat.seconds is None else round(beat.seconds, 3),
        "detail": None if beat.detail is None else foreign(beat.detail),
    }
