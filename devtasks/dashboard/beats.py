"""GET /api/heartbeat/status: when the monitor and each service were last heard of."""

from __future__ import annotations

from devtasks.dashboard.views import VERSION, Shape
from devtasks.verbs import Scope


def read(scope: Scope) -> Shape:
    """Without a monitor nothing is known: `absent`."""
    return {
        "version": VERSION,
        "monitor": {"state": "absent", "pid": None, "at": None, "age_seconds": None},
        "services": [
            {
                "name": service.name,
                **dict.fromkeys(("at", "age_seconds", "health", "probe", "seconds", "detail")),
            }
            for service in scope.project.services
        ],
    }
