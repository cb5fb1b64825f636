"""Probe services once, all at the same time: `health`, and `status --check` where nobody watches."""

from __future__ import annotations

from collections.abc import Iterable

from devtasks.asking.attempt import settle
from devtasks.health import Answer
from devtasks.model import Condition, Service
from devtasks.observing import Observation, Observer
from devtasks.outcomes import HealthRow, ServiceStatus, Status
from devtasks.probes import Prober
from devtasks.standing import stand
from devtasks.values import replace


def check(
    observer: Observer, seen: Observation, services: Iterable[Service], timeout_seconds: float | None
) -> tuple[HealthRow, ...]:
    """One row a service. `timeout_seconds` replaces each probe's own timeout."""
    chosen = tuple(services)
    inside = [service for service in chosen if service.contained and service.health is None]
    if inside:
        from devtasks.engines import contained

        asked = [service for service in chosen if service not in inside]
        rows = {
            row.name: row
            for row in (*check(observer, seen, asked, timeout_seconds), *map(contained.health, inside))
        }
        return tuple(rows[service.name] for service in chosen)
    answers = _answers(observer, seen, chosen, timeout_seconds)
    doubtful = [service for service in chosen if answers[service.name].state == "foreign"]
    if doubtful:  # a worker that came after the look is somebody else to it
        seen = observer.observe(seen.table)
        answers |= _answers(observer, seen, doubtful, timeout_seconds)
    return tuple(_row(observer, seen, service, answers[service.name]) for service in chosen)


def checked(observer: Observer, seen: Observation, report: Status) -> Status:
    """The status, and in it how those services are that are asked for health and of which nobody knows."""
    unknown = {row.name for row in report.services if row.health == "unknown" and row.pid is not None}
    services = [service for service in observer.project.services if service.name in unknown]
    found = {row.name: row for row in check(observer, seen, services, None)}
    return replace(report, services=tuple(_told(row, found.get(row.name)) for row in report.services))


def _told(row: ServiceStatus, found: HealthRow | None) -> ServiceStatus:
    if found is None:
        return row
    sick = found.health == "unhealthy" and row.state == "running"
    return replace(
        row,
        health=found.health,
        state="unhealthy" if sick else row.state,
        detail=row.detail if found.health == "healthy" else (row.detail or found.detail),
    )


def _answers(
    observer: Observer, seen: Observation, services: Iterable[Service], timeout_seconds: float | None
) -> dict[str, Answer]:
    chosen = tuple(services)
    attempts = [
        Prober(observer.world, observer.project, service, seconds=timeout_seconds).begin(
            [match.process.pid for match in seen.of(service.name)]
        )
        for service in chosen
    ]
    answers = settle(attempts)
    return {service.name: answer for service, answer in zip(chosen, answers, strict=True)}


def _row(observer: Observer, seen: Observation, service: Service, answer: Answer) -> HealthRow:
    health: Condition = answer.state
    detail = answer.detail
    main = stand(seen, service).main
    if health == "unhealthy" and main is not None and service.health is not None:
        age = observer.world.now() - observer.world.started_at(main)
        if age < service.health.start_period_seconds:
            health, detail = (
                "starting",
                f"{detail}; until {service.health.start_period_seconds:g} s that counts for nothing",
            )
    if service.name in seen.elsewhere and not seen.of(service.name):
        health, detail = "unknown", "runs in another PID namespace, where it cannot be judged from here"
    return HealthRow(name=service.name, health=health, probe=answer.probe, seconds=answer.seconds, detail=detail)
