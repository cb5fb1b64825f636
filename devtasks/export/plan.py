"""What a target makes of a project: files, the commands that go with them, and an account of every key.

Pure: a target gets a Project and its Surroundings and fills a Ledger. No key that a service declares can be
dropped silently: what no target entered is a remark at the end.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Literal, NamedTuple

from devtasks.errors import UsageError
from devtasks.export.images import Build
from devtasks.model import Project, Service
from devtasks.values import Value, changed, replace


class File(Value):
    """One file to write. `about`: the services whose remarks stand at its top; None: all, and the project's."""

    path: str  # relative to the output folder, with / between components
    body: str  # without its header
    about: tuple[str, ...] | None = None
    comment: Literal["#", "<!--"] = "#"


class Surroundings(Value):
    """What a target has to know that the configuration does not say; by service (group) where it is a mapping."""

    output: Path  # where the files will be: absolute
    user: str  # who owns the project
    tools: Mapping[str, tuple[str, ...]]  # folders of the project's own programs, before PATH
    builds: Mapping[str, Build]
    hosts: Mapping[str, str]  # where it binds on this machine; in a container that is 0.0.0.0


class Remark(NamedTuple):
    """What the target cannot express, or expresses otherwise. `service` None: of the whole project."""

    service: str | None
    key: str
    text: str


class Unit(Value):
    """What becomes one unit, container or line: one instance, or `replicas` that do not differ."""

    name: str  # NAME, or NAME-1, NAME-2 … of several
    service: Service
    replicas: int = 1


class Ledger:
    """Where each key of each service (group) went."""

    def __init__(self) -> None:
        self.mapped: dict[str, dict[str, str]] = {}
        self.remarks: list[Remark] = []

    def put(self, service: Service, key: str, where: str) -> None:
        """`key` is expressed, by what the target calls `where`."""
        self.mapped.setdefault(service.group, {}).setdefault(key, where)

    def cannot(self, service: Service | None, key: str, text: str) -> None:
        """`key` is not expressed, or not wholly."""
        remark = Remark(None if service is None else service.group, key, text)
        if remark not in self.remarks:
            self.remarks.append(remark)

    def settle(self, project: Project, title: str) -> None:
        """Account for every declared key that was not entered."""
        for service in project.services:
            told = {remark.key for remark in self.remarks if remark.service == service.group}
            for key in declared(service):
                if key not in told and key not in self.mapped.get(service.group, {}):
                    self.cannot(service, key, _OURS.get(key, f"{title} has nothing like it"))


_OURS = {
    "pid_file": "whoever starts the service keeps track of it without one",
    "daemon_pid_file": "a program that makes a daemon of itself must stay in the foreground there",
    "patterns": "only what was started there belongs to it",
    "listener": "who listens on the port is not looked at there",
    "restart.max_backoff": "the delay is not raised step by step there",
    "restart.cooldown": "what has failed stays so until somebody starts it",
    "restart.memory_above": "limits.memory ends what has grown, and the restart policy starts it again",
}
# Fields that are no keys of their own: identity, or said by another field.
_NO_KEYS = {"name", "group", "instance", "patterns_derived"}
_KEYS = {
    "signals": "signal",
    "timeout_seconds": "timeout",
    "interval_seconds": "interval",
    "start_period_seconds": "start_period",
    "window_seconds": "window",
    "backoff_seconds": "backoff",
    "max_backoff_seconds": "max_backoff",
    "cooldown_seconds": "cooldown",
    "memory_above_bytes": "memory_above",
    "memory_bytes": "memory",
}
_WHOLE = ("ready", "health")  # a probe is one question: accounted for as one key


def declared(service: Service) -> tuple[str, ...]:
    """The keys that are not as they are by default, with dots: "stop.timeout"."""
    keys = []
    for field in changed(service):
        value = getattr(service, field)
        if field in _NO_KEYS or (field == "patterns" and service.patterns_derived):
            continue
        if field in ("pid_file", "log_file") and value.name == f"{service.name}.{field[:3]}":
            continue
        if isinstance(value, Value) and field not in _WHOLE:
            keys += [f"{field}.{_KEYS.get(part, part)}" for part in changed(value)]
        else:
            keys.append(_KEYS.get(field, field))
    return (*keys, *(("instances",) if service.name != service.group else ()))


def units(project: Project, *, merge: bool = False) -> tuple[Unit, ...]:
    """Every instance on its own; with `merge`, instances that do not differ as one unit."""
    found: list[Unit] = []
    for group, members in groups(project).items():
        first = members[0]
        if merge and len(members) > 1 and all(_alike(first, other) for other in members):
            found.append(Unit(name=group, service=first, replicas=len(members)))
        else:
            found += [Unit(name=one.name.replace(".", "-").strip("-"), service=one) for one in members]
    names = [unit.name for unit in found]
    for name in names:
        if names.count(name) > 1:
            raise UsageError(
                f'two services would both be called "{name}"', hint="rename one of them, or use --only"
            )
    return tuple(found)


def groups(project: Project) -> dict[str, tuple[Service, ...]]:
    """The services by the name that stands in the configuration."""
    found: dict[str, tuple[Service, ...]] = {}
    for service in project.services:
        found[service.group] = (*found.get(service.group, ()), service)
    return found


def _alike(one: Service, other: Service) -> bool:
    """Whether two instances differ in nothing that is seen from outside: each port is one instance's."""
    here = {name: getattr(one, name) for name in ("name", "instance", "pid_file", "log_file", "daemon_pid_file")}
    return not one.ports and replace(other, **here) == one


def slug(text: str, *, longest: int = 40) -> str:
    """`text` as a name that every target takes (DNS-1035): a-z, 0-9 and -, beginning with a letter."""
    name = re.sub(r"[^a-z0-9]+", "-", text.lower()).strip("-")
    name = name if name[:1].isalpha() else f"project-{name}".rstrip("-")
    if len(name) <= longest:
        return name
    from devtasks.config.parsing import digest

    return f"{name[: longest - 9].rstrip('-')}-{digest(Path(text))[:8]}"


def number(value: float) -> str:
    """A number as a person writes it: 5, 0.5, 1000000."""
    return f"{value:.3f}".rstrip("0").rstrip(".")


def is_secret(name: str, value: str) -> bool:
    """Whether output would hide the value of this variable."""
    from devtasks.report.masking import masked

    return masked(f"{name}={value}") != f"{name}={value}"


def variables(service: Service, ledger: Ledger, reference: str) -> tuple[dict[str, str], tuple[str, ...]]:
    """The variables to write, and the names of those whose values are secrets: these are `reference`d."""
    from devtasks.report.masking import masked

    plain = {name: value for name, value in service.env.items() if not is_secret(name, value)}
    secret = tuple(name for name in service.env if name not in plain)
    if secret:
        names = ", ".join(secret)
        ledger.cannot(service, "env", f"the value of {names} looks like a secret and is not written: {reference}")
    line = " ".join(service.command)
    if masked(line) != line:
        ledger.cannot(service, "command", "holds what looks like a secret, as it is: move it to env_file")
    return plain, secret


def wrapped(argv: Iterable[str], before: Iterable[tuple[str, ...]]) -> tuple[str, ...]:
    """`argv` behind the commands that come before it: a failure of one ends it."""
    import shlex

    steps = [shlex.join(step) for step in before]
    if not steps:
        return tuple(argv)
    return ("/bin/sh", "-c", " && ".join([*steps, 'exec "$0" "$@"']), *argv)


def argv(service: Service) -> tuple[str, ...]:
    """The argument vector that runs the command."""
    return ("/bin/sh", "-c", service.command[0]) if service.shell else service.command


def whole_seconds(value: float) -> int:
    """Seconds for a target that takes whole ones: never less than asked, and at least one."""
    return max(1, -int(-value // 1))


def no_line_breaks(service: Service, what: str, text: str, title: str) -> None:
    """Raise for a text that a line of the target cannot hold."""
    if any(character < " " or character == "\x7f" for character in text) or text != text.strip():
        raise UsageError(
            f"{service.name}: its {what} has a line break or another character that {title} cannot hold",
            hint="leave it out: --only the others",
        )
