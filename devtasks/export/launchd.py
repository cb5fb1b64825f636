"""launchd: a LaunchAgent a service, for the user who is logged in (launchd.plist(5))."""

from __future__ import annotations

import os

from devtasks.errors import UsageError
from devtasks.export.plan import (
    File,
    Ledger,
    Surroundings,
    Unit,
    argv,
    slug,
    units,
    variables,
    whole_seconds,
    wrapped,
)
from devtasks.model import Project, Service

TITLE = "launchd"
FOLDER = "deploy/launchd"

_SYSTEM_PATH = "/usr/local/bin:/opt/homebrew/bin:/usr/bin:/bin:/usr/sbin:/sbin"
# Read by sh: what the file says must be words of the shell, and everything in it is exported.
_SOURCED = 'set -a; . "$0"; set +a; exec "$@"'


def export(project: Project, around: Surroundings, ledger: Ledger) -> tuple[tuple[File, ...], tuple[str, ...]]:
    """The property lists, and the commands that load them."""
    import plistlib

    made = units(project)
    files = []
    labels = []
    for unit in made:
        label = f"{slug(project.name)}.{unit.name}"
        labels.append(label)
        try:
            body = plistlib.dumps(_agent(around, ledger, unit, label), sort_keys=False).decode()
        except ValueError:
            raise UsageError(
                f"{unit.service.name}: has a control character, which a property list cannot hold",
                hint="leave it out: --only the others",
            ) from None
        about = (unit.service.group,)
        files.append(File(path=f"{label}.plist", body=body, about=about, comment="<!--"))
    for service in project.services:
        _not_launchds(service, ledger)
    return tuple(files), _commands(around, labels)


def _agent(around: Surroundings, ledger: Ledger, unit: Unit, label: str) -> dict[str, object]:
    service = unit.service
    words = wrapped(argv(service), service.before)
    ledger.put(service, "command", "ProgramArguments")
    if service.shell:
        ledger.put(service, "shell", "/bin/sh -c")
    if service.before:
        ledger.put(service, "before", "/bin/sh -c, in front of the command")
    if "/" in words[0]:
        words = (os.path.normpath(os.path.join(service.cwd, words[0])), *words[1:])
    else:
        words = ("/usr/bin/env", *words)
    plain, _ = variables(service, ledger, "set it in env_file")
    if service.env_file is not None:
        # What stands in `env` wins over the file, so it is set after it
        own = ("/usr/bin/env", *(f"{name}={value}" for name, value in plain.items())) if plain else ()
        words = ("/bin/sh", "-c", _SOURCED, str(service.env_file), *own, *words)
        ledger.put(service, "env_file", "read by /bin/sh")
        ledger.cannot(service, "env_file", "sh reads it: a value with spaces, $ or # must be in single quotes")
    path = ":".join([*around.tools[service.group], plain.pop("PATH", _SYSTEM_PATH)])
    ledger.put(service, "env", "EnvironmentVariables")
    log = str(service.log_file)
    node: dict[str, object] = {
        "Label": label,
        "ProgramArguments": list(words),
        "WorkingDirectory": str(service.cwd),
        "EnvironmentVariables": {"PATH": path, "PYTHONUNBUFFERED": "1", **plain},
        "RunAtLoad": True,
        **_keeping(ledger, service),
        # 0 would be for ever: that is what `kill = false` asks for
        "ExitTimeOut": whole_seconds(service.stop.timeout_seconds) if service.stop.kill else 0,
        "StandardOutPath": log,
        "StandardErrorPath": log,
    }
    ledger.put(service, "cwd", "WorkingDirectory")
    ledger.put(service, "stop.timeout", "ExitTimeOut")
    ledger.put(service, "stop.kill", "ExitTimeOut")
    ledger.put(service, "log_file", "StandardOutPath, StandardErrorPath")
    if service.ports:
        ledger.put(service, "ports", "stand in the command")
    if service.name != service.group:
        ledger.put(service, "instances", "one agent each")
    limits = {}
    for key, name in (("nofile", "NumberOfFiles"), ("nproc", "NumberOfProcesses")):
        value = getattr(service.limits, key)
        if value is not None:
            limits[name] = value
            ledger.put(service, f"limits.{key}", f"{name}, soft and hard")
    return node | ({"SoftResourceLimits": limits, "HardResourceLimits": limits} if limits else {})


def _keeping(ledger: Ledger, service: Service) -> dict[str, object]:
    policy = service.restart
    ledger.put(service, "restart.policy", "KeepAlive")
    if policy.policy == "never" or policy.max == 0:
        for key in ("max", "window", "backoff", "max_backoff", "cooldown"):
            ledger.put(service, f"restart.{key}", "no KeepAlive: nothing to delay or to count")
        return {}
    keep: object = True if policy.policy == "always" else {"SuccessfulExit": False}
    ledger.put(service, "restart.backoff", "ThrottleInterval, from start to start")
    ledger.cannot(service, "restart.max", "launchd restarts without a limit")
    for key in ("window", "max_backoff", "cooldown"):
        ledger.put(service, f"restart.{key}", "see restart.max")
    return {"KeepAlive": keep, "ThrottleInterval": whole_seconds(policy.backoff_seconds)}


def _not_launchds(service: Service, ledger: Ledger) -> None:
    if service.stop.signals != ("TERM",):
        ledger.cannot(service, "stop.signal", "launchd sends TERM")
    if service.depends_on:
        ledger.cannot(
            service, "depends_on", "launchd knows no order: it must wait or fail until what it needs is there"
        )
    if service.ready != type(service.ready)():
        ledger.cannot(service, "ready", "launchd does not wait for anything")
    if service.health is not None:
        ledger.cannot(service, "health", "launchd asks nobody")
    if service.stdin == "open":
        ledger.cannot(None, "stdin", "standard input is /dev/null: what ends when its input ends, ends at once")
    else:
        ledger.put(service, "stdin", "/dev/null")
    ledger.put(service, "data", "stays where it is")
    ledger.put(service, "host", "stands in the command")
    for key, value in (("memory", service.limits.memory_bytes), ("cpu", service.limits.cpu)):
        if value is not None:
            ledger.cannot(service, f"limits.{key}", "launchd does not limit it")
    if service.log_max_bytes is not None:
        ledger.cannot(service, "log_max_bytes", "the file is not rotated: newsyslog does that")


def _commands(around: Surroundings, labels: list[str]) -> tuple[str, ...]:
    import shlex

    output, agents = shlex.quote(str(around.output)), " ".join(labels)
    return (
        f"cp {output}/*.plist ~/Library/LaunchAgents/",
        f"for agent in {agents}; do launchctl bootstrap gui/$(id -u) ~/Library/LaunchAgents/$agent.plist; done",
        f"for agent in {agents}; do launchctl print gui/$(id -u)/$agent; done",
        f"for agent in {agents}; do launchctl bootout gui/$(id -u)/$agent; done",
    )
