"""What whoever stops things in the place of a killed `up` must know, as one line of text.

It is not read from the configuration again: that may have changed since. What a service is recognised by where it
was not started by us (patterns, ports) is left out: only runs are stopped, by their nonces.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from devtasks.model import Project, Service, StopPolicy
from devtasks.monitoring import claim
from devtasks.values import Value


class Estate(Value):
    """The project, its services without commands, and the PID file of whoever watches it."""

    project: Project
    watch_file: Path


def written(project: Project) -> str:
    return json.dumps(
        {
            "watch_file": str(claim.pid_file(project)),
            "name": project.name,
            "root": str(project.root),
            "digest": project.digest,
            "state_dir": str(project.state_dir),
            "environment": project.environment,
            "services": [_service(service) for service in project.services],
        }
    )


def read(line: str) -> Estate:
    """What was `written`."""
    given: dict[str, Any] = json.loads(line)
    root = Path(given["root"])
    project = Project(
        name=given["name"],
        root=root,
        digest=given["digest"],
        state_dir=Path(given["state_dir"]),
        environment=given["environment"],
        source="up",
        services=tuple(
            Service(
                name=one["name"],
                group=one["group"],
                command=(),
                cwd=root,
                pid_file=Path(one["pid_file"]),
                daemon_pid_file=None if one["daemon_pid_file"] is None else Path(one["daemon_pid_file"]),
                log_file=Path(one["log_file"]),
                depends_on=tuple(one["depends_on"]),
                stop=StopPolicy(
                    signals=tuple(one["signals"]), timeout_seconds=one["timeout_seconds"], kill=one["kill"]
                ),
            )
            for one in given["services"]
        ),
    )
    return Estate(project=project, watch_file=Path(given["watch_file"]))


def _service(service: Service) -> dict[str, object]:
    return {
        "name": service.name,
        "group": service.group,
        "pid_file": str(service.pid_file),
        "daemon_pid_file": None if service.daemon_pid_file is None else str(service.daemon_pid_file),
        "log_file": str(service.log_file),
        "depends_on": list(service.depends_on),
        "signals": list(service.stop.signals),
        "timeout_seconds": service.stop.timeout_seconds,
        "kill": service.stop.kill,
    }
