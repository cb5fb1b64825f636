"""The table of a service that is a container: what it may say, and what is the engine's affair."""

from __future__ import annotations

import os
import re
from pathlib import Path

from devtasks.config.policies import read_health, read_ready
from devtasks.config.readers import CONTAINER, array, matching, one_of, seconds, service_name
from devtasks.config.section import Section, T
from devtasks.config.service import Address, check_tokens, file_path, fill_probe, host_name, read_ports
from devtasks.model import Service, StopPolicy
from devtasks.values import replace

ENGINES = ("docker", "podman")
KINDS = ("container", "compose")
_name = matching(
    CONTAINER, "the name of a container or compose service: a letter or digit, then those, _, . and -"
)
_OF_PROCESSES = {
    "command": "keep one of them",
    "before": "what has to run first belongs into the image",
    "env": "the container has an environment of its own",
    "env_file": "the container has an environment of its own",
    "restart": "the engine restarts it: give the container a restart policy",
    "limits": "give them to the container",
    "log_max_bytes": "the engine keeps its log",
    "log_file": "the engine keeps its log",
    "instances": "name each container",
    "listener": "the engine listens for it",
}
_PROCESS_KEYS = ("shell", "pid_file", "daemon_pid_file", "patterns", "stdin", "data")


def read_container(
    section: Section, *, name: str, root: Path, state_dir: Path, address: Address
) -> tuple[Service, ...]:
    """The service. Mistakes go to the section; what is returned then only serves to find more of them."""
    for key in (*_OF_PROCESSES, *_PROCESS_KEYS):
        section.take(key, _anything, None)
        if key in section.table:
            why = _OF_PROCESSES.get(key, "remove it")
            section.problem(key, f"is for a service that is a process, and this one is a container; {why}")
    if all(kind in section.table for kind in KINDS):
        section.problem("compose", "container is given too; keep one of them")
    container, compose = (section.take(kind, _name, None) for kind in KINDS)
    written_host = section.take("host", host_name, "127.0.0.1")
    host = written_host if address.host is None else address.host
    ports = read_ports(section, address.port)
    has_port = bool(ports) or bool(section.wrong & {"port", "ports"})
    ready = read_ready(section.section("ready"), has_port=has_port)
    health = read_health(section.section("health"), has_port=has_port)
    for key, log in (("ready", ready.log), ("health", health.log if health is not None else None)):
        if log is not None:
            section.problem(f"{key}.log", "the engine keeps its log; use http, tcp, command, or its health check")
    service = Service(
        name=name,
        group=name,
        command=(),
        container=container,
        compose=compose,
        engine=section.take("engine", one_of(*ENGINES), None),
        cwd=Path(os.path.realpath(root / section.take("cwd", file_path, "."))),
        host=host,
        ports=ports,
        pid_file=state_dir / f"{name}.pid",
        log_file=state_dir / f"{name}.log",
        depends_on=section.take("depends_on", array(service_name, unique=True), ()),
        stop=_read_stop(section.section("stop")),
        ready=ready,
        health=health,
        listener="any",
    )
    section.finish()
    check_tokens(section, service, {}, has_port=has_port, instances=1)
    tokens = {"host": host, "port": str(ports[0]) if ports else "{port}", "instance": "1"}

    def fill(text: str) -> str:
        return re.sub(r"\{(host|port|instance)\}", lambda match: tokens[match[1]], text)

    filled = None if health is None else fill_probe(health, fill)
    return (replace(service, ready=fill_probe(ready, fill), health=filled),)


def _read_stop(section: Section | None) -> StopPolicy:
    policy = StopPolicy()
    if section is None:
        return policy
    for key, why in (
        ("signal", "give the container a stop signal"),
        ("kill", "the engine always kills in the end"),
    ):
        section.take(key, _anything, None)
        if key in section.table:
            section.problem(key, f"is for a service that is a process, and this one is a container; {why}")
    policy = replace(policy, timeout_seconds=section.take("timeout", seconds(), policy.timeout_seconds))
    section.finish()
    return policy


def _anything(value: T) -> T:
    return value
