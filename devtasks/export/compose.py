"""compose.yaml (the Compose specification), and stack.yaml: the same for `docker stack deploy`.

A stack needs a file of its own: its format takes neither conditions in `depends_on` nor `build`, and its restarts
and limits stand in `deploy`. `$` in a value is doubled, because Compose interpolates.
"""

from __future__ import annotations

import os
import re

from devtasks.export import containers, yaml
from devtasks.export.dockerfile import image
from devtasks.export.plan import File, Ledger, Surroundings, Unit, number, slug, units, variables
from devtasks.model import Project, Service

TITLE = "compose"
FOLDER = "."

_Node = dict[str, yaml.Node]


def export(project: Project, around: Surroundings, ledger: Ledger) -> tuple[tuple[File, ...], tuple[str, ...]]:
    """Both files, and the commands that use them."""
    name = slug(project.name)
    made = units(project, merge=True)
    known = {group: [unit.name for unit in made if unit.service.group == group] for group in _names(made)}
    checked = {unit.name: containers.check(unit.service, around, ledger) for unit in made}
    composed: _Node = {}
    stacked: _Node = {}
    for unit in made:
        common = _common(project, around, ledger, unit, checked[unit.name])
        composed[unit.name] = {
            **_image(project, around, unit),
            **common,
            **_depends(ledger, unit.service, known, checked),
            **_alone(ledger, unit),
        }
        stacked[unit.name] = {"image": image(project, unit.name), **common, "deploy": _deploy(unit)}
    containers.told(project, ledger)
    volumes: _Node = {volume: {} for unit in made for volume, _ in containers.data(project, unit.service, ledger)}
    for unit in made:
        if unit.service.depends_on:
            ledger.cannot(
                None, "stack.yaml", "a stack starts everything at once: depends_on is in compose.yaml alone"
            )
            break
    tail: _Node = {"volumes": volumes} if volumes else {}
    files = (
        File(path="compose.yaml", body=yaml.document({"name": name, "services": composed, **tail})),
        File(path="stack.yaml", body=yaml.document({"services": stacked, **tail})),
    )
    return files, _commands(project, around, name)


def _names(made: tuple[Unit, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(unit.service.group for unit in made))


def _image(project: Project, around: Surroundings, unit: Unit) -> _Node:
    return {
        "image": image(project, unit.name),
        "build": {
            "context": _relative(str(project.root), around),
            "dockerfile": os.path.relpath(around.output / "Dockerfile", project.root),
            "target": unit.name,
        },
    }


def _common(
    project: Project, around: Surroundings, ledger: Ledger, unit: Unit, check: containers.Check | None
) -> _Node:
    """What both formats take, in the order of a life: start, run, stop."""
    service = unit.service
    node: _Node = {
        "command": [_literal(word) for word in containers.command(service, ledger)],
        "working_dir": _literal(str(containers.folder(project, service))),
    }
    ledger.put(service, "cwd", "working_dir")
    plain, secret = variables(service, ledger, "it is taken from the environment of `docker compose`, or its .env")
    if service.env:
        node["environment"] = {name: None if name in secret else _literal(plain[name]) for name in service.env}
        ledger.put(service, "env", "environment")
    if service.env_file is not None:
        node["env_file"] = [_relative(str(service.env_file), around)]
        ledger.put(service, "env_file", "env_file")
        ledger.cannot(service, "env_file", "Compose replaces $NAME in it: put such a value in single quotes")
    if service.ports:
        node["ports"] = [f"{_published(service, around, ledger)}{port}:{port}" for port in service.ports]
        ledger.put(service, "ports", "ports")
        ledger.put(service, "host", "0.0.0.0 inside the container, published where it was")
    volumes = [f"{volume}:{_literal(path)}" for volume, path in containers.data(project, service, ledger)]
    if volumes:
        node["volumes"] = list(volumes)
        ledger.put(service, "data", "volumes")
    if service.stdin == "open":
        node["stdin_open"] = True
    else:
        ledger.put(service, "stdin", "no stdin_open")
    if check is not None:
        node["healthcheck"] = {
            "test": ["CMD", *(_literal(word) for word in check.argv)],
            "interval": f"{number(check.interval)}s",
            "timeout": f"{number(check.timeout)}s",
            "retries": check.failures,
            "start_period": f"{number(check.start_period)}s",
        }
    ulimits: _Node = {}
    for key in ("nofile", "nproc"):
        value = getattr(service.limits, key)
        if value is not None:
            ulimits[key] = value
            ledger.put(service, f"limits.{key}", "ulimits")
    if ulimits:
        node["ulimits"] = ulimits
    if service.log_max_bytes is not None:
        options: _Node = {"max-size": str(service.log_max_bytes), "max-file": "10"}
        node["logging"] = {"driver": "json-file", "options": options}
        ledger.put(service, "log_max_bytes", "logging")
    return {**node, **_stop(ledger, service)}


def _stop(ledger: Ledger, service: Service) -> _Node:
    policy = service.stop
    ledger.put(service, "stop.signal", "stop_signal")
    if len(policy.signals) > 1:
        ledger.cannot(service, "stop.signal", f"only {policy.signals[0]} is sent")
    ledger.put(service, "stop.timeout", "stop_grace_period")
    if not policy.kill:
        ledger.cannot(service, "stop.kill", "a container is killed when its time is over")
    return {
        "stop_signal": f"SIG{policy.signals[0]}",
        "stop_grace_period": f"{number(policy.timeout_seconds)}s",
    }


def _depends(
    ledger: Ledger,
    service: Service,
    known: dict[str, list[str]],
    checked: dict[str, containers.Check | None],
) -> _Node:
    wanted: _Node = {}
    for group in service.depends_on:
        for name in known.get(group, ()):
            condition = "service_started" if checked[name] is None else "service_healthy"
            wanted[name] = {"condition": condition}
        if group not in known:
            ledger.cannot(service, "depends_on", f"{group} is not exported with it")
        ledger.put(service, "depends_on", "depends_on with a condition")
    return {"depends_on": wanted} if wanted else {}


def _alone(ledger: Ledger, unit: Unit) -> _Node:
    """Restarts, limits and replicas as `docker compose` takes them."""
    service = unit.service
    policy, limits = service.restart, service.limits
    word = {"always": "always", "never": "no", "on-failure": f"on-failure:{policy.max}"}[policy.policy]
    word = "no" if policy.max == 0 else word
    node: _Node = {"restart": word}
    ledger.put(service, "restart.policy", "restart")
    ledger.put(service, "restart.max", "restart; in a stack, max_attempts")
    ledger.put(service, "restart.window", "in a stack, window")
    ledger.put(service, "restart.backoff", "in a stack, delay")
    if word != "no":
        ledger.cannot(
            service, "restart.window", "docker compose counts all restarts; its delay begins at 0.1 s and doubles"
        )
    resources: _Node = {}
    if limits.memory_bytes is not None:
        resources["memory"] = str(limits.memory_bytes)
        ledger.put(service, "limits.memory", "deploy.resources.limits.memory")
    if limits.cpu is not None:
        resources["cpus"] = number(limits.cpu)
        ledger.put(service, "limits.cpu", "deploy.resources.limits.cpus")
    deploy: _Node = {}
    if unit.replicas > 1:
        deploy["replicas"] = unit.replicas
    if resources:
        deploy["resources"] = {"limits": resources}
    return {**node, **({"deploy": deploy} if deploy else {})}


def _deploy(unit: Unit) -> _Node:
    """The same as a stack takes it."""
    policy, limits = unit.service.restart, unit.service.limits
    stopped = policy.policy == "never" or policy.max == 0
    restart: _Node = {"condition": "none"}
    if not stopped:
        restart = {
            "condition": "any" if policy.policy == "always" else "on-failure",
            "delay": f"{number(policy.backoff_seconds)}s",
            "max_attempts": policy.max,
            "window": f"{number(policy.window_seconds)}s",
        }
    deploy: _Node = {"replicas": unit.replicas, "restart_policy": restart}
    resources: _Node = {}
    if limits.memory_bytes is not None:
        resources["memory"] = str(limits.memory_bytes)
    if limits.cpu is not None:
        resources["cpus"] = number(limits.cpu)
    if resources:
        deploy["resources"] = {"limits": resources}
    return deploy


def _published(service: Service, around: Surroundings, ledger: Ledger) -> str:
    """The address in front of a published port: where the service binds without a container."""
    host = around.hosts[service.group]
    if host in ("0.0.0.0", "::"):  # noqa: S104 - it says so itself
        return ""
    if re.fullmatch(r"[0-9]+(\.[0-9]+){3}", host):
        return f"{host}:"
    if host == "localhost":
        return "127.0.0.1:"
    if re.fullmatch(r"[0-9A-Fa-f:]+", host):
        return f"[{host}]:"
    ledger.cannot(
        service, "host", f"ports are published by address, not by name: on every address instead of {host}"
    )
    return ""


def _relative(path: str, around: Surroundings) -> str:
    relative = os.path.relpath(path, around.output)
    return _literal(relative if relative.startswith(".") else f"./{relative}")


def _literal(text: str) -> str:
    return text.replace("$", "$$")


def _commands(project: Project, around: Surroundings, name: str) -> tuple[str, ...]:
    import shlex

    def at(file: str) -> str:
        return shlex.quote(os.path.relpath(around.output / file, project.root))

    output = shlex.quote(os.path.relpath(around.output, project.root))
    return (
        f"devtasks export --to dockerfile --output {output}",
        f"docker compose -f {at('compose.yaml')} up --build --detach --wait",
        f"docker compose -f {at('compose.yaml')} logs --follow",
        f"docker compose -f {at('compose.yaml')} down",
        f"docker stack deploy -c {at('stack.yaml')} {name}",
    )
