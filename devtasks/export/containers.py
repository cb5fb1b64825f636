"""What the three container targets share: where things are inside an image, and what a service is called there."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from devtasks.errors import UsageError
from devtasks.export.images import Question, question
from devtasks.export.plan import Ledger, Surroundings, argv, groups, slug, wrapped
from devtasks.model import HealthProbe, Project, ReadyProbe, Service
from devtasks.values import Value

ROOT = PurePosixPath("/app")  # where the project's root is in every image
USER = 10001  # no user of any distribution
_READY_INTERVAL, _ASK_SECONDS = 1.0, 2.0


class Check(Value):
    """The one health check that a container has."""

    argv: tuple[str, ...]
    interval: float
    timeout: float
    failures: int
    start_period: float


def inside(project: Project, path: Path) -> PurePosixPath | None:
    """Where `path` is in the image; None: it is not in the project."""
    if not path.is_relative_to(project.root):
        return None
    return ROOT.joinpath(*path.relative_to(project.root).parts)


def folder(project: Project, service: Service) -> PurePosixPath:
    """The working folder. Raises UsageError for one that no image has."""
    place = inside(project, service.cwd)
    if place is None:
        raise UsageError(
            f"{service.name}: its folder {service.cwd} is outside the project, and not in its image",
            hint="leave it out: --only the others",
        )
    return place


def command(service: Service, ledger: Ledger) -> tuple[str, ...]:
    """What the container runs below its init."""
    ledger.put(service, "command", "command")
    if service.shell:
        ledger.put(service, "shell", "/bin/sh -c")
    if service.before:
        ledger.put(service, "before", "/bin/sh -c, in front of the command")
    return wrapped(argv(service), service.before)


def data(project: Project, service: Service, ledger: Ledger) -> Iterator[tuple[str, str]]:
    """Name and mount path of each of the service's volumes."""
    for path in service.data:
        place = inside(project, path)
        if place is None:
            ledger.cannot(service, "data", f"{path} is outside the project: no volume")
        else:
            relative = str(place.relative_to(ROOT))
            yield slug(f"{project.name}-data-{relative}"), str(place)


def check(service: Service, around: Surroundings, ledger: Ledger, *, both: bool = False) -> Check | None:
    """What the container is asked: `health`, else `ready`; None where neither can be asked.

    `both`: the target asks `ready` on its own, so nothing is lost.
    """
    language = around.builds[service.group].language
    health, ready = service.health, service.ready
    if health is not None:
        asked = question(service, health, language, wait=health.timeout_seconds, inside=True)
        if asked is not None:
            _enter(service, ledger, "health", asked)
            if not both:
                _ready_beside_health(service, ledger, health, ready)
            return Check(
                argv=asked.argv,
                interval=health.interval_seconds,
                timeout=health.timeout_seconds,
                failures=health.failures,
                start_period=health.start_period_seconds
                if both
                else max(health.start_period_seconds, _patience(ready)),
            )
        _unasked(service, ledger, "health", health)
    asked = None if both else question(service, ready, language, wait=_ASK_SECONDS, inside=True)
    if asked is None:
        if not both:
            _unasked(service, ledger, "ready", ready)
        return None
    _enter(service, ledger, "ready", asked)
    return Check(
        argv=asked.argv, interval=5.0, timeout=_ASK_SECONDS, failures=3, start_period=ready.timeout_seconds
    )


def startup(service: Service, around: Surroundings, ledger: Ledger) -> Question | None:
    """The question that tells when it has started."""
    asked = question(service, service.ready, around.builds[service.group].language, wait=_ASK_SECONDS, inside=True)
    if asked is None:
        _unasked(service, ledger, "ready", service.ready)
    else:
        _enter(service, ledger, "ready", asked)
    return asked


def _patience(ready: ReadyProbe) -> float:
    return ready.timeout_seconds


def _enter(service: Service, ledger: Ledger, key: str, asked: Question) -> None:
    ledger.put(service, key, "a check")
    if asked.loss:
        ledger.cannot(service, key, asked.loss)


def _unasked(service: Service, ledger: Ledger, key: str, probe: ReadyProbe | HealthProbe) -> None:
    if probe.log is not None:
        ledger.cannot(service, key, "a container's log is not looked at")


def _ready_beside_health(service: Service, ledger: Ledger, health: HealthProbe, ready: ReadyProbe) -> None:
    kinds = ("http", "status", "body", "tcp", "log", "command")
    ledger.put(service, "ready", "the start period of the check")
    asks = any(getattr(ready, kind) for kind in kinds)
    if asks and any(getattr(ready, kind) != getattr(health, kind) for kind in kinds):
        ledger.cannot(service, "ready", "a container has one check, and it asks `health`")


def told(project: Project, ledger: Ledger) -> None:
    """Remarks on what a container changes for every service."""
    ports = {port: service for service in project.services for port in service.ports}
    for service in project.services:
        texts = " ".join((*service.command, *service.env.values()))
        for port, other in ports.items():
            if other.group != service.group and any(
                f"{host}:{port}" in texts for host in ("127.0.0.1", "localhost")
            ):
                ledger.cannot(
                    service, "env", f"port {port} on this machine: in a container, {other.group} is elsewhere"
                )
        if service.ports and "0.0.0.0" not in texts:  # noqa: S104 - what it must say in a container
            ledger.cannot(
                service, "host", "the command does not say {host}: it must listen on 0.0.0.0 to be reached"
            )
        if service.log_file.name != f"{service.name}.log":
            ledger.cannot(service, "log_file", "what it prints goes to the engine's log")
        _user(service, ledger)
    for group, members in groups(project).items():
        if len(members) > 1:
            ledger.put(members[0], "instances", f"replicas, or containers {group}-1, {group}-2 …")


def _user(service: Service, ledger: Ledger) -> None:
    ledger.put(service, "user", f"{USER}, who is not root")
